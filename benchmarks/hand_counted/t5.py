"""The live bytes of T5 (small) in the backward pass of its loss; texts and labels are as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hand_counted.attention import add_attention
from hand_counted.ledger import BOOL, FLOAT32, INT64, Ledger
from hand_counted.shared_terms import add_cast_weights, add_loss, add_state, add_tokens

if TYPE_CHECKING:
    from hand_counted.ledger import Precision
    from hand_counted.shared_terms import Texts

VOCABULARY, WIDTH, INNER, LAYERS, HEADS, BUCKETS = 32128, 512, 2048, 6, 8, 32
_ATTENTION = 4 * WIDTH * WIDTH
_MLP = 2 * WIDTH * INNER
_LINEAR = LAYERS * (_ATTENTION + _MLP) + LAYERS * (2 * _ATTENTION + _MLP)
_NORMS = LAYERS * 2 + 1 + LAYERS * 3 + 1
PARAMETERS = (
    VOCABULARY * WIDTH  # of both stacks, and of the head
    + _LINEAR
    + _NORMS * WIDTH
    + 2 * BUCKETS * HEADS  # the position biases of the first layers
)


def live(texts: Texts, precision: Precision) -> Ledger:
    """Count what is live while the log-softmax's backward runs, at the second step."""
    ledger = Ledger()
    tokens = texts.tokens
    add_state(ledger, PARAMETERS, precision)
    add_cast_weights(ledger, _LINEAR + VOCABULARY * WIDTH, precision)
    # The batch is its own labels. Shifted, they are the decoder's input.
    add_tokens(ledger, texts, times=2)
    # Both stacks: dropout behind the embedding and behind the last normalization, and for each pair
    # of positions the number of its bias.
    ledger.add("dropout masks", tokens, WIDTH, element=BOOL, times=4)
    ledger.add("position buckets", texts.length, texts.length, element=INT64, times=2)
    for _ in range(LAYERS):
        _add_attention_layer(ledger, texts, precision, num_readers=3)
        _add_bias(ledger, texts, precision)
        _add_mlp(ledger, tokens, precision)
    _add_norm(ledger, tokens, 0, precision)
    for _ in range(LAYERS):
        _add_attention_layer(ledger, texts, precision, num_readers=3)
        _add_bias(ledger, texts, precision)
        # Where the decoder's bias is cut off at the future.
        ledger.add("causal masks", texts.length, texts.length, element=BOOL)
        _add_attention_layer(ledger, texts, precision, num_readers=1)
        _add_mlp(ledger, tokens, precision)
    # The decoder looks at the encoder without biases: one tensor of zeros for all layers.
    _add_bias(ledger, texts, precision)
    # The encoder's result, for keys and values of all layers of the decoder. Under autocast it is
    # float32, and each of the projections casts it for itself.
    times = 2 * LAYERS if precision.mixed else 1
    ledger.add("inputs of linear layers", tokens, WIDTH, element=precision.activations, times=times)
    # The decoder's result, scaled, as the head takes it.
    _add_norm(ledger, tokens, 0, precision)
    ledger.add("inputs of linear layers", tokens, WIDTH, element=precision.activations)
    add_loss(ledger, texts, VOCABULARY, precision, upcast=False)
    return ledger


def _add_attention_layer(
    ledger: Ledger, texts: Texts, precision: Precision, *, num_readers: int
) -> None:
    """Add a normalization, attention, and the dropout behind it."""
    _add_norm(ledger, texts.tokens, num_readers, precision)
    add_attention(ledger, texts, WIDTH, HEADS, precision)
    ledger.add("dropout masks", texts.tokens, WIDTH, element=BOOL)


def _add_bias(ledger: Ledger, texts: Texts, precision: Precision) -> None:
    """Add what is added to the scores of attention: a copy for each layer, for all texts."""
    ledger.add("position biases", HEADS, texts.length, texts.length, element=precision.activations)


def _add_mlp(ledger: Ledger, tokens: int, precision: Precision) -> None:
    """Add a normalization, the MLP with dropout behind its ReLU, and dropout behind itself."""
    _add_norm(ledger, tokens, 1, precision)
    # ReLU keeps its result; dropout's result is the input of the second layer.
    ledger.add(
        "MLP, behind ReLU and dropout", tokens, INNER, element=precision.activations, times=2
    )
    ledger.add("dropout masks", tokens, INNER, element=BOOL)
    ledger.add("dropout masks", tokens, WIDTH, element=BOOL)


def _add_norm(ledger: Ledger, tokens: int, num_readers: int, precision: Precision) -> None:
    """Add what T5's RMSNorm keeps, which is written out in the model.

    num_readers: the linear layers that take its result.
    """
    ledger.add("norms' statistics", tokens, element=FLOAT32)
    # Its input, for the product with the inverse deviation, and in float32 for the square. These
    # are one tensor, unless the residual stream is bfloat16.
    ledger.add("residual stream", tokens, WIDTH, element=precision.residual)
    if precision.residual != FLOAT32:
        ledger.add("norms' inputs in float32", tokens, WIDTH, element=FLOAT32)
    # The normalized input, as it is multiplied with the weight.
    ledger.add("normalized inputs", tokens, WIDTH, element=precision.residual)
    # The product. Under autocast it is float32, and each linear layer casts it for itself.
    times = num_readers if precision.mixed else min(num_readers, 1)
    ledger.add("inputs of linear layers", tokens, WIDTH, element=precision.activations, times=times)
