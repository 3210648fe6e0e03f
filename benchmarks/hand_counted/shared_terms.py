"""The terms that all four models share: their state, the loss, and what libraries take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hand_counted.ledger import FLOAT32, INT64

if TYPE_CHECKING:
    from hand_counted.ledger import Ledger, Precision

# aten/src/ATen/cuda/CUDABlas.cpp, getChosenWorkspaceSize, for GPUs before Hopper: one for the
# thread of the forward pass and one for that of the backward pass.
_CUBLAS_WORKSPACE = 8_519_680
_THREADS = 2


@dataclass(frozen=True)
class Texts:
    """The sizes of a batch."""

    batch: int
    length: int

    @property
    def tokens(self) -> int:
        """Tokens of all texts."""
        return self.batch * self.length


def add_state(ledger: Ledger, parameters: int, precision: Precision) -> None:
    """Add what lives from step to step: parameters, and AdamW's two moments of them."""
    ledger.add("parameters", parameters, element=precision.weights)
    ledger.add("AdamW's moments", parameters, element=precision.weights, times=2)
    ledger.add("cuBLAS's workspaces", _CUBLAS_WORKSPACE, element=1, times=_THREADS)


def add_cast_weights(ledger: Ledger, weights: int, precision: Precision) -> None:
    """Add autocast's copies of linear layers' weights: their backward needs them."""
    if precision.mixed:
        ledger.add("weights that autocast has cast", weights, element=precision.activations)


def add_loss(
    ledger: Ledger, texts: Texts, vocabulary: int, precision: Precision, *, upcast: bool
) -> None:
    """Add what is live while the backward pass is in the log-softmax of the logits.

    upcast: whether the model itself makes a float32 copy of its logits. Autocast makes none: the
    log-softmax then reads bfloat16 and writes float32. The logits are gone in any case: the
    log-softmax keeps its result, and nobody keeps its input.
    """
    result = FLOAT32 if upcast or precision.mixed else precision.activations
    logits = FLOAT32 if upcast else precision.activations
    ledger.add("log-softmax", texts.tokens, vocabulary, element=result)
    # nll_loss has made this one, and the log-softmax is about to make the other one of it.
    ledger.add("gradient of the log-softmax", texts.tokens, vocabulary, element=result)
    ledger.add("gradient of the logits", texts.tokens, vocabulary, element=logits)


def add_tokens(ledger: Ledger, texts: Texts, times: int) -> None:
    """Add token ids: the batch, and what the model has made of it."""
    ledger.add("token ids", texts.tokens, element=INT64, times=times)


def optimizer_step(parameters: int, precision: Precision) -> int:
    """Return the bytes that are live within AdamW's step: state, gradients, and one temporary.

    torch's implementation for many tensors at once takes the square roots of all second moments
    together.
    """
    return 5 * parameters * precision.weights + _THREADS * _CUBLAS_WORKSPACE
