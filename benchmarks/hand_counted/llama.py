"""The live bytes of a Llama of 12 blocks in the backward pass of its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hand_counted.attention import add_attention
from hand_counted.ledger import FLOAT32, Ledger
from hand_counted.shared_terms import add_cast_weights, add_loss, add_state, add_tokens

if TYPE_CHECKING:
    from hand_counted.ledger import Precision
    from hand_counted.shared_terms import Texts

VOCABULARY, WIDTH, INNER, LAYERS, HEADS = 32000, 1024, 2816, 12, 16
# Four projections of attention, as wide as the model, and the three of the gated MLP; no biases.
_BLOCK_WEIGHTS = 4 * WIDTH * WIDTH + 3 * WIDTH * INNER
# Embedding and head are two matrices.
PARAMETERS = 2 * VOCABULARY * WIDTH + LAYERS * (_BLOCK_WEIGHTS + 2 * WIDTH) + WIDTH
# The linear layers that take the result of a block's first and second normalization.
_AFTER_NORM = (3, 2)


def live(texts: Texts, precision: Precision) -> Ledger:
    """Count what is live while the log-softmax's backward runs, at the second step."""
    ledger = Ledger()
    tokens, activations = texts.tokens, precision.activations
    add_state(ledger, PARAMETERS, precision)
    add_cast_weights(ledger, LAYERS * _BLOCK_WEIGHTS + VOCABULARY * WIDTH, precision)
    # The batch, which is its own labels, and the labels of the next token: padded, then shifted.
    add_tokens(ledger, texts, times=2)
    for _ in range(LAYERS):
        for num_readers in _AFTER_NORM:
            _add_norm(ledger, tokens, num_readers, precision)
        # Queries and keys are kept as they are behind the rotation.
        add_attention(ledger, texts, WIDTH, HEADS, precision)
        # The gate, SiLU of it, what it multiplies, and the product.
        ledger.add("gated MLP", tokens, INNER, element=activations, times=4)
    _add_norm(ledger, tokens, 1, precision)
    add_loss(ledger, texts, VOCABULARY, precision, upcast=True)
    return ledger


def _add_norm(ledger: Ledger, tokens: int, num_readers: int, precision: Precision) -> None:
    """Add what an RMSNorm keeps: it is written out in the model, and computes in float32.

    num_readers: the linear layers that take its result.
    """
    ledger.add("norms' statistics", tokens, element=FLOAT32)
    # Its input in float32, for the square and for the product with the inverse deviation. In
    # bfloat16 that is a copy, and nobody keeps the residual stream itself.
    ledger.add("norms' inputs in float32", tokens, WIDTH, element=FLOAT32)
    # The normalized input, as it is multiplied with the weight.
    ledger.add("normalized inputs", tokens, WIDTH, element=precision.residual)
    # The product. Under autocast it is float32, and each linear layer casts it for itself.
    times = num_readers if precision.mixed else 1
    ledger.add("inputs of linear layers", tokens, WIDTH, element=precision.activations, times=times)
