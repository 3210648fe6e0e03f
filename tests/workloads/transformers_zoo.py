"""transformers.Trainers, with one habit each."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


class Tokens(Dataset[Any]):
    """Sequences of random tokens, which are their own labels."""

    def __init__(self, length: int = 16, num_samples: int = 100) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(2, 64, (num_samples, length), generator=generator)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


def model() -> GPT2LMHeadModel:
    """Return a small network of random weights."""
    config = GPT2Config(vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=2)
    return GPT2LMHeadModel(config)


def plain(**arguments: Any) -> Trainer:
    """Return a Trainer with these TrainingArguments."""
    args = TrainingArguments(output_dir="written", **arguments)
    return Trainer(model(), args, train_dataset=Tokens(), eval_dataset=Tokens(num_samples=20))
