"""The cases of `exactness_cuda.py`: ten networks, three precisions, two emulated budgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cuda_experiments.models import called, workload

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec

GIB = 1 << 30
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
BUDGETS = (8 * GIB, 24 * GIB)
_DATA = "cuda_experiments.data."


def _vision(model: str, **more: Any) -> WorkloadSpec:
    module = called(f"torchvision.models.{model}", num_classes=1000, **more)
    data = called(_DATA + "FixedImages", resolution=224, num_classes=1000)
    return workload(module, data)


def _texts(model: str, config: str, length: int, vocab_size: int) -> WorkloadSpec:
    made = called(f"transformers.{config}", vocab_size=vocab_size)
    data = called(_DATA + "FixedTokens", length=length, vocab_size=vocab_size)
    return workload(called(f"transformers.{model}", config=made), data)


def _lstm(side: int, width: int) -> WorkloadSpec:
    data = called(_DATA + "FixedImages", resolution=side, channels=1)
    return workload(called("workloads.RowLstm", side=side, width=width), data)


NETWORKS: dict[str, WorkloadSpec] = {
    "resnet50": _vision("resnet50"),
    "mobilenet_v3": _vision("mobilenet_v3_large"),
    "efficientnet_b0": _vision("efficientnet_b0"),
    "vgg16": _vision("vgg16"),
    "convnext_tiny": _vision("convnext_tiny"),
    "vit_b_16": _vision("vit_b_16"),
    "swin_t": _vision("swin_t"),
    "gpt2": _texts("GPT2LMHeadModel", "GPT2Config", 1024, 50257),
    "bert": _texts("BertForMaskedLM", "BertConfig", 512, 30522),
    "lstm": _lstm(512, 1024),
}
"""Image sizes are 224 px; GPT-2 and BERT-base are as published, with texts of full length."""
