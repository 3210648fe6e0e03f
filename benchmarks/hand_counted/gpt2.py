"""The live bytes of GPT-2 (small) in the backward pass of its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hand_counted.attention import add_attention
from hand_counted.ledger import BOOL, FLOAT32, Ledger
from hand_counted.shared_terms import add_cast_weights, add_loss, add_state, add_tokens

if TYPE_CHECKING:
    from hand_counted.ledger import Precision
    from hand_counted.shared_terms import Texts

VOCABULARY, POSITIONS, WIDTH, LAYERS, HEADS = 50257, 1024, 768, 12, 12
_INNER = 4 * WIDTH
# The projections of a block: to queries, keys and values, from attention, and the two of the MLP.
_BLOCK_WEIGHTS = WIDTH * 3 * WIDTH + WIDTH * WIDTH + 2 * WIDTH * _INNER
_BLOCK_BIASES = 3 * WIDTH + WIDTH + _INNER + WIDTH
_NORM = 2 * WIDTH
PARAMETERS = (
    VOCABULARY * WIDTH  # tied to the head
    + POSITIONS * WIDTH
    + LAYERS * (_BLOCK_WEIGHTS + _BLOCK_BIASES + 2 * _NORM)
    + _NORM
)


def live(texts: Texts, precision: Precision) -> Ledger:
    """Count what is live while the log-softmax's backward runs, at the second step."""
    ledger = Ledger()
    tokens, activations = texts.tokens, precision.activations
    add_state(ledger, PARAMETERS, precision)
    add_cast_weights(ledger, LAYERS * _BLOCK_WEIGHTS + VOCABULARY * WIDTH, precision)
    # The batch, which is its own labels, and the labels of the next token: padded, then shifted.
    add_tokens(ledger, texts, times=2)
    ledger.add("dropout masks", tokens, WIDTH, element=BOOL)
    for _ in range(LAYERS):
        # Two normalizations: each keeps its input, which is the residual stream, and per token the
        # mean and the inverse deviation. Their results are the inputs of linear layers.
        ledger.add("residual stream", tokens, WIDTH, element=precision.residual, times=2)
        ledger.add("norms' statistics", tokens, element=FLOAT32, times=4)
        ledger.add("inputs of linear layers", tokens, WIDTH, element=activations, times=2)
        add_attention(ledger, texts, WIDTH, HEADS, precision)
        _add_gelu(ledger, tokens, precision)
        # Behind attention and behind the MLP.
        ledger.add("dropout masks", tokens, WIDTH, element=BOOL, times=2)
    ledger.add("residual stream", tokens, WIDTH, element=precision.residual)
    ledger.add("norms' statistics", tokens, element=FLOAT32, times=2)
    ledger.add("inputs of linear layers", tokens, WIDTH, element=activations)
    add_loss(ledger, texts, VOCABULARY, precision, upcast=True)
    return ledger


def _add_gelu(ledger: Ledger, tokens: int, precision: Precision) -> None:
    """Add what `0.5 * x * (1 + tanh(c * (x + 0.044715 * x ** 3)))` keeps, step by step.

    Autocast lists pow among what runs in float32: its copy of x, and all that is computed from it,
    is in float32.
    """
    inner = FLOAT32 if precision.mixed else precision.activations
    # x, for the power; tanh's result; 1 + tanh.
    ledger.add("GELU, step by step", tokens, _INNER, element=inner, times=3)
    # 0.5 * x; and the result, as the next linear layer takes it.
    ledger.add("GELU, step by step", tokens, _INNER, element=precision.activations, times=2)
