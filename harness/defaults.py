"""How a plain `nn.Module` is trained when the matrix does not say: written out, these leave a recipe as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LOSS: Mapping[str, Any] = {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}}
OPTIMIZER: Mapping[str, Any] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
