"""The workloads of `exactness.py`: three of ours, a recurrent one, an MLP, and a GPT-2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec


def spec(
    module: str, module_args: dict[str, Any], data: str, data_args: dict[str, Any]
) -> WorkloadSpec:
    """Return the workload mapping of two class paths."""
    return {
        "module": {"class_path": module, "init_args": module_args},
        "data": {"class_path": data, "init_args": data_args},
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    }


def digits(arch: str, resolution: int) -> WorkloadSpec:
    """Return one of the reference workloads."""
    return spec(
        "profiles.workloads.ImageClassifier",
        {"arch": arch, "resolution": resolution},
        "profiles.workloads.Digits",
        {"resolution": resolution},
    )


GPT2 = {"vocab_size": 128, "n_positions": 32, "n_embd": 64, "n_layer": 2, "n_head": 2}
CASES: dict[str, tuple[WorkloadSpec, tuple[int, int]]] = {
    "alexnet-32": (digits("alexnet", 32), (24, 48)),
    "resnet-16": (digits("resnet", 16), (32, 48)),
    "vit-16": (digits("vit", 16), (32, 64)),
    "lstm-32": (
        spec("workloads.RowLstm", {"side": 32}, "profiles.workloads.Digits", {"resolution": 32}),
        (32, 96),
    ),
    "mlp-16": (
        spec(
            "workloads.Mlp",
            {"resolution": 16},
            "harness.synthetic.SyntheticImages",
            {"resolution": 16, "num_classes": 10, "num_samples": 4096},
        ),
        (32, 40),
    ),
    "gpt2-32": (
        spec(
            "transformers.GPT2LMHeadModel",
            {"config": {"class_path": "transformers.GPT2Config", "init_args": GPT2}},
            "harness.synthetic.SyntheticTokens",
            {"length": 32, "vocab_size": GPT2["vocab_size"], "num_samples": 4096},
        ),
        (32, 128),
    ),
}
"""Name to workload and budgets in MiB."""
