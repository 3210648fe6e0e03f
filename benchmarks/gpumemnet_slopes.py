"""Compares the memory of a sample on a simulated A100 with what real A100s were seen to take.

    python benchmarks/gpumemnet_slopes.py --data fake_tensor.xlsx [--count 240] [--json PATH]
        [--workspaces cudnn|none] [--only NAME…]

The table is that of itu-rad/GPUMemNet (Related_works/FakeTensor/fake_tensor.xlsx at f01eb05): 1017
of timm's models on A100s of 40 GB, each at five batch sizes, by what nvidia-smi reported. It has
no licence, so it is compared and not copied. Here each network takes three steps of SGD in float32
at 224 pixels, at batch 32 and 64, each in a process of its own. The slope is the difference of the
two peaks over 32 samples, so what a process holds besides does not count.

Networks come in the order of a hash of their names. Left out are those whose images are not of 224
pixels, those that are not in this timm, and those whose memory in the table does not rise with the
batch or reaches 38,000 MiB: they ran out of it. *offset* is what the real process held beyond the
simulated one at batch 32: context and libraries. It is usual from 1800 to 3072 MiB; where it is
another one, the network was trained otherwise than here, or by other kernels. Nothing is fitted to
the table. It needs a CUDA build of torch, and timm, and no GPU. The exit code is 1 when a bar is
missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from cuda_experiments.simulation import simulated_gpu
from tabulate import tabulate

from harness.simulated.environment import environment
from harness.simulated.mark import is_simulated
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIB = 1 << 20
GPU, RESOLUTION = "A100-40GB", 224
SMALL, LARGE = 32, 64
# Above this a table's value is what the GPU has, and not what the network needs.
SATURATED_MIB = 38_000
# Offsets of context and libraries on those machines.
OFFSETS_MIB = (1800, 3072)
MEDIAN_BAR, P90_BAR = 0.03, 0.12
_SECONDS = 120
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read(path: Path) -> dict[str, dict[int, int]]:
    """Return the table: of each model the MiB at each batch size."""
    table: dict[str, dict[int, int]] = {}
    for name, batch_size, mib, *_ in rows(path):
        found = re.fullmatch(r"(.+)_\d+\.out", name or "")
        if found and batch_size and mib:
            table.setdefault(found[1], {})[int(float(batch_size))] = int(float(mib))
    return table


def rows(path: Path) -> Iterator[list[str | None]]:
    """Yield the cells of a workbook's first sheet, row by row."""
    with zipfile.ZipFile(path) as book:
        texts = [
            "".join(part.text or "" for part in item.iter(f"{_MAIN}t"))
            for item in ET.fromstring(book.read("xl/sharedStrings.xml"))  # noqa: S314 - the user's file
        ]
        sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - the user's file
    for row in sheet.iter(f"{_MAIN}row"):
        cells: list[str | None] = []
        for cell in row:
            value = cell.find(f"{_MAIN}v")
            text = None if value is None else value.text
            cells.append(texts[int(text)] if text and cell.get("t") == "s" else text)
        yield cells


def chosen(table: dict[str, dict[int, int]], count: int) -> list[str]:
    """Return the networks that can be compared, in the order of a hash of their names."""
    import timm  # noqa: PLC0415 - in the simulated world alone

    names = sorted(
        (name for name in table if timm.is_model(name)),
        key=lambda name: hashlib.sha256(name.encode()).digest(),
    )
    ran = [name for name in names if _ran(table[name])]
    return [name for name in ran if _resolution(name) == RESOLUTION][:count]


def _ran(measured: dict[int, int]) -> bool:
    """Return whether batch 64 ran: it took more memory than each smaller one."""
    values = [value for size, value in sorted(measured.items()) if size <= LARGE]
    return values == sorted({*values}) and values[-1] < SATURATED_MIB


def _resolution(name: str) -> int:
    import timm  # noqa: PLC0415 - in the simulated world alone

    found = timm.models.get_pretrained_cfg(name, allow_unregistered=True)
    return int(found.input_size[-1]) if found else 0


