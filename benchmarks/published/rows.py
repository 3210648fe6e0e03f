"""Peaks that others have measured on real GPUs, as published.

They are of foundation-model-stack/fms-acceleration, `scripts/benchmarks/refs/a100_80gb.csv` at
24bdadb (February 2025, Apache-2.0), column `mem_peak_torch_mem_alloc_in_bytes`, the rows of
Mistral-7B without a framework of theirs. `requirements.txt` beside it has the versions.

Earlier versions of the table have other peaks for the same trainings, because transformers was
another one. Until June 2024 (00febdc) full fine-tuning took 536,886,784 bytes more: each of the 32
blocks then kept cosines and sines for 32768 positions, which are 32 x 2 x 32768 x 128 x 2 =
536,870,912 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "foundation-model-stack/fms-acceleration@24bdadb scripts/benchmarks/refs/a100_80gb.csv"
GPU = "A100-80GB"
VERSIONS = {"transformers": "4.48.1", "peft": "0.13.2", "accelerate": "1.0.1"}
"""What decides about memory in the published runs, beside torch 2.4.1 and flash-attn 2.7.3."""


@dataclass(frozen=True)
class Row:
    """One published run."""

    lora: bool
    num_gpus: int
    batch_size: int
    """Of each GPU."""
    peak_bytes: int
    """The most that torch's tensors had on the first GPU."""

    @property
    def name(self) -> str:
        """The run in words."""
        gpus = "two GPUs, FSDP" if self.num_gpus > 1 else "one GPU"
        return f"{'LoRA' if self.lora else 'full'}, {gpus}, batch {self.batch_size}"


ROWS = (
    Row(lora=False, num_gpus=1, batch_size=4, peak_bytes=72_434_837_504),
    Row(lora=False, num_gpus=1, batch_size=8, peak_bytes=72_435_230_720),
    Row(lora=False, num_gpus=2, batch_size=2, peak_bytes=36_225_939_968),
    Row(lora=False, num_gpus=2, batch_size=4, peak_bytes=36_226_136_576),
    Row(lora=True, num_gpus=1, batch_size=4, peak_bytes=26_704_571_904),
    Row(lora=True, num_gpus=1, batch_size=8, peak_bytes=38_742_912_512),
    Row(lora=True, num_gpus=2, batch_size=2, peak_bytes=15_144_870_400),
    Row(lora=True, num_gpus=2, batch_size=4, peak_bytes=21_959_827_968),
)
