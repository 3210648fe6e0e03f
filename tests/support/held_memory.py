"""Probes that find out what holds the memory, on a simulated GPU, beside the same without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.predict.holders import PeakHolders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulated_worlds import Worlds

WORKLOADS = Path(__file__).parents[1] / "workloads"
BATCH = 16
# Each probe is a fork, as a zygote makes it.
_PROBES = """
sys.path.insert(0, WORKLOADS)
os.chdir(WORKLOADS)
from harness.probe_tasks.holders import holders
from harness.probe_tasks.train import train
from harness.workload.build import build

def run(task, net, request):
    spec = {"module": {"class_path": "holders_zoo." + net, "init_args": {}}, "data": None,
            "loss": None, "optimizer": None, "batch_size_attr": None, "learning_rate_attr": None}
    sys.stdout.flush()
    if os.fork() == 0:
        tell(task(build(spec), request, lambda phase: None))
        os._exit(0)
    os.wait()

import holders_zoo
for net, trainer, file in CASES:
    common = {"batch_size": BATCH, "steps": 2, "validation_steps": 1, "trainer": trainer,
              "workload": None, "snapshot": None, "micro_batches": None,
              "bound": {"accelerator": "cuda", "budget_bytes": None, "fraction": 0.9}}
    alone = {"task": "train", "settle": False, "epoch_steps": 0, "validation_batch_size": None,
             "validation_share": 1.0, "history": None}
    run(train, net, common | alone)
    run(holders, net, common | {"task": "holders", "file": file, "snapshot": SNAPSHOT})
"""


@dataclass(frozen=True)
class Held:
    """The answers of two probes of one network."""

    alone: dict[str, Any]
    """Of a probe that only trains."""
    result: dict[str, Any]
    """Of the one that finds out what holds the memory."""
    path: Path

    @property
    def holders(self) -> PeakHolders:
        """Read what that probe has written."""
        return PeakHolders.read(self.path)


def probe(
    worlds: Worlds,
    *cases: tuple[str, Mapping[str, Any]],
    snapshot: Path | None = None,
    **variables: str,
) -> list[Held]:
    """Probe networks of tests/workloads/holders_zoo.py under keywords of the Trainer.

    snapshot: the file for torch's snapshot of the last one.
    variables: of the environment.
    """
    paths = [worlds.folder / f"holders-{number}.json" for number in range(len(cases))]
    given = {
        "CASES": [
            (net, dict(trainer), str(path))
            for (net, trainer), path in zip(cases, paths, strict=True)
        ],
        "SNAPSHOT": None if snapshot is None else str(snapshot),
        "BATCH": BATCH,
        "WORKLOADS": str(WORKLOADS),
    }
    values = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    # Some variables count only while torch is imported.
    run = worlds.fresh if variables else worlds.run
    told = run(worlds.make(), f"{values}\n{_PROBES}", **variables)
    told = [one for one in told if isinstance(one, dict)]
    return [Held(*one) for one in zip(told[::2], told[1::2], paths, strict=True)]


def line_of(text: str) -> str:
    """Return `holders_zoo.py:33` for the one line there that has a text."""
    lines = (WORKLOADS / "holders_zoo.py").read_text(encoding="utf-8").splitlines(keepends=True)
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return f"holders_zoo.py:{number}"
