"""What a fused attention keeps for its backward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hand_counted.ledger import FLOAT32

if TYPE_CHECKING:
    from hand_counted.ledger import Ledger, Precision
    from hand_counted.shared_terms import Texts

# The memory-efficient kernel, which float32 and masks take, keeps whole blocks of queries.
_QUERY_BLOCK = 32


def add_attention(
    ledger: Ledger, texts: Texts, width: int, heads: int, precision: Precision
) -> None:
    """Add queries, keys, values, the result, and per query and head the log of a sum.

    On an A100 bfloat16 without a mask takes flash attention, everything else the memory-efficient
    kernel. Both keep the same, and no matrix of length x length. The result is the input of the
    projection behind it, and dropout inside the kernel keeps a seed alone.
    """
    ledger.add(
        "attention's queries, keys, values, result",
        texts.tokens,
        width,
        element=precision.activations,
        times=4,
    )
    length = -(-texts.length // _QUERY_BLOCK) * _QUERY_BLOCK
    ledger.add("attention's log-sums", texts.batch, heads, length, element=FLOAT32)
