"""Trains a Mistral-7B as fms-hf-tuning does.

A script: `published_peaks.py` starts it on a simulated GPU, under torchrun for two of them. The
weights never lie in the host's memory: the module is built on the meta device.

What it follows is the published benchmark's own configuration: bf16 weights, sequences of 4096
tokens, gradient checkpointing, AdamW as transformers has it by default, LoRA on the four
projections of attention, FSDP as `accelerate launch` sets it up.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.utils.other import fsdp_auto_wrap_policy
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import Dataset
from transformers import MistralConfig, MistralForCausalLM, Trainer, TrainingArguments
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

LENGTH = 4096
# 32000 of the model, and the padding token that fms-hf-tuning adds to its tokenizer.
_VOCABULARY = 32001
# More steps have the peak of the second, the first with both moments and gradients.
_STEPS = 3
_FLASH = "flash_attention_2"


def _attend(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: Any,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend by torch's own copy of the kernel that the package flash-attn has.

    As there, heads share keys and values without copies of them, and no mask is needed.
    """
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        result = functional.scaled_dot_product_attention(
            query, key, value, None, dropout, is_causal=True, scale=scaling, enable_gqa=True
        )
    return result.transpose(1, 2).contiguous(), None


class Texts(Dataset[Any]):
    """Texts of full length, enough for all steps."""

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        tokens = torch.randint(_VOCABULARY, (LENGTH,))
        return {
            "input_ids": tokens,
            "labels": tokens,
            "attention_mask": torch.ones(LENGTH, dtype=torch.long),
        }


def build(*, lora: bool, fsdp: bool) -> Any:
    """Return the model: on the GPU, or for FSDP on the meta device."""
    config = MistralConfig(vocab_size=_VOCABULARY, use_cache=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model: Any = MistralForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    # Only now: the constructor would ask for the package flash-attn, which is compiled on a GPU.
    config._attn_implementation = _FLASH  # noqa: SLF001 - transformers has no other way
    ALL_ATTENTION_FUNCTIONS[_FLASH] = _attend
    if not fsdp:
        model = model.to_empty(device="cuda")
    if lora:
        model.enable_input_require_grads()
        model = get_peft_model(
            model,
            LoraConfig(
                r=16,
                lora_alpha=16,
                lora_dropout=0.1,
                target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                task_type="CAUSAL_LM",
            ),
        )
    return model


def train(batch_size: int, *, lora: bool) -> None:
    """Train some steps, by all ranks."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    fsdp = world > 1
    model = build(lora=lora, fsdp=fsdp)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            max_steps=_STEPS,
            gradient_checkpointing=True,
            learning_rate=2e-4 if lora else 2e-5,
            weight_decay=0.01,
            adam_epsilon=1e-4,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = Trainer(model, arguments, train_dataset=Texts(batch_size * _STEPS * world))
        if fsdp and lora:
            trainer.accelerator.state.fsdp_plugin.auto_wrap_policy = fsdp_auto_wrap_policy(model)
        trainer.train()


def main() -> None:
    """Train as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("batch_size", type=int)
    parser.add_argument("--lora", action="store_true")
    arguments = parser.parse_args()
    train(arguments.batch_size, lora=arguments.lora)


if __name__ == "__main__":
    main()
