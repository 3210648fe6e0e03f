"""Fine-tunings as people write them: adapters, quantized bases, checkpointing, 8-bit optimizers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

LENGTH, VOCABULARY = 16, 64
_HEADS: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 4}


def base_model(kind: str = "llama", width: int = 32) -> Any:
    """Make a small model of transformers, as if its weights were trained."""
    sizes: dict[str, Any] = {"hidden_size": width, "intermediate_size": 2 * width, **_HEADS}
    if kind == "llama":
        shared: dict[str, Any] = {"num_key_value_heads": 2, "use_cache": False}
        return LlamaForCausalLM(LlamaConfig(**sizes, **shared, vocab_size=VOCABULARY))
    if kind == "gpt2":
        gpt2: dict[str, Any] = {"n_embd": width, "n_layer": 2, "n_head": 4, "n_positions": LENGTH}
        return GPT2LMHeadModel(GPT2Config(**gpt2, vocab_size=VOCABULARY, use_cache=False))
    if kind == "bert":
        return BertForSequenceClassification(BertConfig(**sizes, vocab_size=VOCABULARY))
    return ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4))


def base_batches(kind: str) -> TensorDataset:
    """Return what such a model trains on: something that can be learned."""
    first = torch.randint(VOCABULARY, (2048, 1), generator=torch.Generator().manual_seed(0))
    tokens = (first + torch.arange(LENGTH)) % VOCABULARY
    labels = (first[:, 0] >= VOCABULARY // 2).long()
    if kind == "vit":
        return TensorDataset(labels[:, None, None, None] * torch.ones(3, 8, 8), labels)
    return TensorDataset(tokens, labels if kind == "bert" else tokens)


def quantized(model: nn.Module, how: str) -> nn.Module:
    """Quantize the linear layers of a base: nf4 of bitsandbytes, or 8 bits of torchao."""
    if how == "int8":
        from torchao.quantization import Int8WeightOnlyConfig, quantize_  # noqa: PLC0415

        quantize_(model, Int8WeightOnlyConfig())
        return model
    import bitsandbytes  # noqa: PLC0415 - the others do without it

    for parent in [*model.modules()]:
        for name, child in parent.named_children():
            if type(child) is nn.Linear and name not in {"lm_head", "score", "classifier"}:
                shape, bias = (child.in_features, child.out_features), child.bias is not None
                smaller = bitsandbytes.nn.Linear4bit(*shape, bias=bias, quant_type="nf4")
                smaller.load_state_dict(child.state_dict())
                setattr(parent, name, smaller)
    return model


def optimizer_of(parameters: Iterable[Any], name: str, lr: float) -> torch.optim.Optimizer:
    """Make an optimizer by name; those with 8 bits have them for small tensors too."""
    trained = [one for one in parameters if one.requires_grad]
    if name in {"AdamW8bit", "PagedAdamW8bit"}:
        import bitsandbytes  # noqa: PLC0415

        made: torch.optim.Optimizer = getattr(bitsandbytes.optim, name)(
            trained, lr=lr, min_8bit_size=1
        )
        return made
    plain: torch.optim.Optimizer = getattr(torch.optim, name)(trained, lr=lr)
    return plain


class Tuned(pl.LightningModule):
    """Adapters on a frozen base."""

    def __init__(
        self,
        kind: str = "llama",
        *,
        rank: int | None = 4,
        width: int = 32,
        quantize: str | None = None,
        checkpointing: str | None = None,
        optimizer: str = "AdamW",
        dtype: str = "float32",
        adapters: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.batch_size, self.lr, self.optimizer, self.kind = 1, 1e-2, optimizer, kind
        model = base_model(kind, width).to(getattr(torch, dtype))
        if quantize is not None:
            model = quantized(model, quantize)
        if checkpointing is not None:
            model.gradient_checkpointing_enable({"use_reentrant": checkpointing == "reentrant"})
            model.enable_input_require_grads()
        if rank is not None:
            model = get_peft_model(model, LoraConfig(r=rank, **(adapters or targets(kind))))
        self.model = model

    def training_step(self, batch: Any, _: int) -> Any:
        """Return the model's own loss."""
        inputs, labels = batch
        name = "pixel_values" if self.kind == "vit" else "input_ids"
        return self.model(**{name: inputs}, labels=labels).loss

    def configure_optimizers(self) -> Any:
        """Train the adapters alone."""
        return optimizer_of(self.parameters(), self.optimizer, self.lr)

    def train_dataloader(self) -> Any:
        """Return full batches."""
        return DataLoader(base_batches(self.kind), self.batch_size, shuffle=True)


def targets(kind: str) -> dict[str, Any]:
    """Return the layers that get adapters."""
    names = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"]}
    return {"target_modules": names.get(kind, "all-linear")}


class TunedLoop:
    """The same, with a loop of its own."""

    def __init__(self, batch_size: int, device: torch.device, **given: Any) -> None:
        made = Tuned(**given).to(device)
        self.model, self.optimizer = made.model, made.configure_optimizers()
        self.data, self.batch_size, self.device = base_batches("llama"), batch_size, device

    def step(self) -> Any:
        """Train on a batch that is drawn."""
        tokens = self.data[torch.randint(len(self.data), (self.batch_size,))][0].to(self.device)
        loss = self.model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss
