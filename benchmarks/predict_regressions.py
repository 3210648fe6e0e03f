"""Plants regressions in a workload, which predictions must catch without a GPU.

    python benchmarks/predict_regressions.py [--json PATH] [--plot PATH]

A small transformer with activation checkpointing is predicted for an H200 and locked, as a user
would do (`pytest --gpu-profile --gpu-profile-predict --gpu-profile-update`). Then one line of its
text is changed at a time: an activation is kept alive, an intermediate result is computed in
float32, checkpointing is removed. Each change must fail the test, and the message must name the
module and the line. Afterwards the text is restored, and the test must pass. The exit code is 1
otherwise. --plot draws the unchanged training step (`gpu-profile predict CASE --plot PATH`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from tabulate import tabulate

CASE = "lm-h200-as-8GiB-256"
MATRIX = """\
version: 1
matrix: {model: [lm], gpu: [h200-as-8GiB], resolution: [256]}
models:
  lm:
    module: {class_path: lm.LanguageModel}
    data:
      class_path: harness.synthetic.SyntheticTokens
      init_args: {length: "${resolution}", vocab_size: 100}
gpus:
  h200-as-8GiB: {name: NVIDIA H200, budget: 8GiB}
trainer: {precision: bf16-mixed}
"""
TEXT = """\
import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(256, 1024), nn.Linear(1024, 256)

    def forward(self, inputs):
        hidden = self.up(inputs)
        return self.down(nn.functional.gelu(hidden))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(256), nn.LayerNorm(256)
        self.attention = nn.MultiheadAttention(256, 4, batch_first=True)
        self.feed_forward = FeedForward()

    def forward(self, inputs):
        normed = self.norm1(inputs)
        inputs = inputs + self.attention(normed, normed, normed, need_weights=False)[0]
        return inputs + self.feed_forward(self.norm2(inputs))


class LanguageModel(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(100, 256)
        self.blocks = nn.ModuleList(Block() for _ in range(6))
        self.head = nn.Linear(256, 100)

    def forward(self, tokens):
        hidden = self.embed(tokens)
        for block in self.blocks:
            hidden = checkpoint(block, hidden, use_reentrant=False)
        return self.head(hidden)

    def training_step(self, batch, _batch_idx):
        logits = self(batch["input_ids"])
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters())
"""


@dataclass(frozen=True)
class Plant:
    """One regression."""

    what: str
    old: str
    new: str
    module: str
    """The module that the message must name."""
    line: str
    """A part of the line that it must name beside it: the one that allocates."""


PLANTS = (
    Plant(
        "an activation is kept alive",
        "        return self.down(nn.functional.gelu(hidden))",
        "        self.last_hidden = hidden\n        return self.down(nn.functional.gelu(hidden))",
        "blocks.0.feed_forward",
        "hidden = self.up(inputs)",
    ),
    Plant(
        "a float32 upcast",
        "        return self.down(nn.functional.gelu(hidden))",
        "        return self.down(nn.functional.gelu(hidden.float()))",
        "feed_forward",
        "hidden.float()",
    ),
    Plant(
        "checkpointing is removed",
        "hidden = checkpoint(block, hidden, use_reentrant=False)",
        "hidden = block(hidden)",
        "blocks.0.feed_forward",
        "hidden = self.up(inputs)",
    ),
)


@dataclass(frozen=True)
class Row:
    """The end of one planted regression."""

    planted: str
    exit_code: int
    batch: int
    locked: int
    names_module: bool
    """With the line beside it."""
    grown: list[str]

    @property
    def ok(self) -> bool:
        """Whether the test failed, and the message named the module and the line."""
        return self.exit_code == 1 and self.batch < self.locked and self.names_module


def run(folder: Path, *flags: str) -> tuple[int, str, int]:
    """Run the prediction; return the exit code, the output, and the largest batch."""
    command = [sys.executable, "-m", "pytest", "--gpu-profile", "--gpu-profile-predict", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    report = json.loads((folder / ".gpu-profile/report.json").read_text(encoding="utf-8"))
    return done.returncode, done.stdout, report["cases"][0]["max_batch_size"]


def place_of(plant: Plant) -> str:
    """Return `lm.py:13` for the line that a plant's message must name."""
    lines = TEXT.replace(plant.old, plant.new).splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if plant.line in line)
    return f"lm.py:{number}"


def main() -> None:
    """Plant, run, print, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profiles").mkdir()
        (folder / "profiles/matrix.yaml").write_text(MATRIX, encoding="utf-8")
        (folder / "test_profiles.py").write_text(
            "from harness.testing import test_gpu_profile\n", encoding="utf-8"
        )
        source = folder / "profiles/lm.py"
        source.write_text(TEXT, encoding="utf-8")
        code, shown, locked = run(folder, "--gpu-profile-update")
        if code:
            sys.exit(shown)
        for plant in PLANTS:
            assert TEXT.count(plant.old) == 1, plant
            source.write_text(TEXT.replace(plant.old, plant.new), encoding="utf-8")
            code, shown, batch = run(folder)
            grown = [
                line.strip()
                for line in shown.splitlines()
                if "->" in line and line.startswith("    ")
            ]
            place = place_of(plant)
            named = any(plant.module in line and line.endswith(place) for line in grown)
            rows.append(Row(plant.what, code, batch, locked, named, grown))
            print("\n".join([plant.what, *(f"  {line}" for line in grown)]), flush=True)
        source.write_text(TEXT, encoding="utf-8")
        restored, _, _ = run(folder)
        if options.plot is not None:
            predict = "import sys; from harness.cli.command_line import main; sys.exit(main())"
            arguments = ["predict", CASE, "--plot", str(options.plot.absolute())]
            subprocess.run([sys.executable, "-c", predict, *arguments], cwd=folder, check=True)
    table = [
        {k: v for k, v in asdict(row).items() if k != "grown"} | {"ok": row.ok} for row in rows
    ]
    print(tabulate(table, headers="keys"))
    print(f"restored: exit code {restored}")
    if options.json is not None:
        result = {
            "command": " ".join(["python", *sys.argv]),
            "torch": version("torch"),
            "restored_exit_code": restored,
            "rows": [asdict(row) | {"ok": row.ok} for row in rows],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(restored != 0 or not all(row.ok for row in rows)))


if __name__ == "__main__":
    main()
