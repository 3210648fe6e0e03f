"""The connection to a Ray cluster, without Ray."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.fleet.ray_connection import connect

if TYPE_CHECKING:
    from pathlib import Path


class EndedWhileConnecting:
    """Has the handler of SIGTERM that Ray sets, and gets that signal while it connects."""

    def is_initialized(self) -> bool:
        """Return whether it is connected."""
        return False

    def init(self, **_: Any) -> None:
        """Connect."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_while_connecting_reaches_the_handler_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own handler would end pytest with an internal error."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def end_in_order(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end_in_order)
    try:
        with pytest.raises(KeyboardInterrupt):
            connect(EndedWhileConnecting(), tmp_path, ())
        assert end_in_order is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
