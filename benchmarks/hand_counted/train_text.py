"""Trains a language model for three AdamW steps. A script, started on a simulated GPU."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
import transformers

from harness.probe_tasks.zeros.table import consistent_zeros

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

# The second step is the first one with both moments; the third repeats it.
_STEPS = 3
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"use_cache": False}),
    "bert": ("BertConfig", "BertForMaskedLM", {}),
    "llama": (
        "LlamaConfig",
        "LlamaForCausalLM",
        {
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 12,
            "num_attention_heads": 16,
            "use_cache": False,
        },
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"decoder_start_token_id": 0, "use_cache": False},
    ),
}
"""The config, the model, and what is not the default of the config: no cache, as in training."""


def main() -> None:
    """Train as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("precision", choices=["32-true", "bf16-true", "bf16-mixed"])
    parser.add_argument("batch_size", type=int)
    parser.add_argument("length", type=int)
    arguments = parser.parse_args()
    # As in a probe: transformers reads whether position ids begin anew within a text. If it then
    # made a mask, attention would take another kernel than on a GPU.
    with consistent_zeros():
        train(arguments.model, arguments.precision, (arguments.batch_size, arguments.length))


def train(name: str, precision: str, shape: tuple[int, int]) -> None:
    """Train some steps on texts of this shape: batch size and length."""
    kind, model_class, settings = MODELS[name]
    config = getattr(transformers, kind)(**settings)
    if precision == "bf16-true":
        torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = getattr(transformers, model_class)(config)
        tokens = torch.randint(config.vocab_size, shape)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(_STEPS):
        with _precision(precision):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _precision(name: str) -> AbstractContextManager[Any]:
    mixed = name == "bf16-mixed"
    return torch.autocast("cuda", dtype=torch.bfloat16) if mixed else nullcontext()


if __name__ == "__main__":
    main()
