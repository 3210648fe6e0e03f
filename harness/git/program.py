"""Runs git so that the repository decides nothing: neither which programs run nor what is shown."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAX_SECONDS = 120.0
_MAX_BYTES = 64 * 1024**2
_MAX_SAID = 4096
# These name files and exceptions of the user, as a CI system sets them. All others of git, such as
# those that a hook finds, would lead to another repository or index than that of the folder.
_KEPT = (
    "GIT_CEILING_DIRECTORIES",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_CONFIG",
    "GIT_EXEC_PATH",
)
_FIXED = {
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",  # from git 2.45 on; the protocols below stop earlier ones
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# Settings of a repository that would start a program of its choice.
_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "log.showSignature=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


class GitError(HarnessError):
    """Git is not installed, or refuses; the message holds its own."""


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command that runs git in a folder. Raises GitError where git is not installed."""
    program = shutil.which("git")
    if program is None:
        raise GitError("git is not on PATH: install it (`apt-get install git`)")
    settings = [part for setting in _SETTINGS for part in ("-c", setting)]
    return [program, "--no-pager", *settings, "-C", str(folder), *arguments]


def environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for git: those of the user that lead to no other repository."""
    kept = {
        name: value
        for name, value in base.items()
        if not name.startswith("GIT_") or name.startswith(_KEPT)
    }
    return kept | _FIXED


def run_git(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    max_bytes: int = _MAX_BYTES,
    seconds: float = _MAX_SECONDS,
) -> bytes:
    """Return what git prints.

    given: its standard input.

    Raises GitError where git is missing or refuses, with what it says, and where it prints more
    than `max_bytes` or takes longer than `seconds`.
    """
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as taken:
        taken.write(given)
        taken.seek(0)
        process = subprocess.Popen(
            command(folder, *arguments),
            stdin=taken,
            stdout=subprocess.PIPE,
            stderr=said,
            env=environment(),
        )
        assert process.stdout is not None
        late = threading.Timer(seconds, process.kill)
        late.daemon = True
        late.start()
        try:
            printed = process.stdout.read(max_bytes + 1)
            if len(printed) > max_bytes:
                raise GitError(
                    f"`git {arguments[0]}` prints more than {max_bytes // 2**20} MiB in {folder}"
                )
            code = process.wait()
        finally:
            is_late = not late.is_alive()
            late.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        if is_late:
            raise GitError(f"`git {arguments[0]}` took longer than {seconds:.0f} s in {folder}")
        if code:
            said.seek(0)
            raise GitError(refusal(arguments[0], code, said.read(_MAX_SAID)))
        return printed


def refusal(verb: str, code: int, said: bytes) -> str:
    """Return the message for a git that has refused: with its own words."""
    text = said.decode("utf-8", "replace").strip()
    return f"`git {verb}` refuses: {text}" if text else f"`git {verb}` ended with {code}"
