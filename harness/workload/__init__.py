"""Builds a case's workload from class paths: a LightningModule, a data module and their loaders.

Runs in the zygote and its probes, where `build` imports torch and Lightning. `defaults` and
`attributes` import neither, because pytest's process and training scripts use them, too. May import
`harness.errors` and `harness.protocol`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness.synthetic import SyntheticImages as SyntheticImages
    from harness.synthetic import SyntheticTokens as SyntheticTokens
    from harness.workload.build import Workload as Workload

__all__ = ["SyntheticImages", "SyntheticTokens", "Workload"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "SyntheticImages": "harness.synthetic",
        "SyntheticTokens": "harness.synthetic",
        "Workload": "harness.workload.build",
    },
)
