"""accelerate's loop, for `accelerate launch`: sharded or copied, as the launcher says."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn


def main() -> None:
    """Train for some steps, and gather objects of all ranks."""
    accelerator = Accelerator(mixed_precision="bf16")
    layers = [nn.TransformerEncoderLayer(1024, 16, 4096, batch_first=True) for _ in range(8)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters())
    data = torch.utils.data.DataLoader(torch.randn(64, 128, 1024), batch_size=8)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    for batch in data:
        accelerator.backward(model(batch).square().mean())
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    accelerator.wait_for_everyone()
    told = gather_object([f"rank {accelerator.process_index}"])
    accelerator.print("trained", *told, flush=True)
    accelerator.end_training()


if __name__ == "__main__":
    main()
