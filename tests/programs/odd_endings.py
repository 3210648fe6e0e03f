"""Trainings that end in all the ways in which programs do; the first argument names one."""

import os
import signal
import subprocess
import sys

import torch
from torch import nn


def train(batch_size: int, steps: int) -> None:
    """Train a small network for some steps."""
    model = nn.Sequential(nn.Linear(64, 4096), nn.GELU(), nn.Linear(4096, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(steps):
        inputs = torch.randn(batch_size, 64)
        model(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def main(ending: str, batch_size: int) -> None:  # noqa: C901, PLR0912 - one for each ending
    """Train, and end."""
    if ending == "prints-oom":
        try:
            train(batch_size, 4)
        except RuntimeError as error:
            print("too large:", type(error).__name__)
    elif ending == "retries-silently":
        while True:
            try:
                train(batch_size, 4)
            except RuntimeError:
                batch_size //= 2
            else:
                break
    elif ending == "raises":
        train(batch_size, 1)
        raise ValueError("the labels are wrong")
    elif ending == "exits":
        print("no such data set", file=sys.stderr)
        sys.exit(3)
    elif ending == "early":
        train(batch_size, 1)
    elif ending == "nothing":
        print("nothing to do")
    elif ending == "endless":
        while True:
            train(batch_size, 10)
    elif ending == "killed":
        train(batch_size, 4)
        os.kill(os.getpid(), 9)
    elif ending == "noisy":
        train(batch_size, 4)
        print("x" * 5_000_000)
    elif ending == "leaves-a-child":
        train(batch_size, 4)
        # For longer than the test's Python lives.
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        print("left one")
    elif ending == "hangs":
        signal.pause()
    else:
        train(batch_size, 4)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
