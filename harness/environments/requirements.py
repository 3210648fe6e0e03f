"""Reads requirements as people type them, and tells whether the present environment meets them."""

from __future__ import annotations

import os
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from harness.errors import HarnessError


def words_of(text: str) -> list[str]:
    """Return the requirements of a text, which blanks part: `"transformers<5 peft"`.

    Each is a requirement as pip takes it, or the path of a wheel or of a project.

    Raises HarnessError for anything else, also for an option of pip.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise HarnessError(f"--compare {text!r}: {error}") from error
    if not words:
        raise HarnessError("--compare: a requirement is empty; give one, such as torch==2.12.1")
    for word in words:
        if word.startswith("-"):
            raise HarnessError(
                f"--compare {text!r}: {word} is an option, and requirements are needed; pip also "
                "reads its options from variables, such as PIP_FIND_LINKS"
            )
        if not is_path(word):
            _requirement(word)
    return words


def is_path(word: str) -> bool:
    """Return whether a word is a path: it has a slash, or ends as a wheel does."""
    return "@" not in word and (os.sep in word or word.endswith(".whl"))


def path_of(word: str) -> str:
    """Return a path as pip takes it from any folder. Raises HarnessError where nothing is there."""
    path = Path(word).expanduser().absolute()
    if not path.exists():
        raise HarnessError(f"--compare {word}: there is no {path}")
    return str(path)


def is_met(word: str) -> bool:
    """Return whether what is installed here meets a requirement; a path is installed anew."""
    if is_path(word):
        return False
    requirement = _requirement(word)
    if requirement.url is not None or requirement.extras:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


def _requirement(word: str) -> Requirement:
    try:
        return Requirement(word)
    except InvalidRequirement as error:
        raise HarnessError(
            f"--compare {word}: no requirement, which has no blanks inside: torch==2.12.1, "
            "transformers<5, ./dist/mine-1.0-py3-none-any.whl"
        ) from error
