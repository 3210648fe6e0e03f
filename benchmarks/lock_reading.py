"""Measures the time to read a locked profile at train time, from a lockfile of 100 profiles.

    python benchmarks/lock_reading.py [--runs 21] [--json benchmarks/results/lock_reading.json]

Each run is a new interpreter that reads its own clock before and after `import harness` and the
call. The time to start the interpreter is left out: it varies by more than all the rest. Two other
things are measured in turn, in processes of their own. `tomllib` alone on the same file takes the
least time that any reader of this format needs. The import of NVML's binding is what a call without
a GPU label adds. The exit code is 1 when the bar is missed, or when a framework was imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

from harness.lockfile.profiles import LockedProfile
from harness.lockfile.write import update_lock
from harness.measurement import DeviceIdentity

_BAR_MS = 60.0
_NUM_PROFILES = 100
_HEAVY = ("torch", "pytest", "pydantic", "lightning", "pynvml", "yaml", "numpy")

_CODE = {
    "load_profile": (
        "import harness; "
        "harness.load_profile('model7', resolution=224, gpu='h200', lock=sys.argv[1])"
    ),
    "tomllib_alone": "import tomllib; tomllib.load(open(sys.argv[1], 'rb'))",
    "import_pynvml": "import pynvml",
}
_FRAME = (
    "import sys, time; start = time.perf_counter()\n"
    "{code}\n"
    "seconds = time.perf_counter() - start\n"
    "import json; print(json.dumps([1000 * seconds, sorted(sys.modules)]))"
)


def profiles() -> list[LockedProfile]:
    """Return 100 profiles as complete as those of a run: 25 models, 2 GPUs, 2 resolutions."""
    gpus = {
        "h200": DeviceIdentity("NVIDIA H200", 150754820096),
        "a100": DeviceIdentity("NVIDIA A100-SXM4-40GB", 42949672960),
    }
    return [
        LockedProfile(
            axes={"model": f"model{index}", "gpu": gpu, "resolution": resolution},
            device=device,
            batch_size=3328,
            max_batch_size=3712,
            bounded_by="memory",
            memory_limit_bytes=135711850905,
            fingerprint="sha256:" + 64 * "f",
            recipe="sha256:" + 64 * "e",
            validation_batch_size=8192,
            learning_rate=0.00316,
            learning_rates=(0.0031, 0.00316, 0.0034),
            peak_memory_bytes=125876543488,
            samples_per_second=10340.0,
            workload={
                "module": "profiles.workloads.ImageClassifier",
                "num_parameters": 11181642,
                "num_tensors": 62,
                "parameters": "sha256:" + 64 * "d",
                "data": "profiles.workloads.Digits",
                "num_samples": 1500,
                "sample": f"float32[1, {resolution}, {resolution}], int64[]",
            },
            settings={"trainer.precision": "bf16-mixed", "search.safety_factor": 0.9},
            made_with={
                "torch": "2.11.0",
                "cuda": "13.0",
                "driver": "580.159.03",
                "lightning": "2.6.6",
            },
        )
        for index in range(_NUM_PROFILES // 4)
        for gpu, device in gpus.items()
        for resolution in (224, 288)
    ]


def measure(code: str, lock: Path) -> tuple[float, list[str]]:
    """Run code in a new interpreter; return its milliseconds and the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", _FRAME.format(code=code), str(lock)],
        check=True,
        capture_output=True,
        text=True,
    )
    milliseconds, modules = json.loads(done.stdout)
    return milliseconds, modules


def main() -> int:
    """Measure, print and save; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in _CODE}
    heavy: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "gpu-profile.lock"
        update_lock(lock, profiles())
        num_bytes = lock.stat().st_size
        # The first round compiles bytecode and fills the file cache.
        for round_ in range(options.runs + 1):
            for name, code in _CODE.items():
                milliseconds, modules = measure(code, lock)
                if round_:
                    times[name].append(milliseconds)
                if name == "load_profile":
                    heavy |= {*_HEAVY} & {*modules}
    medians = {name: median(values) for name, values in times.items()}
    passed = medians["load_profile"] <= _BAR_MS and not heavy
    result = {
        "num_profiles": _NUM_PROFILES,
        "lock_bytes": num_bytes,
        "runs": options.runs,
        "median_ms": {name: round(value, 1) for name, value in medians.items()},
        "p90_ms": {name: round(quantiles(values, n=10)[-1], 1) for name, values in times.items()},
        "ratio_to_tomllib_alone": round(medians["load_profile"] / medians["tomllib_alone"], 2),
        "bar_ms": _BAR_MS,
        "heavy_imports": sorted(heavy),
        "passed": passed,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
