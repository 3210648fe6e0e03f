"""`gpu-profile predict --what-if` on torch's CUDA build, from the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from json_documents import assert_described
from projects import WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [t4], resolution: [1]}
models:
  net: {module: {class_path: predicted_net.Net}}
gpus:
  t4: {name: Tesla T4, budget: 256MiB}
"""
# The packages that have 8-bit optimizers, as if they were not installed.
MISSING = 'raise ImportError("not here")\n'


def ask(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verb in a project, to its end."""
    return subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; raise SystemExit(main())", "predict", *arguments],
        cwd=folder, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, torch_server: object) -> Path:
    """Make a project with one case; return its folder."""
    assert torch_server is not None  # it skips where no GPU can be simulated
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "matrix.yaml").write_text(MATRIX)
    text = (WORKLOADS / "predicted_net.py").read_bytes()
    (tmp_path / "predicted_net.py").write_bytes(text)
    for package in ("bitsandbytes", "torchao"):
        (tmp_path / f"{package}.py").write_text(MISSING)
    return tmp_path


def test_changes_are_ranked_and_those_not_offered_are_named(folder: Path) -> None:
    """Mixed precision has the largest batch; a fused optimizer needs no square roots.

    What the module, its optimizer or the environment do not offer is a line with the reason.
    """
    done = ask(folder, "net-t4-1", "--what-if")
    assert 0 == done.returncode, done.stderr
    told = json.loads(ask(folder, "net-t4-1", "--what-if", "--json").stdout)
    assert_described(told, "predict")
    rows = re.findall(r"^(\S.*?) {2,}(\d+) +(\d\.\d\d) ", done.stdout, re.MULTILINE)
    batches = {name: int(batch) for name, batch, _ in rows}
    assert {"as it is", "bf16-mixed", "fused optimizer"} == {*batches}
    assert sorted(batches.values(), reverse=True) == [*batches.values()]
    assert batches["bf16-mixed"] > batches["as it is"]
    assert batches["fused optimizer"] >= batches["as it is"]
    assert "1.00" == next(times for name, _, times in rows if name == "as it is")
    lines = done.stdout.splitlines()[-3:]
    assert [
        ("activation checkpointing", "not offered: Net offers neither gradient_checkpointing_enable"),
        ("channels_last", "not offered: Net has no two-dimensional convolution"),
        ("8-bit optimizer", "not offered: neither bitsandbytes nor torchao is installed"),
    ] == [(name, rest.partition(",")[0]) for name, _, rest in (line.partition(": ") for line in lines)]  # fmt: skip


TRAIN = """
from harness.workload import changes
from torch import nn
import lightning.pytorch as pl
class Net(pl.LightningModule):
    def __init__(self):
        super().__init__(); self.parts = nn.Sequential(*[nn.Linear(1024, 1024) for _ in range(8)])
    def configure_optimizers(self): return torch.optim.AdamW(self.parameters())
net = Net(); {change}; net.cuda(); optimizer = net.configure_optimizers()
for _ in range(2): net.parts(torch.zeros(1, 1024, device="cuda")).sum().backward(); optimizer.step(); optimizer.zero_grad()
tell(torch.cuda.max_memory_allocated() >> 20)
"""


def test_fused_optimizer_makes_no_copy_of_its_moments(worlds: Worlds) -> None:
    """The step for many tensors at once takes the square roots of all second moments together."""
    fused = TRAIN.format(change="changes.apply('fused optimizer', net)")
    (plain,) = worlds.run(worlds.make(), TRAIN.format(change="pass"))
    (changed,) = worlds.run(worlds.make(), fused)
    assert plain - 8 * 4 == changed


def test_what_if_is_for_one_gpu(folder: Path) -> None:
    """Several GPUs and pictures are refused, before anything is built."""
    refused = ask(folder, "net-t4-1", "--what-if", "--gpu", "T4", "--gpu", "H100")
    assert (2, "") == (refused.returncode, refused.stdout)
    assert "--what-if is for one case on one GPU" in refused.stderr
