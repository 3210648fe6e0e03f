"""The default loss and optimizer of a plain `nn.Module`. A recipe leaves defaults out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.protocol.case import ObjectSpec

LOSS: ObjectSpec = {"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}}
OPTIMIZER: ObjectSpec = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}
