"""Trains a Mistral-7B on simulated A100s, beside the peaks that others measured on real ones.

    python -m pip install --no-deps --target PACKAGES transformers==4.48.1 peft==0.13.2 \
        accelerate==1.0.1 tokenizers==0.21.4 huggingface_hub==0.27.1 \
        psutil requests urllib3 idna charset-normalizer certifi
    python benchmarks/published_peaks.py --packages PACKAGES [--json PATH]

The published runs are LoRA and full fine-tuning, at two batch sizes, on one GPU and with FSDP on
two (`published/rows.py` says where they are from). PACKAGES has the versions that they were made
with, since what a transformers of another year keeps is another amount of memory. torch is that of
this environment, a CUDA build; it needs no GPU. A machine of 24 GiB suffices: no weight lies in the
host's memory. The exit code is 1 where a simulated peak is off by more than 3%.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from cuda_experiments.simulation import simulated_gpu
from published.rows import GPU, ROWS, SOURCE, VERSIONS, Row
from tabulate import tabulate

from harness.simulated.environment import environment
from harness.simulated.world import World

BAR = 0.03
_SCRIPT = Path(__file__).resolve().parent / "published" / "train_mistral.py"
# As `accelerate launch` sets them for the published `accelerate.yaml`.
_FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_MIXED_PRECISION": "no",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_BACKWARD_PREFETCH": "BACKWARD_PRE",
    "FSDP_FORWARD_PREFETCH": "false",
    "FSDP_OFFLOAD_PARAMS": "false",
    "FSDP_SHARDING_STRATEGY": "1",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
    "FSDP_SYNC_MODULE_STATES": "true",
    "FSDP_USE_ORIG_PARAMS": "true",
}


def simulate(row: Row, packages: Path, folder: Path) -> int:
    """Train a published run; return the peak of allocated bytes of its first rank."""
    world = World.create(folder / "world", row.num_gpus * [simulated_gpu(GPU)])
    command = [sys.executable]
    inside = os.environ | environment(world)
    inside["PYTHONPATH"] = os.pathsep.join(
        [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    if row.num_gpus > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(row.num_gpus)]
        inside |= _FSDP
    command += [str(_SCRIPT), str(row.batch_size), *(["--lora"] if row.lora else [])]
    done = subprocess.run(command, env=inside, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{row.name}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    (peak,) = [one.allocated_bytes for one in world.peaks() if one.rank in (0, None)]
    assert peak is not None, "torch's own allocator tells its peak"
    return peak


def check_versions(packages: Path) -> None:
    """End with a message where the packages are not those of the published runs."""
    found = {one.name: one.version for one in distributions(path=[str(packages)])}
    wrong = {name for name, wanted in VERSIONS.items() if found.get(name) != wanted}
    if wrong:
        wanted = " ".join(f"{name}=={VERSIONS[name]}" for name in sorted(wrong))
        sys.exit(f"{packages}: needs {wanted}; `pip install --no-deps --target` puts them there")


def main() -> None:
    """Simulate all rows, print the table, and write JSON under `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--packages", type=Path, required=True, help="folder with the versions of the runs"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()
    packages = arguments.packages.resolve()
    check_versions(packages)
    table: list[dict[str, Any]] = []
    for row in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            simulated = simulate(row, packages, Path(folder))
        table.append(
            {
                "Mistral-7B": row.name,
                "measured bytes": row.peak_bytes,
                "simulated bytes": simulated,
                "simulated / measured": round(simulated / row.peak_bytes, 6),
            }
        )
        print(*table[-1].values(), file=sys.stderr, flush=True)
    print(tabulate(table, headers="keys", intfmt=",", floatfmt=".6f"))
    worst = max(abs(one["simulated / measured"] - 1) for one in table)
    most = max(abs(one["simulated bytes"] - one["measured bytes"]) for one in table)
    print(f"off by at most {most:,} bytes, and by {worst:.5%}; the bar is {BAR:.0%}")
    if arguments.json:
        content = {
            "command": "python benchmarks/published_peaks.py --packages PACKAGES",
            "source": SOURCE,
            "gpu": f"simulated {GPU}",
            "torch": version("torch"),
            **VERSIONS,
            "bar": BAR,
            "off_by_at_most": worst,
            "results": table,
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(1 if worst > BAR else 0)


if __name__ == "__main__":
    main()
