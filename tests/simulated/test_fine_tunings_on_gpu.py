"""Fine-tunings with kernels of bitsandbytes, predicted: they count memory on a simulated GPU."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from projects import WORKLOADS
from simulated_runs import make_project

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

MATRIX = """
version: 1
matrix: {model: [four-bit], gpu: [t4-as-256MiB], resolution: [16]}
models:
  four-bit:
    training:
      class_path: net.TunedLoop
      init_args: {width: 512, quantize: nf4, optimizer: AdamW8bit}
gpus:
  t4-as-256MiB: {name: Tesla T4, budget: 256MiB}
search: {max_batch_size: 4}
"""
MIB = 1 << 20


def test_a_base_of_four_bits_takes_half_a_byte_per_weight(tmp_path: Path, worlds: Worlds) -> None:
    """Its linear layers, the embeddings and the adapters, counted by hand."""
    assert worlds is not None  # it skips where no GPU can be simulated
    text = (WORKLOADS / "finetuning_zoo.py").read_text(encoding="utf-8")
    folder = make_project(tmp_path / "project", MATRIX, text)
    command = "from harness.cli import main; raise SystemExit(main())"
    done = subprocess.run(
        [sys.executable, "-c", command, "predict", "four-bit-t4-as-256MiB-16"],
        cwd=folder, check=False, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    row = done.stdout.split("  activations\n", 1)[1].splitlines()[1]
    parameters = re.findall(r"[\d.]+ [KMG]iB", row)[2]
    # Per layer: q and o, k and v of half the heads, and three of the MLP of twice the width.
    linear = 2 * (2 * 512 * 512 + 2 * 512 * 256 + 3 * 512 * 1024)
    adapters = 2 * 4 * (512 + 512 + 512 + 256)
    others = 2 * 64 * 512 + 5 * 512
    # The scales of the blocks of 64 weights are no parameters.
    by_hand = linear / 2 + 4 * (adapters + others)
    assert float(parameters.removesuffix(" MiB")) == pytest.approx(by_hand / MIB, abs=0.05)
