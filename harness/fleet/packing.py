"""Packs the files that a node has left for a case, and unpacks them here: a node may send anything.

The format is zip. Logs and plots are small; what is larger than the bounds stays on the node, and a
note says so.
"""

from __future__ import annotations

import io
import os
import re
import stat
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

MAX_FILE_BYTES = 16 << 20
"""A larger file stays on the node: a history of torch's allocator may be one."""
MAX_BYTES = 64 << 20
"""Of all files of a case together, unpacked."""
_MAX_FILES = 2000
_MAX_DEPTH = 4
# No name begins with a dot: the lock of the folder is one.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
_MAX_SHOWN = 3


def pack(folder: Path, without: Collection[str] = ()) -> tuple[bytes, tuple[str, ...]]:
    """Return the files below a folder, and the names of those that are too large.

    Links are no files. `without` are the names of files that nobody needs.
    """
    stay: list[str] = []
    packed = io.BytesIO()
    left = MAX_BYTES
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in (one for one in paths if not one.is_symlink()):
            name = path.relative_to(folder).as_posix()
            size = path.stat().st_size
            if not _is_safe(name) or name in without:
                continue
            if size > min(MAX_FILE_BYTES, left) or len(archive.namelist()) >= _MAX_FILES:
                stay.append(name)
                continue
            left -= size
            # Times are not kept: zip has none before 1980.
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue(), tuple(stay)


def replace_files(folder: Path, data: bytes | None) -> str | None:
    """Put the packed files in place of those in a case's folder; data: None for no files.

    Returns a note on what was left out, or None. Nothing is written outside of the folder, and no
    more than the bounds. Raises OSError where the disk is full.
    """
    written: set[str] = set()
    note = None if data is None else _unpack(data, folder, written)
    with os.scandir(folder) as found:
        left = [entry for entry in found if entry.name not in written]
    for entry in left:
        # The lock of the folder begins with a dot.
        if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.path)  # noqa: PTH108 - as in _put
    return note


def _unpack(data: bytes, folder: Path, written: set[str]) -> str | None:
    """Write the files, and add their names; return a note on what was left out, or None."""
    refused: list[str] = []
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            for entry in entries[:_MAX_FILES]:
                content = _content(archive, entry, min(MAX_FILE_BYTES, left))
                if content is None or not _put(folder, entry.filename, content):
                    refused.append(entry.filename)
                else:
                    left -= len(content)
                    written.add(entry.filename.partition("/")[0])
            refused += [entry.filename for entry in entries[_MAX_FILES:]]
    # A hostile archive can make zipfile raise each of these.
    except (zipfile.BadZipFile, ValueError, EOFError, RuntimeError, NotImplementedError):
        return "its logs and plots cannot be unpacked: they were damaged on the way"
    if not refused:
        return None
    shown = ", ".join(map(cut, refused[:_MAX_SHOWN])) + (", …" if len(refused) > _MAX_SHOWN else "")
    return f"{len(refused)} of its files are left out, because of their names or sizes: {shown}"


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes | None:
    """Return the content of an entry; None where its name or its size is not allowed."""
    if entry.is_dir() or not _is_safe(entry.filename) or entry.file_size > most:
        return None
    try:
        # The size in the archive may be a lie.
        with archive.open(entry) as file:
            content = file.read(most + 1)
    except (zipfile.BadZipFile, zlib.error):
        return None
    return content if len(content) <= most else None


def _put(folder: Path, name: str, content: bytes) -> bool:
    # As text, and asked for nothing that need not be: a run may unpack a hundred thousand files.
    path = f"{folder}/{name}"
    try:
        if "/" in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError):
        return False
    return True


def _write(path: str, content: bytes) -> None:
    """Write a file over that of an earlier run.

    It is not removed and made again: on ext4 that took ten times as long where thousands of files
    were removed within the minutes before.
    """
    descriptor = _open(path)
    try:
        if os.fstat(descriptor).st_size > len(content):
            os.ftruncate(descriptor, len(content))
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    """Open a file of this path alone, or make it; a link in its place is replaced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(path, flags, 0o666)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            return descriptor
        os.close(descriptor)
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - as in _put
    return os.open(path, flags | os.O_EXCL, 0o666)


def _is_safe(name: str) -> bool:
    parts = name.split("/")
    return len(parts) <= _MAX_DEPTH and all(_PART.fullmatch(part) for part in parts)
