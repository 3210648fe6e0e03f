"""Measures the cost of the idle plugin, and that of collecting a large matrix.

    python benchmarks/overhead.py [--json PATH]

Idle: the time to import `harness.plugin` in a new interpreter that has imported pytest, and the
modules that this imports. The interpreter measures it, as the time of a whole process is too noisy.
Collection: the time of `pytest --collect-only` for 10,000 cases of a matrix, divided by that for
10,000 plain parameters. The two alternate, and the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

NUM_CASES = 10_000
HEAVY = ("torch", "lightning", "pynvml", "pydantic", "yaml")

IDLE = """
import sys, time
import pytest
before = set(sys.modules)
started = time.perf_counter()
import harness.plugin
seconds = time.perf_counter() - started
print(seconds, *sorted(set(sys.modules) - before))
"""

PLAIN = """
import pytest

IDS = ["model%d-gpu%d-%d" % (i // 1000, i // 100 % 10, i % 100) for i in range({count})]

@pytest.mark.parametrize("case", range({count}), ids=IDS)
def test_plain(case):
    pass
"""

MATRIX = """
version: 1
matrix:
  model: [{models}]
  gpu: [{gpus}]
  resolution: [{resolutions}]
models:
{definitions}
gpus:
{devices}
"""


def idle(repeats: int) -> dict[str, Any]:
    """Return the median import time in ms, and the heavy modules that were imported."""
    seconds, modules = [], set()
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", IDLE], capture_output=True, text=True, check=True
        )
        first, *names = done.stdout.split()
        seconds.append(float(first))
        modules |= set(names)
    heavy = [name for name in HEAVY if name in {module.partition(".")[0] for module in modules}]
    return {
        "import_ms": statistics.median(seconds) * 1000,
        "heavy_modules": heavy,
        "num_modules": len(modules),
    }


def write_projects(folder: Path) -> tuple[Path, Path]:
    """Write the two projects that are collected: a matrix of 10,000 cases, and plain parameters."""
    matrix, plain = folder / "matrix", folder / "plain"
    (matrix / "profiles").mkdir(parents=True)
    plain.mkdir()
    (plain / "test_plain.py").write_text(PLAIN.format(count=NUM_CASES), encoding="utf-8")
    (matrix / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n", encoding="utf-8"
    )
    spec = (
        "{module: {class_path: torch.nn.Linear, "
        'init_args: {in_features: "${resolution}", out_features: 2}}}'
    )
    text = MATRIX.format(
        models=", ".join(f"model{index}" for index in range(10)),
        gpus=", ".join(f"gpu{index}" for index in range(10)),
        resolutions=", ".join(str(index) for index in range(NUM_CASES // 100)),
        definitions="\n".join(f"  model{index}: {spec}" for index in range(10)),
        devices="\n".join(
            f"  gpu{index}: {{accelerator: cpu, budget: {index + 1}GiB}}" for index in range(10)
        ),
    )
    (matrix / "profiles" / "matrix.yaml").write_text(text, encoding="utf-8")
    return matrix, plain


def collect(folder: Path, *arguments: str) -> float:
    """Return the seconds that pytest takes to collect the tests in `folder`."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-qq",
        "-p",
        "no:cacheprovider",
        *arguments,
    ]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    assert f": {NUM_CASES}" in done.stdout, done.stdout[-500:]
    return seconds


def main() -> None:
    """Measure, print, and compare with the bars."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    result = idle(3 * options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        matrix, plain = write_projects(Path(folder))
        with_plugin, without = [], []
        for _ in range(options.repeats):
            without.append(collect(plain))
            with_plugin.append(collect(matrix, "--gpu-profile"))
    result |= {
        "matrix_seconds": statistics.median(with_plugin),
        "plain_seconds": statistics.median(without),
        "command": "python benchmarks/overhead.py",
    }
    result["collection_ratio"] = result["matrix_seconds"] / result["plain_seconds"]
    rows = [
        (
            "import of the idle plugin",
            f"{result['import_ms']:.2f} ms",
            "2 ms",
            result["import_ms"] <= 2,
        ),
        (
            "heavy modules imported",
            ", ".join(result["heavy_modules"]) or "none",
            "none",
            not result["heavy_modules"],
        ),
        (
            f"collection of {NUM_CASES} cases, against plain",
            f"x{result['collection_ratio']:.2f}",
            "x2",
            result["collection_ratio"] <= 2,
        ),
    ]
    print(
        tabulate(
            [(*row[:3], "ok" if row[3] else "missed") for row in rows],
            ("what", "measured", "bar", ""),
        )
    )
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(not all(row[3] for row in rows))


if __name__ == "__main__":
    main()
