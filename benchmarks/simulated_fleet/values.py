"""Makes what a simulated GPU finds for a case: a real measurement with other numbers.

`data/measured_case.json` is what a run of this repository's own matrix has found for the case
`resnet-cpu-32MiB-16`, which was never locked before: five probes with the traceback of the one that
ran out of memory, and fifteen trainings of the LR range test over three seeds.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.fleet.packing import pack
from harness.identity.recipe import recipe
from harness.measurement import DeviceIdentity
from simulated_fleet.project import GIB, KINDS

if TYPE_CHECKING:
    from harness.matrix.case import Case

# What a run of `resnet-cpu-32MiB-32` has left, in bytes.
_FILES = {
    "001-describe.log": 717,
    "002-train-b30.log": 717,
    "003-train-b31.log": 6813,
    "004-lr-groups.log": 516,
    **{f"{number:03}-lr-trial-seed0-{number}.log": 717 for number in range(5, 11)},
    "011-lr-groups.log": 516,
    "lr_range.json": 4588,
    "lr_range.png": 64447,
    "zygote.log": 0,
}
# Of a locked case: two probes of three steps, and a range test of one seed.
_STEPS = 186
_MEASURED = Path(__file__).parents[1] / "data" / "measured_case.json"


def identity_of(kind: str) -> DeviceIdentity:
    """Return the identity of a GPU of a kind."""
    name, gib = KINDS[kind]
    return DeviceIdentity(name, gib * GIB)


def packed_files() -> bytes:
    """Return files as a locked case leaves them: as many, and as large."""
    noise = random.Random(0)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, size in _FILES.items():
            # A plot does not compress, a log does.
            data = noise.randbytes(size) if file.endswith(".png") else b"a line of a log\n" * size
            (folder / file).write_bytes(data[:size])
        return pack(folder)[0]


class Values:
    """What each case finds; the same on any node and in any order.

    run: a number that tells this run from another. Runs differ as real ones do: by less than the
        bounds allow.
    """

    def __init__(self, run: int = 0) -> None:
        self._run = run
        self._real: dict[str, Any] = json.loads(_MEASURED.read_text(encoding="utf-8"))

    def seconds(self, case: Case) -> float:
        """Return how long a case takes: 7 minutes in the median, some of them far longer."""
        return random.Random(f"seconds of {case.id}").lognormvariate(6.0, 0.7)  # noqa: S311 - no secret

    def found(self, case: Case) -> dict[str, Any]:
        """Return a measurement as plain data."""
        chance = random.Random(case.id)  # noqa: S311 - no secret
        noise = random.Random(f"{case.id} in run {self._run}")  # noqa: S311 - as above
        device = identity_of(case.gpu)
        size = chance.randint(16, 4096)
        shrunk = size - noise.randint(0, size // 100)
        rate = 10 ** chance.uniform(-4, -1.5)
        known = recipe(case, {})
        limit = int(device.memory_bytes * 0.9)
        # So that an estimate from the lock is right to a fifth, as of real runs at best.
        speed = _STEPS * size / max(self.seconds(case) * noise.lognormvariate(0, 0.2) - 14, 5)
        return {
            **self._real,
            "axes": dict(case.axes),
            "emulated": False,
            "device": {"name": device.name, "memory_bytes": device.memory_bytes, "count": 1},
            "batch_size": shrunk,
            "max_batch_size": shrunk,
            "validation_batch_size": 2 * shrunk,
            "learning_rate": rate * noise.uniform(0.98, 1.02),
            "learning_rates": [rate * noise.uniform(0.9, 1.1) for _ in range(3)],
            "learning_rate_range": [rate / 3, rate * 3],
            "memory_limit_bytes": limit,
            "peak_memory_bytes": limit - noise.randint(0, 10**6),
            "samples_per_second": speed,
            "recipe": known.digest,
            "settings": known.settings,
            "probes": [self._probe(case, probe, noise) for probe in self._real["probes"]],
            "lr_curves": [_curve(curve, noise) for curve in self._real["lr_curves"]],
            "artifacts": [
                path.replace("resnet-cpu-32MiB-16", case.id) for path in self._real["artifacts"]
            ],
            "seconds": self.seconds(case),
        }

    def _probe(self, case: Case, probe: dict[str, Any], noise: random.Random) -> dict[str, Any]:
        log = probe["log"].replace("resnet-cpu-32MiB-16", case.id)
        return {**probe, "seconds": probe["seconds"] * noise.uniform(0.9, 1.1), "log": log}


def _curve(curve: dict[str, Any], noise: random.Random) -> dict[str, Any]:
    return {**curve, "losses": [loss * noise.uniform(0.99, 1.01) for loss in curve["losses"]]}
