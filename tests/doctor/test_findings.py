"""No check can end the command: it raises nothing, and is given a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from doctor import findings

from harness.doctor.findings import Finding
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.doctor.findings import Project


def test_check_that_fails_keeps_what_it_has_found() -> None:
    """A bug in a check is a line, and what the check has told before stays."""

    def check(_project: Project) -> Iterator[Finding]:
        yield Finding("ok", "all is well")
        raise KeyError("a bug")

    first, second = findings(check)
    assert Finding("ok", "all is well") == first
    assert ("wrong", "this check itself failed: KeyError: 'a bug'") == (second.level, second.found)


def test_error_of_a_user_is_told_as_it_is() -> None:
    """The message of a HarnessError says what to do itself."""

    def check(_project: Project) -> Iterator[Finding]:
        raise HarnessError("the driver is old: update it")
        yield

    assert [Finding("wrong", "the driver is old: update it")] == findings(check)


def test_check_that_hangs_is_left_behind() -> None:
    """A driver that never answers keeps neither the other checks nor the command."""
    release = threading.Event()

    def check(_project: Project) -> Iterator[Finding]:
        release.wait()
        yield Finding("ok", "too late")

    try:
        found = findings(check, seconds=0.0)
    finally:
        release.set()
    assert ["this check has not ended after 0 s"] == [one.found for one in found]
