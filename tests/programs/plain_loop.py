"""A training as people write it: argparse, a data set in memory, a loop over a loader."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--max-steps", type=int, default=4)
    parser.add_argument("--samples", type=int, default=65536)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    inputs = torch.randn(options.samples, 16)
    data = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    model = nn.Sequential(nn.Linear(16, options.width), nn.GELU(), nn.Linear(options.width, 2))
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(data, options.batch_size, shuffle=True, num_workers=options.workers)
    for step, (batch, labels) in enumerate(loader, 1):
        loss = nn.functional.cross_entropy(model(batch.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss.item():.3f}", flush=True)
        if step == options.max_steps:
            break


if __name__ == "__main__":
    main()
