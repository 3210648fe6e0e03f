"""Trainers of TRL, on data in memory, with adapters of PEFT."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import GPT2Config, GPT2ForSequenceClassification
from transformers_zoo import model, tokenizer
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

_SAMPLES = 60


def _sentences(word: str) -> list[str]:
    return [
        " ".join([f"{word}{(number + k) % 50}" for k in range(8)]) for number in range(_SAMPLES)
    ]


def _adapter(task: str = "CAUSAL_LM") -> LoraConfig:
    return LoraConfig(r=4, target_modules=["c_attn"], task_type=task, fan_in_fan_out=True)


def tuned(*, lora: bool = True, **arguments: Any) -> SFTTrainer:
    """Return a supervised fine-tuning."""
    return SFTTrainer(
        model(),
        SFTConfig(output_dir="written", max_length=16, dataset_num_proc=None, **arguments),
        train_dataset=Dataset.from_dict({"text": _sentences("w")}),
        eval_dataset=Dataset.from_dict({"text": _sentences("w")[:20]}),
        processing_class=tokenizer(),
        peft_config=_adapter() if lora else None,
    )


def preferred(**arguments: Any) -> DPOTrainer:
    """Return a direct preference optimization."""
    pairs = {"prompt": _sentences("w"), "chosen": _sentences("w"), "rejected": _sentences("w")}
    return DPOTrainer(
        model(),
        args=DPOConfig(output_dir="written", max_length=32, **arguments),
        train_dataset=Dataset.from_dict(pairs),
        processing_class=tokenizer(),
        peft_config=_adapter(),
    )


def rewarded(**arguments: Any) -> RewardTrainer:
    """Return a reward model."""
    config = GPT2Config(  # type: ignore[call-arg]  # its base class takes the rest
        vocab_size=64, n_positions=64, n_embd=32, n_layer=2, n_head=2, num_labels=1, pad_token_id=0
    )
    pairs = {"chosen": _sentences("w"), "rejected": _sentences("w")}
    return RewardTrainer(
        GPT2ForSequenceClassification(config),
        RewardConfig(output_dir="written", max_length=32, **arguments),
        train_dataset=Dataset.from_dict(pairs),
        processing_class=tokenizer(),
    )


def _lengths(completions: list[str], **_: Any) -> list[float]:
    return [float(len(completion)) for completion in completions]


def generated(**arguments: Any) -> GRPOTrainer:
    """Return a training on texts that it generates, four for each prompt."""
    lengths = {"num_generations": 4, "max_completion_length": 8}
    return GRPOTrainer(
        model(),
        reward_funcs=_lengths,
        args=GRPOConfig(output_dir="written", **lengths, **arguments),
        train_dataset=Dataset.from_dict({"prompt": _sentences("w")}),
        processing_class=tokenizer(),
        peft_config=_adapter(),
    )
