"""Records which case uses which simulated GPU when, from inside of its probes.

Each forward pass of a recording network looks into its world's file, where every process that uses
a GPU is listed, and writes a line.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulated_runs import MATRIX, NET, PYTEST, make_project
from simulated_worlds import inside

from harness.devices.cuda_environment import showing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from warm_zygotes import WarmZygotes

    from harness.simulated.world import World

SHORT = "search: {max_batch_size: 2}\nlr_range: {when: never}\n"

_LOOK = """
import json, os, time
from pathlib import Path
from harness.simulated.world import World

def look():
    world, uuid = World(Path(os.environ["GPU_PROFILE_SIMULATED_WORLD"])), os.environ["CUDA_VISIBLE_DEVICES"]
    living = set(world.living())
    on_it = {holder.pid for holder in world.holders(int(uuid[-12:], 16))} & living
    # All processes of a case are in the session of its zygote.
    own = os.getsid(0)
    strangers = sum(os.getsid(pid) != own for pid in on_it)
    line = json.dumps([time.monotonic(), uuid, own, strangers])
    descriptor = os.open(RECORD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\\n".encode())
    os.close(descriptor)
"""


@dataclass(frozen=True)
class Look:
    """What one forward pass saw."""

    time: float
    """Of the machine's monotonic clock, the same for all processes."""
    gpu: str
    session: int
    """The session of the case's zygote: another one for each case."""
    strangers: int
    """The processes of other cases on this GPU."""


def recording(record: Path) -> str:
    """Return the module of a network whose forward passes write into a file."""
    look = _LOOK.replace("RECORD", repr(str(record)))
    return look + NET.replace(
        "        x = self.act(self",
        "        if type(images) is torch.Tensor:\n            look()\n        x = self.act(self",
    )


def short_cases(folder: Path, number: int, record: Path) -> Path:
    """Make a project with short cases whose probes record what they see on their GPU."""
    resolutions = ", ".join(str(8 * place) for place in range(2, 2 + number))
    matrix = MATRIX.replace("resolution: [32]}", f"resolution: [{resolutions}]}}") + SHORT
    return make_project(folder, matrix, recording(record))


def at_once(
    folders: Sequence[Path], world: World, *flags: str, zygotes: WarmZygotes
) -> list[tuple[int, str]]:
    """Start a run in each project at the same time; return their exit codes and outputs."""
    environment = inside(world)
    runs = []
    for folder in folders:
        variables = zygotes.variables(environment | showing("it"), folder / "sessions.txt")
        runs.append(
            subprocess.Popen(
                [*PYTEST, *flags],
                env=environment | variables,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=600)[0] for process in runs]
    return [(process.returncode, text) for process, text in zip(runs, outputs, strict=True)]


def looks(record: Path) -> list[Look]:
    """Return all looks, by time."""
    lines = record.read_text(encoding="utf-8").splitlines()
    return sorted((Look(*json.loads(line)) for line in lines), key=lambda one: one.time)


def overlaps(seen: Sequence[Look]) -> Iterator[tuple[Look, Look]]:
    """Yield the looks of two cases that came in turn on one GPU: A, B, A."""
    last: dict[str, Look] = {}
    ended: set[tuple[str, int]] = set()
    for look in seen:
        before = last.get(look.gpu)
        if before is not None and before.session != look.session:
            ended.add((look.gpu, before.session))
            if (look.gpu, look.session) in ended:
                yield before, look
        last[look.gpu] = look
