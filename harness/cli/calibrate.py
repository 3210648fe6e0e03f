"""The verb `gpu-profile calibrate`: verifies the facts about this GPU that predictions rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate
from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.device_identity import DeviceIdentity
from harness.devices.nvml.gpus import visible_gpus
from harness.errors import HarnessError, MachineError
from harness.lockfile.profiles import read_lock
from harness.predict.gpus import MIB, by_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from harness.devices.nvml.gpu import Gpu
    from harness.lockfile.profiles import LockedProfile
    from harness.predict.gpus import GpuFacts
    from harness.run.paths import Paths

_TIMEOUT_SECONDS = 120
# torch's total memory differs between drivers by up to this share.
_TOLERANCE = 0.007
# A prediction that is further off than this is worth a look.
_OFF = 0.05


FactName = Literal["nvml_total_bytes", "torch_total_bytes", "compute_capability", "multiprocessors"]
Verdict = Literal["same", "differs", "unknown"]

_WORDS: dict[FactName, str] = {
    "nvml_total_bytes": "NVML's total, MiB",
    "torch_total_bytes": "torch's total, MiB",
    "compute_capability": "compute capability",
    "multiprocessors": "multiprocessors",
}


class FactData(TypedDict):
    """A fact about the GPU that predictions rely on."""

    name: FactName
    table: int | str | None
    """In the table of GPUs; null where it has none."""
    here: int | str
    verdict: Verdict


class ComparedPrediction(TypedDict):
    """A locked prediction beside the locked measurement."""

    case: str
    predicted_batch_size: int
    max_batch_size: int
    relative: float
    """How far the prediction is off: 0.02 is 2% too much."""
    verdict: Verdict


class CalibrateDocument(TypedDict):
    """The answer of `calibrate`."""

    device: DeviceIdentity
    torch: str
    cuda: str
    in_table: bool
    facts: list[FactData]
    context_bytes: int
    """What context and libraries take outside of torch's allocator."""
    predictions: list[ComparedPrediction]


def calibrate(_options: argparse.Namespace, paths: Paths) -> Answer:
    """Measure the first visible GPU, and compare it with the table and the locked predictions.

    The exit code is 1 when the table is wrong, or a locked prediction by more than 5%.
    """
    gpus = visible_gpus()
    if not gpus:
        raise HarnessError(
            "this machine shows no GPU to measure; check CUDA_VISIBLE_DEVICES and nvidia-smi -L"
        )
    gpu = gpus[0]
    facts = measure(gpu)
    profiles = [
        profile for profile in read_lock(paths.lock) if profile.device.matches(gpu.identity)
    ]
    document = compare(gpu.identity, facts, profiles)
    say("\n".join(_lines(document)))
    rows = (*document["facts"], *document["predictions"])
    return Answer(int(any(row["verdict"] == "differs" for row in rows)), document)


def measure(gpu: Gpu) -> dict[str, Any]:
    """Return the facts of a GPU, measured in a process of their own.

    They are torch's total memory, the multiprocessors, and the size of a context. Raises
    MachineError when the process fails.
    """
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": gpu.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    command = [sys.executable, "-P", "-m", "harness.predict.gpu_facts"]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
        )
        if done.returncode == 0:
            facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return facts
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"it took more than {_TIMEOUT_SECONDS} s"
    raise MachineError(f"{gpu.name} ({gpu.uuid}) could not be measured: {reason}")


def compare(
    device: DeviceIdentity, facts: dict[str, Any], profiles: Iterable[LockedProfile]
) -> CalibrateDocument:
    """Compare the facts of a GPU with the table, and locked measurements with their predictions."""
    known = _find(device.name)
    here = _values(
        device.memory_bytes, facts["total_bytes"], facts["capability"], facts["multiprocessors"]
    )
    table: dict[FactName, int | str | None] = dict.fromkeys(here)
    if known is not None:
        table |= _values(known.nvml_bytes, known.total_bytes, known.capability, known.sm_count)
    return {
        "device": device,
        "torch": facts["torch"],
        "cuda": facts["cuda"],
        "in_table": known is not None,
        "facts": [
            {
                "name": name,
                "table": table[name],
                "here": value,
                "verdict": _verdict(table[name], value),
            }
            for name, value in here.items()
        ],
        "context_bytes": facts["context_bytes"],
        "predictions": [
            _comparison(profile)
            for profile in profiles
            if profile.source == "measured" and profile.predicted_batch_size
        ],
    }


def _lines(document: CalibrateDocument) -> Iterator[str]:
    yield f"{document['device'].name}, torch {document['torch']}, CUDA {document['cuda']}"
    yield ""
    yield from _table(
        {
            "what": _WORDS[fact["name"]],
            "table": _shown(fact["table"]),
            "here": _shown(fact["here"]),
            "": fact["verdict"],
        }
        for fact in document["facts"]
    )
    yield ""
    outside = document["context_bytes"] / MIB
    yield f"outside torch's allocator: {outside:.0f} MiB (context and libraries)"
    if document["predictions"]:
        yield ""
        yield from _table(
            {
                "case": one["case"],
                "predicted": one["predicted_batch_size"],
                "measured": one["max_batch_size"],
                "off by": f"{one['relative']:+.1%}",
                "": one["verdict"],
            }
            for one in document["predictions"]
        )
    if not document["in_table"]:
        yield ""
        yield (
            "this GPU is not in the table (harness/predict/gpu_table.py); "
            "its row needs the values above"
        )


def _find(name: str) -> GpuFacts | None:
    try:
        return by_name(name)
    except HarnessError:
        return None


def _values(
    nvml_bytes: int, total_bytes: int, capability: Iterable[int], multiprocessors: int
) -> dict[FactName, int | str]:
    return {
        "nvml_total_bytes": nvml_bytes,
        "torch_total_bytes": total_bytes,
        "compute_capability": ".".join(map(str, capability)),
        "multiprocessors": multiprocessors,
    }


def _shown(value: float | str | None) -> str:
    if value is None:
        return "-"
    # Of these numbers, those of memory are far above any count.
    return str(value // MIB) if isinstance(value, int) and value > MIB else str(value)


def _verdict(known: int | str | None, measured: int | str) -> Verdict:
    if known is None:
        return "unknown"
    if isinstance(known, str) or isinstance(measured, str) or known < MIB:
        return "same" if known == measured else "differs"
    return "same" if abs(measured - known) <= _TOLERANCE * known else "differs"


def _comparison(profile: LockedProfile) -> ComparedPrediction:
    assert profile.predicted_batch_size is not None, "only profiles with a prediction are compared"
    off = profile.predicted_batch_size / profile.max_batch_size - 1
    return {
        "case": profile.case_id,
        "predicted_batch_size": profile.predicted_batch_size,
        "max_batch_size": profile.max_batch_size,
        "relative": off,
        "verdict": "same" if abs(off) <= _OFF else "differs",
    }


def _table(rows: Iterable[dict[str, Any]]) -> list[str]:
    return tabulate([*rows], headers="keys", disable_numparse=True).splitlines()
