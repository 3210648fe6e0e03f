"""The live bytes of BERT (base) in the backward pass of its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hand_counted.attention import add_attention
from hand_counted.ledger import BOOL, FLOAT32, Ledger
from hand_counted.shared_terms import add_cast_weights, add_loss, add_state, add_tokens

if TYPE_CHECKING:
    from hand_counted.ledger import Precision
    from hand_counted.shared_terms import Texts

VOCABULARY, POSITIONS, KINDS, WIDTH, INNER, LAYERS, HEADS = 30522, 512, 2, 768, 3072, 12, 12
_BLOCK_WEIGHTS = 4 * WIDTH * WIDTH + 2 * WIDTH * INNER
_BLOCK_BIASES = 4 * WIDTH + INNER + WIDTH
_NORM = 2 * WIDTH
_HEAD_WEIGHTS = WIDTH * WIDTH
PARAMETERS = (
    (VOCABULARY + POSITIONS + KINDS) * WIDTH  # the first is tied to the head's last layer
    + _NORM
    + LAYERS * (_BLOCK_WEIGHTS + _BLOCK_BIASES + 2 * _NORM)
    + _HEAD_WEIGHTS
    + WIDTH
    + _NORM
    + VOCABULARY  # the bias of the head's last layer
)


def live(texts: Texts, precision: Precision) -> Ledger:
    """Count what is live while the log-softmax's backward runs, at the second step."""
    ledger = Ledger()
    tokens, activations = texts.tokens, precision.activations
    add_state(ledger, PARAMETERS, precision)
    weights = LAYERS * _BLOCK_WEIGHTS + _HEAD_WEIGHTS + VOCABULARY * WIDTH
    add_cast_weights(ledger, weights, precision)
    # The batch is its own labels.
    add_tokens(ledger, texts, times=1)
    _add_norm(ledger, tokens, precision)
    ledger.add("dropout masks", tokens, WIDTH, element=BOOL)
    for _ in range(LAYERS):
        # The block's input, for queries, keys and values. Under autocast it is float32, and each of
        # the three casts it for itself.
        times = 3 if precision.mixed else 1
        ledger.add("inputs of linear layers", tokens, WIDTH, element=activations, times=times)
        add_attention(ledger, texts, WIDTH, HEADS, precision)
        # Behind attention and behind the MLP: dropout, the residual addition, a normalization.
        ledger.add("dropout masks", tokens, WIDTH, element=BOOL, times=2)
        _add_norm(ledger, tokens, precision)
        _add_norm(ledger, tokens, precision)
        # The MLP's input; what GELU takes and what it gives.
        ledger.add("inputs of linear layers", tokens, WIDTH, element=activations)
        ledger.add("MLP, before and behind GELU", tokens, INNER, element=activations, times=2)
    # The head: its input, then before and behind GELU, and a normalization, which takes GELU's
    # result. Under autocast it keeps a copy of that in float32, and not the result itself.
    ledger.add("inputs of linear layers", tokens, WIDTH, element=activations)
    ledger.add("head", tokens, WIDTH, element=activations)
    _add_norm(ledger, tokens, precision)
    ledger.add("inputs of linear layers", tokens, WIDTH, element=activations)
    add_loss(ledger, texts, VOCABULARY, precision, upcast=False)
    return ledger


def _add_norm(ledger: Ledger, tokens: int, precision: Precision) -> None:
    """Add what a LayerNorm keeps: its input, and per token the mean and the inverse deviation."""
    ledger.add("norms' inputs", tokens, WIDTH, element=precision.residual)
    ledger.add("norms' statistics", tokens, element=FLOAT32, times=2)
