"""Walks along what an exception was raised from, and reads its message.

Both work whatever the user's code does in `__str__` and the like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A message is looked at up to this many characters from its beginning, and from its end.
_HALF = 16 << 10


def chain_of(
    error: BaseException, origin: Callable[[BaseException], BaseException | None]
) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from, the first in time last; each once.

    origin: returns what an exception was raised from, None at the end.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = origin(link)


def message_of(error: BaseException) -> str:
    """Return an exception's message; nothing where its own `__str__` raises.

    Of a very long one, only the beginning and the end: whole tensors may be in it.
    """
    try:
        text = str(error)
        return text if len(text) <= 2 * _HALF else f"{text[:_HALF]}\n{text[-_HALF:]}"
    except BaseException:  # noqa: BLE001 - an exception's own __str__ may raise anything
        return ""
