"""Measures the facts about CUDA's device 0 that predictions rely on, and prints them as JSON.

Run it as `python -m harness.predict.gpu_facts`.
"""

from __future__ import annotations

import json
import sys

import torch

# Large enough for a kernel that wants a workspace.
_SIZE = 512


def main() -> None:
    """Multiply on the main thread and in autograd's, and print what this shows of the GPU."""
    torch.cuda.init()  # type: ignore[no-untyped-call] # torch leaves it untyped
    matrix = torch.randn(_SIZE, _SIZE, device="cuda", requires_grad=True)
    before = torch.cuda.memory_allocated()
    product = matrix @ matrix
    # The result itself is no workspace.
    workspace = torch.cuda.memory_allocated() - before - product.untyped_storage().nbytes()
    product.sum().backward()  # type: ignore[no-untyped-call] # likewise
    torch.cuda.synchronize()
    free, total = torch.cuda.mem_get_info()
    facts = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "total_bytes": total,
        "capability": list(torch.cuda.get_device_capability()),
        "workspace_bytes": workspace,
        "context_bytes": total - free - torch.cuda.memory_reserved(),
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
