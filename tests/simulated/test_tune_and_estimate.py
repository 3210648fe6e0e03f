"""`harness.tune` and `harness.estimate` on a simulated GPU, from a script."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from simulated_runs import MATRIX, make_project, run
from simulated_worlds import h100, inside

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

SCRIPT = """
import json
import harness
from harness.synthetic import SyntheticImages
from net import Net

{call}
print(json.dumps({shown}))
"""
DATA = "Net, SyntheticImages(resolution=32, num_classes=10)"


def answer(folder: Path, environment: dict[str, str] | None, call: str, shown: str) -> Any:
    """Run a script in a project, and return what it prints."""
    text = SCRIPT.format(call=call, shown=shown)
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_tune_finds_what_a_run_of_pytest_finds(worlds: Worlds) -> None:
    """The same settings give the same batch; an index of a GPU is that of this machine."""
    folder = make_project(worlds.folder / "project", MATRIX.replace("H100*", "H100 80GB HBM3"))
    _, _, case = run(worlds, folder)
    call = f'tuned = harness.tune({DATA}, gpu="h100-as-1GiB")\n'
    call += f"first = harness.tune({DATA}, gpu=0, search={{'max_batch_size': 4}})"
    shown = "[tuned.max_batch_size, tuned.bounded_by, tuned.lr_refusal, repr(first)]"
    assert answer(folder, inside(worlds.make(h100())), call, shown) == [
        case["max_batch_size"],
        "memory",
        "a simulated GPU computes no loss",
        (
            "Tuned(batch_size=4, max_batch_size=4, learning_rate=None, "
            "device='simulated NVIDIA H100 80GB HBM3')"
        ),
    ]


@pytest.mark.usefixtures("torch_server")
def test_estimate_is_what_predict_says_and_answers_for_other_sizes(tmp_path: Path) -> None:
    """Sizes that were not tried are predicted when they are asked for, once."""
    folder = make_project(tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; raise SystemExit(main())", "predict", "net-h100-as-1GiB-32"],
        cwd=folder, check=True, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    (row,) = re.findall(r"^H100 +(\d+) +(\d+) +memory ", done.stdout, re.MULTILINE)
    call = f'e = harness.estimate({DATA}, gpu="h100-as-1GiB", progress=False)\nn = e.max_batch_size'
    sizes = "[n, e.safe_batch_size, e.fits(n), e.fits(n + 1), e.fits(3), e.peak(3) < e.peak(n)]"
    found = answer(folder, None, call, sizes)
    assert [*map(int, row), True, False, True, True] == found


def test_memory_of_the_script_itself_is_named(worlds: Worlds) -> None:
    """A module on the GPU is refused by its argument; other memory is this process's."""
    call = """import torch
told = []
half = torch.cuda.get_device_properties(0).total_memory // 2
kept = torch.empty(half, dtype=torch.uint8, device="cuda")
for module in (Net().cuda(), Net):
    try:
        harness.tune(module, SyntheticImages(resolution=32, num_classes=10), gpu=0)
    except harness.HarnessError as error:
        told.append(str(error))"""
    folder = make_project(worlds.folder / "project")
    first, second = answer(folder, inside(worlds.make(h100())), call, "told")
    assert first.startswith("module is on a GPU, whose memory this process then holds")
    assert "is busy: " in second
    assert re.search(r"; used by this process with \d+\.\d [MG]iB\. ", second)
