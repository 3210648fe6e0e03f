"""The workloads: eight for a budget of some GiB, and one that is small."""

from __future__ import annotations

from typing import Any

from harness.protocol.case import ObjectSpec, WorkloadSpec

Spec = ObjectSpec

_DATA = "cuda_experiments.data."
# Sizes that fit batches of tens to hundreds into 4 GiB. In much smaller batches one more sample is
# many percent; much larger ones meet the limits of loaders.
_GPT2 = {"vocab_size": 8192, "n_positions": 512, "n_embd": 512, "n_layer": 8, "n_head": 8}
_BERT = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
}
_T5 = {
    "vocab_size": 8192,
    "d_model": 512,
    "d_ff": 1024,
    "num_layers": 6,
    "decoder_start_token_id": 0,
}


def called(class_path: str, **init_args: Any) -> Spec:
    """Return a call in the form of the matrix."""
    return {"class_path": class_path, "init_args": init_args}


def workload(module: Spec, data: Spec, optimizer: Spec | None = None) -> WorkloadSpec:
    """Return the workload of a case with a plain module and a plain data set."""
    return {
        "module": module,
        "data": data,
        "loss": None,
        "optimizer": optimizer,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    }


def _images(module: Spec, resolution: int, **more: Any) -> WorkloadSpec:
    return workload(module, called(_DATA + "FixedImages", resolution=resolution, **more))


def _texts(model: str, settings: dict[str, Any], length: int) -> WorkloadSpec:
    config = called(f"transformers.{settings['kind']}", **settings["values"])
    tokens = called(
        _DATA + "FixedTokens", length=length, vocab_size=settings["values"]["vocab_size"]
    )
    return workload(called(f"transformers.{model}", config=config), tokens)


def _mlp(resolution: int, width: int) -> WorkloadSpec:
    return _images(called("workloads.Mlp", resolution=resolution, width=width), resolution)


def _lstm(side: int, width: int) -> WorkloadSpec:
    return _images(called("workloads.RowLstm", side=side, width=width), side, channels=1)


WORKLOADS: dict[str, WorkloadSpec] = {
    "resnet50": _images(called("torchvision.models.resnet50", num_classes=10), 128),
    "convnext": _images(
        called("timm.create_model", model_name="convnext_tiny", num_classes=10), 128
    ),
    "vit": _images(
        called("timm.create_model", model_name="vit_small_patch16_224", num_classes=10), 224
    ),
    "gpt2": _texts("GPT2LMHeadModel", {"kind": "GPT2Config", "values": _GPT2}, 512),
    "bert": _texts("BertForMaskedLM", {"kind": "BertConfig", "values": _BERT}, 512),
    "t5": _texts("T5ForConditionalGeneration", {"kind": "T5Config", "values": _T5}, 256),
    "mlp": _mlp(32, 4096),
    "lstm": _lstm(128, 512),
}
"""The eight workloads by name."""
SMALL = "small mlp"
LEAST: dict[str, WorkloadSpec] = {SMALL: _mlp(32, 512)}
"""In their place where experiments are cut down."""


def main_workload(*, cut_down: bool) -> WorkloadSpec:
    """Return the workload of experiments that need only one: ResNet-50."""
    return LEAST[SMALL] if cut_down else WORKLOADS["resnet50"]
