"""Reads the facts about CUDA's device 0 that predictions rely on, and prints them as JSON.

Run it as `python -m harness.predict.gpu_facts`.
"""

from __future__ import annotations

import json
import sys

import torch

# Large enough for a kernel that wants a workspace.
_SIZE = 512


def main() -> None:
    """Print what CUDA tells, and what a context takes once cuBLAS has begun in both threads."""
    torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it untyped
    matrix = torch.randn(_SIZE, _SIZE, device="cuda", requires_grad=True)
    (matrix @ matrix).sum().backward()  # type: ignore[no-untyped-call] # likewise
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    facts = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "total_bytes": total,
        "capability": list(torch.cuda.get_device_capability()),
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        "context_bytes": total - free - torch.cuda.memory_reserved(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
