"""A workload whose worker processes, and a program that it runs, need more than its own budget."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from torch.utils.data import DataLoader, Dataset
from zoo import Batch, Net, Numbers

ALLOCATE = "bytearray(200 << 20)"


class Decodes(Dataset[Any]):
    """Takes 100 MiB for a moment to read a sample, as decoding a video does."""

    def __init__(self, samples: Dataset[Any]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Batch:
        bytearray(100 << 20)
        pair: Batch = self.samples[index]
        return pair


class DecodedNumbers(Numbers):
    """Reads its samples in two workers."""

    def train_dataloader(self) -> Any:
        """Decode in the workers."""
        return DataLoader(Decodes(self.train), batch_size=self.batch_size, num_workers=2)


class Compiles(Net):
    """Runs a program that needs 200 MiB, as a compiler does, and may then take as much itself."""

    def __init__(self, *, greedy: bool = False) -> None:
        super().__init__(width=64)
        self.greedy = greedy

    def on_train_start(self) -> None:
        """Compile."""
        subprocess.run([sys.executable, "-c", ALLOCATE], check=True)
        if self.greedy:
            bytearray(200 << 20)
