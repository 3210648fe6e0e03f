"""A small BERT that tells modules of Python's library apart, with transformers' Trainer."""

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

import harness

CLASSES = {"argparse": argparse.__file__, "ast": ast.__file__}
MAX_LENGTH = 32


@dataclass
class Settings:
    batch_size: int = 16
    learning_rate: float = 5e-5
    hidden_size: int = 64
    layers: int = 2
    max_steps: int = 500


def lines():
    """Return the lines of the modules, with the number of the module that each is from."""
    for label, path in enumerate(CLASSES.values()):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield line.strip(), label


def make_tokenizer(texts):
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=2000, special_tokens=special)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")


class Lines(torch.utils.data.Dataset):
    def __init__(self, tokenizer, pairs):
        self.encoded = [
            tokenizer(text, truncation=True, max_length=MAX_LENGTH) | {"labels": label}
            for text, label in pairs
        ]

    def __len__(self):
        return len(self.encoded)

    def __getitem__(self, index):
        return self.encoded[index]


def make_trainer(settings):
    pairs = list(lines())[::3]
    tokenizer = make_tokenizer(text for text, _ in pairs)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=2,
        intermediate_size=4 * settings.hidden_size,
        max_position_embeddings=MAX_LENGTH,
    )
    arguments = TrainingArguments(
        output_dir="out",
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        max_steps=settings.max_steps,
        report_to="none",
    )
    return Trainer(
        model=BertForSequenceClassification(config),
        args=arguments,
        train_dataset=Lines(tokenizer, pairs),
        data_collator=DataCollatorWithPadding(tokenizer),
    )


if __name__ == "__main__":
    tuned = harness.load_profile("bert", gpu="cpu-48MiB")
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-steps", type=int, default=500)
    settings = Settings(tuned.batch_size, tuned.learning_rate)
    settings.max_steps = parser.parse_args().max_steps
    print(f"batch size {settings.batch_size}, learning rate {settings.learning_rate}")
    make_trainer(settings).train()
