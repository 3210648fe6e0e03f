"""Counts the live bytes of language models by hand, beside the peaks on a simulated GPU.

    python benchmarks/live_bytes.py [--json PATH]

GPT-2, BERT, a Llama and T5 train with AdamW in float32, in bfloat16 and under autocast. What is
live at the peak, in the backward pass of the loss, is counted from shapes and dtypes, a term for
each kind of tensor, in `hand_counted/`: parameters, moments, what autograd keeps of each block, and
what the loss makes of the logits. It asks torch for nothing. The simulated peak is that of torch's
allocator, which gives out whole blocks. It needs a CUDA build of torch, and no GPU. The exit code
is 1 where the two differ by more than 3%; `--terms` prints what was counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cuda_experiments.simulation import simulated_gpu
from hand_counted import bert, gpt2, llama, t5
from hand_counted.ledger import PRECISIONS, Ledger
from hand_counted.shared_terms import Texts, optimizer_step
from tabulate import tabulate

from harness.simulated.environment import environment
from harness.simulated.world import World

BAR = 0.03
# bfloat16 takes flash attention here, and cuBLAS's workspace is that of GPUs before Hopper.
GPU = "A100-80GB"
MODELS = {
    "gpt2": (gpt2, Texts(8, 1024)),
    "bert": (bert, Texts(32, 512)),
    "llama": (llama, Texts(8, 1024)),
    "t5": (t5, Texts(16, 512)),
}
_SCRIPT = Path(__file__).resolve().parent / "hand_counted" / "train_text.py"


def simulate(model: str, precision: str, texts: Texts) -> int:
    """Train on a simulated GPU; return the peak of allocated bytes."""
    with tempfile.TemporaryDirectory() as folder:
        world = World.create(Path(folder) / "world", [simulated_gpu(GPU)])
        command = [sys.executable, str(_SCRIPT), model, precision]
        command += [str(texts.batch), str(texts.length)]
        inside = os.environ | environment(world)
        done = subprocess.run(command, env=inside, check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{model} {precision}: exit code {done.returncode}\n{done.stderr}")
        (peak,) = [one.allocated_bytes for one in world.peaks()]
    assert peak is not None, "torch's own allocator tells its peak"
    return peak


def compare(model: str, precision: str) -> tuple[dict[str, Any], Ledger]:
    """Return the row of the table for one training, and what was counted."""
    counts, texts = MODELS[model]
    chosen = PRECISIONS[precision]
    ledger = counts.live(texts, chosen)
    in_optimizer = optimizer_step(counts.PARAMETERS, chosen)
    assert in_optimizer < ledger.total, "the count is of the backward pass of the loss"
    simulated = simulate(model, precision, texts)
    row = {
        "model": model,
        "precision": precision,
        "batch x length": f"{texts.batch} x {texts.length}",
        "counted bytes": ledger.total,
        "simulated bytes": simulated,
        "simulated / counted": round(simulated / ledger.total, 4),
    }
    return row, ledger


def main() -> None:
    """Compare all trainings, print the table, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--terms", action="store_true", help="also print each count by its terms")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    table: list[dict[str, Any]] = []
    ledgers: list[Ledger] = []
    for model in MODELS:
        for precision in PRECISIONS:
            row, ledger = compare(model, precision)
            table.append(row)
            ledgers.append(ledger)
            print(*row.values(), file=sys.stderr, flush=True)
            if arguments.terms:
                print(tabulate(ledger.terms.items(), intfmt=","), file=sys.stderr)
    print(tabulate(table, headers="keys", intfmt=",", floatfmt=".4f"))
    worst = max(abs(row["simulated / counted"] - 1) for row in table)
    print(f"off by at most {worst:.2%}; the bar is {BAR:.0%}")
    if arguments.json:
        content = {
            "command": "python benchmarks/live_bytes.py",
            "gpu": f"simulated {GPU}",
            "torch": version("torch"),
            "transformers": version("transformers"),
            "bar": BAR,
            "off_by_at_most": round(worst, 4),
            "results": [
                row | {"terms": ledger.terms} for row, ledger in zip(table, ledgers, strict=True)
            ],
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(1 if worst > BAR else 0)


if __name__ == "__main__":
    main()
