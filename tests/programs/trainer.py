"""transformers' Trainer, which begins with a batch that does not fit and finds one that does."""

from __future__ import annotations

import argparse
import tempfile
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments


class Texts(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Texts of 512 tokens."""

    def __len__(self) -> int:
        """Return how many there are."""
        return 4096

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """Return one of them."""
        tokens = torch.full((512,), index, dtype=torch.long)
        return {"input_ids": tokens, "labels": tokens}


def main() -> None:
    """Train for some steps, at the batch size that the Trainer finds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--layers", type=int, default=12)
    options = parser.parse_args()
    settings: dict[str, Any] = {"report_to": [], "save_strategy": "no", "disable_tqdm": True}
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            GPT2LMHeadModel(GPT2Config(n_layer=options.layers)),
            TrainingArguments(
                folder,
                per_device_train_batch_size=options.batch_size,
                auto_find_batch_size=True,
                max_steps=3,
                bf16=True,
                **settings,
            ),
            train_dataset=Texts(),
        )
        trainer.train()
    print("batch", trainer._train_batch_size, flush=True)


if __name__ == "__main__":
    main()