def peak_mib(name: str, batch_size: int) -> float | str:
    """Train three steps in a fork; return the peak of reserved memory, or what failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(_SECONDS)
        try:
            said = json.dumps(train(name, batch_size))
        except Exception as error:  # noqa: BLE001 - whatever a network's code raises
            said = json.dumps(f"{type(error).__name__}: {error}".splitlines()[0][:200])
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    answer: float | str = json.loads(said) if said else "its process ended"
    return answer


def train(name: str, batch_size: int) -> float:
    """Take three steps; return the peak of reserved memory in MiB."""
    import timm  # noqa: PLC0415 - in the simulated world alone
    import torch  # noqa: PLC0415 - in the simulated world alone

    try:  # nobody computes with the weights, and to draw them takes longer than all else
        with torch.device("meta"):
            model = timm.create_model(name)
        model = model.to_empty(device="cuda")
    except (NotImplementedError, RuntimeError):
        model = timm.create_model(name).cuda()
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images = torch.zeros(batch_size, 3, RESOLUTION, RESOLUTION, device="cuda")
    labels = torch.zeros(batch_size, dtype=torch.long, device="cuda")
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return torch.cuda.max_memory_reserved() / MIB


def compare(name: str, measured: dict[int, int]) -> dict[str, Any]:
    """Return the row of one network: a ratio, and no value of the table."""
    started = time.perf_counter()
    peaks = [peak_mib(name, size) for size in (SMALL, LARGE)]
    row: dict[str, Any] = {"model": name, "seconds": round(time.perf_counter() - started, 1)}
    small, large = peaks
    if isinstance(small, str) or isinstance(large, str):
        return row | {"error": next(peak for peak in peaks if isinstance(peak, str))}
    slope = (large - small) / (LARGE - SMALL)
    return row | {
        "ratio": round((measured[LARGE] - measured[SMALL]) / (LARGE - SMALL) / slope, 3),
        "usual_offset": OFFSETS_MIB[0] <= measured[SMALL] - small <= OFFSETS_MIB[1],
    }


def cudnn_version() -> str:
    """Return the version of the cuDNN beside torch. Who asks torch for it could not fork then."""
    return next(
        package.version for package in distributions() if package.name.startswith("nvidia-cudnn")
    )


def judge(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors beside their bars: of all networks, and of those with a usual offset."""
    compared = [row for row in rows if "ratio" in row]
    usual = [row for row in compared if row["usual_offset"]]
    table: list[dict[str, Any]] = []
    for which, those in (("all", compared), ("with a usual offset", usual)):
        ratios = sorted(row["ratio"] for row in those)
        errors = sorted(abs(1 - 1 / ratio) for ratio in ratios)
        if not errors:
            continue
        p90 = errors[int(0.9 * len(errors))]
        table += [
            {"what": f"networks, {which}", "value": len(those), "bar": None},
            {"what": "ratio, median", "value": statistics.median(ratios), "bar": None},
            {"what": "ratio, p10", "value": ratios[int(0.1 * len(ratios))], "bar": None},
            {"what": "ratio, p90", "value": ratios[int(0.9 * len(ratios))], "bar": None},
            {
                "what": "error, median",
                "value": round(statistics.median(errors), 4),
                "bar": MEDIAN_BAR,
            },
            {"what": "error, p90", "value": round(p90, 4), "bar": P90_BAR},
        ]
    return table


def main() -> None:
    """Compare, print, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the workbook")
    parser.add_argument("--count", type=int, default=240, help="networks at most")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these networks instead")
    parser.add_argument("--workspaces", choices=("cudnn", "none"), default="cudnn")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    if not is_simulated():
        with tempfile.TemporaryDirectory() as directory:
            gpu = simulated_gpu(GPU, None if options.workspaces == "cudnn" else 0)
            inside = os.environ | environment(World.create(Path(directory) / "world", [gpu]))
            sys.exit(
                subprocess.run([sys.executable, *sys.argv], env=inside, check=False).returncode
            )
    import torch  # noqa: PLC0415 - in the simulated world alone

    torch.set_num_threads(1)
    table = read(options.data)
    found: list[dict[str, Any]] = []
    for name in options.only or chosen(table, options.count):
        found.append(compare(name, table[name]))
        print(*found[-1].values(), file=sys.stderr, flush=True)
        if options.json:
            report = {
                "command": " ".join(["python", *sys.argv]),
                "gpu": f"simulated {GPU}",
                "workspaces": options.workspaces,
                "torch": version("torch"),
                "cudnn": cudnn_version(),
                "timm": version("timm"),
                "bars": judge(found),
                "rows": found,
            }
            options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    bars = judge(found)
    print(tabulate(bars, headers="keys"))
    sys.exit(int(any(bar["bar"] is not None and bar["value"] > bar["bar"] for bar in bars)))


if __name__ == "__main__":
    main()
