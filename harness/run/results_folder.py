"""Makes the folders of a run's results, and empties those of cases: only what runs have made.

No link is followed, and nothing is removed from a folder that no run has made: a checkout of a
stranger, or a user's own link, may lead anywhere.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from harness.errors import HarnessError, MachineError
from harness.file_locks import NoLocksError, locked
from harness.visible import one_line
from harness.wording import shown_path

if TYPE_CHECKING:
    import re
    from collections.abc import Collection, Iterator
    from pathlib import Path

MARKER = ".gpu-profile-results"
_MARKER_TEXT = (
    "pytest --gpu-profile keeps its results in this folder and replaces those of earlier runs.\n"
)
_IGNORE_ALL = "*\n"
# It also marks a case's folder: each run has made one.
_LOCK = ".lock"
_REMEDY = "name a folder of its own with --gpu-profile-dir"
_MAX_NAMES = 3


def refuse_project_folder(folder: Path, root: Path) -> None:
    """Raise HarnessError where the results would lie among the files of the project.

    Their `.gitignore` would hide the project from git.
    """
    results = os.path.realpath(folder)
    for inside in (os.path.realpath(root), os.path.expanduser("~")):  # noqa: PTH111 - as realpath
        if os.path.commonpath([inside, results]) == results:
            raise HarnessError(
                f"--gpu-profile-dir {shown_path(folder) or '.'} is the project's own folder, or "
                f"one that holds it: {_REMEDY}, such as .gpu-profile"
            )


def make_results_folder(folder: Path, written: Collection[str]) -> None:
    """Make the folder of a run's results and mark it; a new one ignores itself in git.

    A folder of the user's may hold other files, but none of the names in `written`, which a run
    replaces. Raises MachineError where it does, and where the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Asked for each case: the folder is not listed, which may hold those of thousands.
        if os.path.lexists(folder / MARKER):
            return
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
        is_own = not names or _is_of_an_older_run(folder)
        if not is_own and folder.is_symlink():
            raise MachineError(
                f"{shown_path(folder)} is a link to {one_line(os.path.realpath(folder))}, which "
                f"holds other files ({_listed(names)}): remove the link, or {_REMEDY}"
            )
        if not is_own and (clashing := sorted(set(names) & set(written))):
            raise MachineError(
                f"{shown_path(folder)} holds {_listed(clashing)}, which no run of pytest "
                f"--gpu-profile has written: move what is yours, or {_REMEDY}"
            )
        _write_new(folder / MARKER, _MARKER_TEXT)
        if not names:
            _write_new(folder / ".gitignore", _IGNORE_ALL)
    except OSError as error:
        raise MachineError(
            f"{shown_path(folder)}: results cannot be written there: {_reason(folder, error)}; "
            "name another folder with --gpu-profile-dir"
        ) from error


def make_plain_folder(folder: Path) -> None:
    """Make a folder for logs. Raises MachineError where a link or a file is in its place."""
    with suppress(FileExistsError):
        folder.mkdir()
    os.close(_open_own(folder))


@contextmanager
def case_folder(
    folder: Path, kept: str, logs: re.Pattern[str] | None, seconds: float
) -> Iterator[None]:
    """Make, lock and empty a case's folder: other workers and runs may measure the same case.

    kept: the name of the file that stays.
    logs: the names of files that stay with it. None: all files stay, and only links and folders go.
    seconds: how long to wait for another run that measures into the folder.

    Raises MachineError where the folder is a link, or holds files and was not made by a run, and
    where the wait takes too long.
    """
    make_plain_folder(folder)
    descriptor = _open_own(folder)
    try:
        _refuse_foreign(folder, descriptor)
        _remove_unless_file(_LOCK, descriptor)
        with _locked(folder, seconds):
            _refuse_swapped(folder, descriptor)
            _remove_unless_file(kept, descriptor)
            _empty(descriptor, (_LOCK, kept), logs)
            yield
    finally:
        os.close(descriptor)


def _open_own(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if folder.is_symlink():
            raise MachineError(
                f"{shown_path(folder)} is a link to {one_line(os.path.realpath(folder))}: a run "
                "empties such a folder, and follows no link there. Remove the link; to keep "
                "results elsewhere, name that folder with --gpu-profile-dir"
            ) from error
        raise MachineError(
            f"{shown_path(folder)} cannot hold the logs of a case: "
            f"{_reason(folder, error)}; remove it, or name another folder with --gpu-profile-dir"
        ) from error


def _refuse_foreign(folder: Path, descriptor: int) -> None:
    names = os.listdir(descriptor)
    if names and _LOCK not in names:
        raise MachineError(
            f"{shown_path(folder)} was made by no run of pytest --gpu-profile and holds "
            f"{_listed(names)}: a run would remove that. Move it away, or {_REMEDY}"
        )


def _refuse_swapped(folder: Path, descriptor: int) -> None:
    """Raise where another process has put something else in the folder's place meanwhile."""
    if not os.path.samestat(folder.stat(follow_symlinks=False), os.fstat(descriptor)):
        raise MachineError(f"{shown_path(folder)} was replaced while it was being opened")


@contextmanager
def _locked(folder: Path, seconds: float) -> Iterator[None]:
    try:
        with locked(folder / _LOCK, f"the folder {shown_path(folder)}", seconds=seconds):
            yield
    except NoLocksError as error:
        raise MachineError(
            f"{error}: two runs would mix their results there; {_REMEDY}, on a local disk"
        ) from error


def _empty(descriptor: int, kept: Collection[str], logs: re.Pattern[str] | None) -> None:
    """Remove what earlier runs left: their logs and plots would look like this run's.

    logs: names of files that stay where all of `kept` is there; None: those of all files.
    """
    with os.scandir(descriptor) as found:
        entries = list(found)
        whole = {*kept} <= {entry.name for entry in entries}
        for entry in entries:
            stays = logs is None or (whole and logs.fullmatch(entry.name))
            if entry.name in kept or (stays and entry.is_file(follow_symlinks=False)):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.name, dir_fd=descriptor)
            else:
                os.unlink(entry.name, dir_fd=descriptor)


def _remove_unless_file(name: str, descriptor: int) -> None:
    """Remove a link or a pipe in the place of a file; its target stays."""
    with suppress(FileNotFoundError):
        mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            os.unlink(name, dir_fd=descriptor)


def _is_of_an_older_run(folder: Path) -> bool:
    """Return whether a folder without a marker has the `.gitignore` that runs have always made."""
    ignore = folder / ".gitignore"
    return (
        folder.name == ".gpu-profile"
        and not ignore.is_symlink()
        and ignore.is_file()
        and ignore.stat().st_size == len(_IGNORE_ALL)
        and ignore.read_text(encoding="latin-1") == _IGNORE_ALL
    )


def _write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet; a link in its place stays as it is, also a broken one."""
    with suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
        file.write(text)


def _reason(folder: Path, error: OSError) -> str:
    if folder.is_symlink():
        return f"it is a link to {one_line(os.path.realpath(folder))}, which is no folder"
    if isinstance(error, FileExistsError | NotADirectoryError) and folder.exists():
        return "it is a file"
    return error.strerror or str(error)


def _listed(names: Collection[str]) -> str:
    shown = [one_line(name) for name in sorted(names)[:_MAX_NAMES]]
    return ", ".join(shown) + (", …" if len(names) > _MAX_NAMES else "")
