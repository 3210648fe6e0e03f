"""The verb `gpu-profile calibrate`: verifies the facts about this GPU that predictions rely on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from harness.cli.common import say
from harness.devices.nvml.gpus import visible_gpus
from harness.errors import HarnessError, MachineError
from harness.lockfile.profiles import read_lock
from harness.predict.gpus import MIB, by_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from harness.devices.nvml.gpu import Gpu
    from harness.lockfile.profiles import LockedProfile
    from harness.predict.gpus import GpuFacts
    from harness.run.paths import Paths

_TIMEOUT_SECONDS = 120
# torch's total memory differs between drivers by up to this share.
_TOLERANCE = 0.007
# A prediction that is further off than this is worth a look.
_OFF = 0.05


def calibrate(_options: argparse.Namespace, paths: Paths) -> int:
    """Measure the first visible GPU, and compare it with the table and the locked predictions.

    Returns 1 when the table is wrong, or a locked prediction by more than 5%.
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
    lines, wrong = report(gpu.name, gpu.memory_bytes, facts, profiles)
    say("\n".join(lines))
    return int(wrong)


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


def report(
    name: str, nvml_bytes: int, facts: dict[str, Any], profiles: Iterable[LockedProfile]
) -> tuple[list[str], bool]:
    """Compare the facts of a GPU with the table, and locked measurements with their predictions.

    Returns the lines to show, and whether something differs.
    """
    here = _values(nvml_bytes, facts["total_bytes"], facts["capability"], facts["multiprocessors"])
    known = _find(name)
    table: dict[str, Any] = dict.fromkeys(here)
    if known is not None:
        table = _values(known.nvml_bytes, known.total_bytes, known.capability, known.sm_count)
    rows = [
        {
            "what": what,
            "table": "-" if table[what] is None else table[what],
            "here": value,
            "": _verdict(table[what], value),
        }
        for what, value in here.items()
    ]
    lines = [f"{name}, torch {facts['torch']}, CUDA {facts['cuda']}", "", *_table(rows)]
    lines += [
        "",
        (
            f"outside torch's allocator: {facts['context_bytes'] / MIB:.0f} MiB "
            "(context and libraries)"
        ),
    ]
    predictions = [
        _comparison(profile)
        for profile in profiles
        if profile.source == "measured" and profile.predicted_batch_size
    ]
    if predictions:
        lines += ["", *_table(predictions)]
    off = any(row[""] == "differs" for row in (*rows, *predictions))
    if known is None:
        lines += [
            "",
            (
                "this GPU is not in the table (harness/predict/gpu_table.py); "
                "its row needs the values above"
            ),
        ]
    return lines, off


def _find(name: str) -> GpuFacts | None:
    try:
        return by_name(name)
    except HarnessError:
        return None


def _values(
    nvml_bytes: int, total_bytes: int, capability: Iterable[int], multiprocessors: int
) -> dict[str, Any]:
    return {
        "NVML's total, MiB": nvml_bytes // MIB,
        "torch's total, MiB": total_bytes // MIB,
        "compute capability": ".".join(map(str, capability)),
        "multiprocessors": str(multiprocessors),
    }


def _verdict(known: Any, measured: Any) -> str:
    if known is None:
        return "unknown"
    if isinstance(known, str):
        return "same" if known == measured else "differs"
    return "same" if abs(measured - known) <= _TOLERANCE * known else "differs"


def _comparison(profile: LockedProfile) -> dict[str, Any]:
    assert profile.predicted_batch_size is not None, "only profiles with a prediction are compared"
    off = profile.predicted_batch_size / profile.max_batch_size - 1
    return {
        "case": profile.case_id,
        "predicted": profile.predicted_batch_size,
        "measured": profile.max_batch_size,
        "off by": f"{off:+.1%}",
        "": "same" if abs(off) <= _OFF else "differs",
    }


def _table(rows: list[dict[str, Any]]) -> list[str]:
    return tabulate(rows, headers="keys", disable_numparse=True).splitlines()
