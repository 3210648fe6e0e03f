"""A list of live tensors, each with its shape and the bytes of an element, and their sum."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FLOAT32, BFLOAT16, INT64, BOOL = 4, 2, 8, 1


@dataclass(frozen=True)
class Precision:
    """The bytes of an element of the kinds of tensors that a training holds."""

    name: str
    weights: int
    """Parameters, their gradients and moments."""
    residual: int
    """The stream between blocks: its additions and normalizations."""
    activations: int
    """Inputs and outputs of linear layers and of attention."""

    @property
    def mixed(self) -> bool:
        """Whether autocast casts weights and inputs of linear layers."""
        return self.weights != self.activations


PRECISIONS = {
    one.name: one
    for one in (
        Precision("32-true", FLOAT32, FLOAT32, FLOAT32),
        Precision("bf16-true", BFLOAT16, BFLOAT16, BFLOAT16),
        Precision("bf16-mixed", FLOAT32, FLOAT32, BFLOAT16),
    )
}


@dataclass
class Ledger:
    """The tensors that are live at one moment."""

    terms: dict[str, int] = field(default_factory=dict)
    """Bytes by what they are for."""

    def add(self, what: str, *shape: int, element: int, times: int = 1) -> None:
        """Add tensors of one shape.

        element: bytes of an element. times: how many such tensors there are.
        """
        self.terms[what] = self.terms.get(what, 0) + times * element * math.prod(shape)

    @property
    def total(self) -> int:
        """The bytes of all tensors."""
        return sum(self.terms.values())
