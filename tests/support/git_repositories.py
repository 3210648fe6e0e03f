"""Makes git repositories for tests: their commits have fixed dates and one author."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FIRST_SECOND = 1_700_000_000
_DAY = 86_400


class Repository:
    """A repository; skips the test where there is no git."""

    def __init__(self, path: Path) -> None:
        git = shutil.which("git")
        if git is None:
            pytest.skip("git is not installed")
        self.path = path
        self._git = git
        self._commits = 0
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("config", "user.name", "Ann")
        self.git("config", "user.email", "ann@example.org")

    def git(self, *arguments: str) -> str:
        """Run git in the repository; return what it prints."""
        date = f"{_FIRST_SECOND + self._commits * _DAY} +0000"
        done = subprocess.run(
            [self._git, *arguments],
            cwd=self.path,
            env=os.environ
            | {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
            | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, subject: str, files: Mapping[str, str | None] | None = None) -> str:
        """Write files, or remove those without a text, and commit all; return the hash.

        Each commit is a day later than the one before.
        """
        for name, text in (files or {}).items():
            path = self.path / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        self._commits += 1
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")
