"""Experiment 3: runs out of memory in every way, by itself and in probes of gpu-profile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import main_workload
from cuda_experiments.processes import end, start_child
from cuda_experiments.searching import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cuda_experiments.setting import Note, Setting

_NVML_FUNCTIONS = (
    "nvmlInit_v2",
    "nvmlDeviceGetHandleByPciBusId_v2",
    "nvmlDeviceGetNvLinkRemoteDeviceType",
    "nvmlDeviceGetNvLinkRemotePciInfo_v2",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGpuFabricInfoV",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount_v2",
)
_DRIVER_NOT_LOADED = 9
_NVML = "NVML broken"
_LEAST = (
    "host, an allocation of torch's",
    "caching allocator, at the fraction",
    "caching allocator, cudaMallocAsync",
)
_ROW_SECONDS = 30.0
# Batches of ResNet-50, and of the small workload, that no budget of some GiB holds.
_HUGE, _HUGE_LEAST = 1 << 12, 1 << 16


def failures(setting: Setting, note: Note) -> None:
    """Fail in each way, in a process of its own; then in training and validation of a probe.

    Rows that need other variables get a Python of their own, the others a fork.
    """
    request = {"budget_bytes": setting.budget_bytes, "seen_on_gpu": not setting.simulated}
    with setting.server("rows") as server:
        rows = setting.some(server.ask("rows", _ROW_SECONDS)["answer"], *_LEAST)
        # Those with variables of their own take the longest.
        for row, needs in sorted(rows.items(), key=lambda row: _needs_its_own(*row)):
            if row in note:
                continue
            if not _needs_its_own(row, needs):
                with _filled(setting) if needs["filled_by_another"] else nullcontext():
                    note(row, server.ask("fail", _ROW_SECONDS, row=row, **request))
                continue
            environment = dict(needs["variables"])
            if row.startswith(_NVML):
                broken = break_nvml(setting.directory)
                if broken is None:
                    note(row, "needs a C compiler")
                    continue
                path = os.environ.get("LD_LIBRARY_PATH")
                environment["LD_LIBRARY_PATH"] = f"{broken}:{path}" if path else str(broken)
            note(row, setting.child("fail", 2 * _ROW_SECONDS, environment, row=row, **request))
    with setting.runner("failures", main_workload(cut_down=setting.cut_down)) as runner:
        runner.describe()
        huge = _HUGE_LEAST if setting.cut_down else _HUGE
        note("harness, training", facts_of(runner.train(huge, steps=1)))
        validating = runner.train(2, steps=1, validation_steps=1, validation_batch_size=huge)
        note("harness, validation", facts_of(validating))
        note("harness, afterwards", facts_of(runner.train(2, steps=1)))


def _needs_its_own(row: str, needs: dict[str, Any]) -> bool:
    """Return whether torch reads a variable of the row while it is imported."""
    return bool(needs["variables"]) or row.startswith(_NVML)


@contextmanager
def _filled(setting: Setting) -> Iterator[None]:
    """Let another process hold all memory of the device."""
    process = start_child("hold", setting.environment(), num_bytes=None)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        end(process)


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
