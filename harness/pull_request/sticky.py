"""Keeps one comment for each label: found again by a hidden marker, and replaced in place."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.pull_request.http_api import ApiError

if TYPE_CHECKING:
    from harness.pull_request.threads import Comment, Thread

_NOT_FOUND = 404


def marker(label: str) -> str:
    """Return the HTML comment at the beginning of a label's comment, which no reader sees."""
    return f"<!-- gpu-profile: {quote(label, safe=' ')} -->"


def put(thread: Thread, mark: str, body: str) -> tuple[Comment, bool]:
    """Write the comment whose text begins with a marker, or replace it.

    Returns the comment, and whether it is new.

    Two jobs at once may both find none and write one each. So whoever has written one looks again:
    the oldest stays and gets the text, and the others are removed.
    """

    def found() -> list[Comment]:
        own = [one for one in thread.own() if one.body.startswith(mark)]
        return sorted(own, key=lambda one: one.number)

    known = found()
    made = None
    if not known:
        made = thread.create(body)
        # The list may lag behind.
        known = sorted({one.number: one for one in (*found(), made)}.values(), key=_number)
    first, *others = known
    if made is None or first.number != made.number:
        first = thread.update(first, body)
    for one in others:
        try:
            thread.delete(one)
        except ApiError as error:
            if error.status != _NOT_FOUND:  # the other job has removed it already
                raise
    return first, made is not None and first.number == made.number


def _number(comment: Comment) -> int:
    return comment.number
