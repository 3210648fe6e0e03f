"""Experiment 3: runs out of memory in every way, by itself and in probes of gpu-profile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from cuda_experiments.failing import ENVIRONMENTS, NO_CONTEXT, ON_THE_HOST, ROWS
from cuda_experiments.models import main_workload
from cuda_experiments.setting import start_child

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cuda_experiments.setting import Facts, Setting

_NVML_FUNCTIONS = (
    "nvmlInit_v2",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses",
    # torch looks all of them up before it calls one; these since 2.9 or so.
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlDeviceGetCount_v2",
)
_DRIVER_NOT_LOADED = 9


def failures(setting: Setting) -> Facts:
    """Fail in each way, in a process of its own; then in training and validation of a probe."""
    for row in ROWS if setting.cuda else ON_THE_HOST:
        environment = dict(ENVIRONMENTS.get(row, {}))
        if row.startswith("NVML broken"):
            broken = break_nvml(setting.directory)
            if broken is None:
                yield row, "needs a C compiler"
                continue
            path = os.environ.get("LD_LIBRARY_PATH")
            environment["LD_LIBRARY_PATH"] = f"{broken}:{path}" if path else str(broken)
        with _filled(setting) if row == NO_CONTEXT else nullcontext():
            ended = setting.child(
                "fail", 120.0, environment, row=row, budget_bytes=setting.budget_bytes
            )
        yield row, ended
    with setting.runner("failures", main_workload(dry_run=setting.dry_run)) as runner:
        runner.describe()
        huge = 1 << 12 if setting.cuda else 1 << 16
        for name, probe in (
            ("harness, training", runner.train(huge, steps=1)),
            (
                "harness, validation",
                runner.train(2, steps=1, validation_steps=1, validation_batch_size=huge),
            ),
            ("harness, afterwards", runner.train(2, steps=1)),
        ):
            yield name, {"outcome": probe.outcome, "phase": probe.phase, "detail": probe.detail}


@contextmanager
def _filled(setting: Setting) -> Iterator[None]:
    """Let another process hold all memory of the device."""
    process = start_child("hold", dict(setting.device().environment), cuda=True, num_bytes=None)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def break_nvml(directory: Path) -> Path | None:
    """Compile an NVML that finds no driver; return its folder, None without a compiler.

    Only one child of this experiment loads it, and no probe does. torch's allocator asks NVML while
    it reports a failure.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    folder = directory / "broken-nvml"
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "nvml.c"
    source.write_text(
        "\n".join(f"int {name}() {{ return {_DRIVER_NOT_LOADED}; }}" for name in _NVML_FUNCTIONS)
        + "\n",
        encoding="ascii",
    )
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", library, source],
        check=True,
    )
    return folder


def update_fixtures(path: Path, facts: dict[str, Any]) -> list[str]:
    """Replace the records of the rows that a GPU has shown; return these rows.

    The expectation of a row is kept, so that a test fails where the GPU disagrees. A new row keeps
    the expectation of its own record.
    """
    records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    by_row = {record["row"]: number for number, record in enumerate(records)}
    changed = []
    for row, fact in facts.items():
        answer = fact.get("answer") if isinstance(fact, dict) else None
        seen = answer.get("record") if answer else None
        if seen is None or not seen["seen_on_gpu"]:
            continue
        changed.append(row)
        if row in by_row:
            records[by_row[row]] = seen | {"expected": records[by_row[row]]["expected"]}
        else:
            records.append(seen)
    path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    return changed
