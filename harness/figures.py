"""Pictures and other results on disk, each written in one piece."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOTS_PER_INCH = 150


def save(figure: Any, path: Path) -> None:
    """Write a matplotlib Figure as PNG, folders included."""
    with replacing(path) as temporary:
        # A Figure of its own and the backend by name: pyplot's state and the user's backend stay untouched.
        figure.savefig(temporary, format="png", backend="agg", dpi=_DOTS_PER_INCH)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file beside `path` that takes its place if the block succeeds, and vanishes if it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; results are for everyone the umask allows.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
