"""transformers.Trainers, with one habit each."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import (
    DataCollatorForLanguageModeling,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
)

_VOCABULARY = 64


class Tokens(Dataset[Any]):
    """Sequences of random tokens, which are their own labels; of one length, or of many."""

    def __init__(self, length: int = 16, num_samples: int = 100, *, many: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        self.ids = torch.randint(4, _VOCABULARY, (num_samples, length), generator=generator)
        self.many = many

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.many:
            return {"input_ids": self.ids[index][: 4 + index % (self.ids.shape[1] - 3)]}
        return {"input_ids": self.ids[index], "labels": self.ids[index]}


class Stream(IterableDataset[Any]):
    """The same sequences, one after the other."""

    def __iter__(self) -> Any:
        return iter([dict(Tokens()[index]) for index in range(100)])


class Pictures(Dataset[Any]):
    """Random pictures of two kinds, one of which is brighter."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        picture = torch.rand(3, 16, 16, generator=generator) + index % 2
        return {"pixel_values": picture, "labels": index % 2}


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows some words, without a download."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{number}" for number in range(_VOCABULARY - 4))]
    made = Tokenizer(models.WordLevel(dict(zip(words, range(_VOCABULARY), strict=True)), "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # it is typed in part
        tokenizer_object=made,
        pad_token="<pad>",  # noqa: S106 - no password
        bos_token="<s>",  # noqa: S106 - likewise
        eos_token="</s>",  # noqa: S106 - likewise
        unk_token="<unk>",  # noqa: S106 - likewise
    )


def model(width: int = 32, layers: int = 2) -> GPT2LMHeadModel:
    """Return a small network of random weights."""
    config = GPT2Config(
        vocab_size=_VOCABULARY,
        n_positions=64,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return GPT2LMHeadModel(config)


def plain(*, width: int = 32, num_samples: int = 100, **arguments: Any) -> Trainer:
    """Return a Trainer with these TrainingArguments."""
    args = TrainingArguments(output_dir="written", **arguments)
    data = Tokens(num_samples=num_samples)
    return Trainer(model(width), args, train_dataset=data, eval_dataset=Tokens(num_samples=20))


def sized(batch_size: int, device: torch.device, **arguments: Any) -> Trainer:
    """Use what a step function gets, too."""
    args = TrainingArguments(
        output_dir="written",
        per_device_train_batch_size=batch_size,
        use_cpu=device.type == "cpu",
        **arguments,
    )
    return Trainer(model(), args, train_dataset=Tokens())


def collated(**arguments: Any) -> Trainer:
    """Return a causal language model whose collator pads and makes the labels."""
    return Trainer(
        model(),
        TrainingArguments(output_dir="written", **arguments),
        DataCollatorForLanguageModeling(tokenizer(), mlm=False),
        train_dataset=Tokens(many=True),
    )


def translator(**arguments: Any) -> Seq2SeqTrainer:
    """Return a Seq2SeqTrainer."""
    config = T5Config(  # type: ignore[call-arg]  # its base class takes the rest
        vocab_size=_VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return Seq2SeqTrainer(
        T5ForConditionalGeneration(config),
        Seq2SeqTrainingArguments(output_dir="written", **arguments),
        train_dataset=Tokens(),
        eval_dataset=Tokens(num_samples=20),
    )


def pictures(**arguments: Any) -> Trainer:
    """Return an image classifier."""
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=16, patch_size=4,
    )  # fmt: skip
    return Trainer(
        ViTForImageClassification(config),
        TrainingArguments(output_dir="written", **arguments),
        train_dataset=Pictures(),
        eval_dataset=Pictures(),
    )


def stream(max_steps: int = 50) -> Trainer:
    """Return a Trainer whose data have no length."""
    args = TrainingArguments(output_dir="written", max_steps=max_steps)
    return Trainer(model(), args, train_dataset=Stream())


class Disobedient(Trainer):
    """Its loader has a batch size of its own."""

    def get_train_dataloader(self) -> Any:
        """Return a loader of batches of 5."""
        return DataLoader(Tokens(), batch_size=5)


def disobedient() -> Trainer:
    """Return a Trainer whose batches ignore the batch size."""
    return Disobedient(model(), TrainingArguments(output_dir="written"), train_dataset=Tokens())


class Stops(TrainerCallback):
    """Ends the training after its first step, and asks for a checkpoint."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002 - the names are the callback's
        """Ask for both."""
        control.should_training_stop = control.should_save = True


class Breaks(TrainerCallback):
    """Raises an error of its own."""

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Raise."""
        raise ValueError("the callback is broken")


def with_callback(callback: str, **arguments: Any) -> Trainer:
    """Return a Trainer with one of the callbacks of this file."""
    args = TrainingArguments(output_dir="written", **arguments)
    return Trainer(model(), args, train_dataset=Tokens(), callbacks=[globals()[callback]()])


def from_init(**arguments: Any) -> Trainer:
    """Return a Trainer that makes its model when it trains."""

    def made() -> GPT2LMHeadModel:
        return model()

    args = TrainingArguments(output_dir="written", **arguments)
    return Trainer(model_init=made, args=args, train_dataset=Tokens())


def without_arguments() -> Trainer:
    """Return a Trainer that has no TrainingArguments."""
    return Trainer(model(), train_dataset=Tokens())
