"""Finds the functions of NVIDIA's libraries that torch's libraries need, in their symbol tables.

A shared object's dynamic symbols stand in its section `.dynsym`, and their names in the section
that it links to (ELF-64, little-endian). Whole libraries are mapped and not read: torch's have
half a gigabyte, and these sections some megabytes.
"""

from __future__ import annotations

import mmap
import re
import struct
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_MAGIC = b"\x7fELF\x02\x01"
_DYNSYM = 11
# Section header: type at 4, offset at 24, size at 32, link at 40.
_SECTION = struct.Struct("<IIQQQQIIQQ")
# Symbol: name, info, other, section, value, size.
_SYMBOL = struct.Struct("<IBBHQQ")
_UNDEFINED = 0

# Runtime, driver and what runs on a GPU. nvrtc and nvJitLink are not among them: they compile for a
# GPU without having one. LAPACK's `cungqr_` begins with cu as well, but the driver's names go on
# with a capital letter.
_OF_CUDA = re.compile(
    r"cu(?:[A-Z]|da|blas|dnn|fft|rand|solver|sparse|pti)\w*|__cuda\w+|nccl\w+|nvshmem\w*"
)
# The driver's functions that torch up to 2.6 looks up by name, all of them before it uses one.
_LOOKED_UP = re.compile(rb"(?<=\0)cu[A-Z][A-Za-z0-9_]{4,60}(?=\0)")
# These return a text and no code.
_TEXT = re.compile(r"\w+(?:Error|Result|Status)(?:String|Name)")


def needed(libraries: Iterable[Path]) -> list[str]:
    """Return the functions of CUDA that libraries need and do not have themselves, sorted.

    Raises HarnessError where a file is no library of this processor.
    """
    wanted: set[str] = set()
    defined: set[str] = set()
    for library in libraries:
        for name, is_defined in symbols(library):
            (defined if is_defined else wanted).add(name)
    return sorted(name for name in wanted - defined if _OF_CUDA.fullmatch(name))


def looked_up(library: Path) -> set[str]:
    """Return the functions of the driver whose names a library holds as texts."""
    return {name.decode() for name in _LOOKED_UP.findall(library.read_bytes())}


def symbols(library: Path) -> Iterator[tuple[str, bool]]:
    """Yield the dynamic symbols of a library, and whether it defines them.

    Raises HarnessError where the file is no library of this processor.
    """
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[: len(_MAGIC)] != _MAGIC:
            raise HarnessError(f"{library}: is no 64-bit shared library: install torch anew")
        sections = _sections(data)
        for _, kind, _, _, offset, size, link, *_ in sections:
            if kind != _DYNSYM:
                continue
            names = _bytes_of(data, sections[link])
            for name, _, _, section, _, _ in _SYMBOL.iter_unpack(data[offset : offset + size]):
                end = names.index(b"\0", name)
                yield names[name:end].decode(), section != _UNDEFINED


def _sections(data: mmap.mmap) -> list[tuple[int, ...]]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, number = struct.unpack_from("<HH", data, 58)
    return [_SECTION.unpack_from(data, start + place * size) for place in range(number)]


def _bytes_of(data: mmap.mmap, section: tuple[int, ...]) -> bytes:
    return data[section[4] : section[4] + section[5]]


def stubs(names: Iterable[str]) -> str:
    """Return C code in which each function returns success, or an empty text.

    They are weak: those that the library defines take their place.
    """
    lines = ['#define STUB __attribute__((visibility("default"), weak))']
    for name in names:
        if _TEXT.fullmatch(name):
            lines.append(f'STUB const char *{name}(void) {{ return ""; }}')
        else:
            lines.append(f"STUB long {name}(void) {{ return 0; }}")
    return "\n".join(lines) + "\n"
