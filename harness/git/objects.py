"""Reads many objects of a repository through one process of git."""

from __future__ import annotations

import subprocess
import tempfile
from typing import TYPE_CHECKING, Self

from harness.git.program import GitError, command, environment, refusal, run_git

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Of the header of an object: its name, its type and its size.
_MAX_HEADER = 200
_MAX_SAID = 4096
_FILTERED = (
    "old files are not in this clone, which was made with a filter (`git clone --filter`): "
    "`git fetch --refetch --no-filter` fetches them"
)


def sizes(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the size in bytes of each object.

    Raises GitError as `run_git` does, and where the repository lacks one, as a clone that was made
    with a filter does: nothing is fetched.
    """
    asked = "".join(f"{name}\n" for name in names).encode()
    form = "--batch-check=%(objectname) %(objectsize)"
    try:
        printed = run_git(folder, "cat-file", form, given=asked).decode("ascii", "replace")
    except GitError as error:
        # Git before 2.45 cannot be kept from asking for them.
        if "promisor remote" in str(error):
            raise GitError(_FILTERED) from error
        raise
    found = {}
    for line in printed.splitlines():
        name, size = line.split(" ")
        if not size.isdigit():
            raise GitError(_FILTERED)
        found[name] = int(size)
    return found


class Objects:
    """Reads objects by their full names, one after another. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        self._said = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command(self._folder, "cat-file", "--batch"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=environment(),
            )
        except BaseException:
            self._said.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        # Closes the pipes as well; what was not sent yet is of no use to a process that is gone.
        with self._said:
            self._process.communicate()

    def read(self, name: str) -> bytes:
        """Return the content of an object, whose size the caller has bounded before.

        Raises GitError where it is not there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{name}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        header = self._process.stdout.readline(_MAX_HEADER)
        if not header.endswith(b"\n"):
            self._fail()
        *_, size = header.split(b" ")
        if not size.strip().isdigit():
            raise GitError(f"git has no object {name} in {self._folder}")
        length = int(size)
        content = self._process.stdout.read(length + 1)  # and the line break behind it
        if len(content) <= length:
            self._fail()
        return content[:-1]

    def _fail(self) -> None:
        code = self._process.wait()
        self._said.seek(0)
        raise GitError(refusal("cat-file", code, self._said.read(_MAX_SAID)))
