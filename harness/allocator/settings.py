"""Reads the environment variables that configure torch's caching allocator. Pure: no torch.

They are PYTORCH_CUDA_ALLOC_CONF and its other names. Keys that decide when segments go back, or how
they are made, do not change which batch fits, and are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.devices.cuda_environment import VARIABLES
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20
# As many powers of two have divisions of their own, from 1 MiB on.
_INTERVALS = 16
# `key:value`, where a value may be a list in brackets.
_PAIR = re.compile(r"\s*([\w-]+)\s*:\s*(\[[^\]]*\]|[^,\[\]]+)\s*(?:,|$)")


@dataclass(frozen=True)
class AllocatorSettings:
    """The settings of one process; torch's defaults."""

    roundup_power2_divisions: tuple[int, ...] = (0,)
    """Sizes are rounded up to so many steps between two powers of two; 0 and 1: they are not.

    The first number is of sizes below 2 MiB, the next of those below 4 MiB, and so on; the last of
    all that are larger.
    """
    max_split_size: int | None = None
    """Bytes from which on a block is never split."""
    max_non_split_rounding: int = 20 * MIB
    """By how many bytes a block that is never split may be larger than requested."""
    expandable_segments: bool = False
    """Segments grow page by page in one range of addresses per pool."""

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> AllocatorSettings:
        """Read them from environment variables.

        Raises HarnessError for text that torch refuses, and for an allocator other than torch's
        own.
        """
        name = next((name for name in VARIABLES if environment.get(name)), None)
        if name is None:
            return cls()
        text = environment[name]
        pairs: dict[str, str] = {}
        end = 0
        for match in _PAIR.finditer(text):
            if match.start() != end:
                break
            pairs[match[1]] = match[2].strip()
            end = match.end()
        if end != len(text):
            raise HarnessError(
                f"{name}={text} is not of the form key:value,key:value from column {end + 1} on"
            )
        try:
            return cls(**_sizes(pairs))
        except ValueError as error:
            raise HarnessError(f"{name}={text}: {error}") from None

    def divisions_of(self, num_bytes: int) -> int:
        """Return between how many steps a size is rounded up."""
        last = len(self.roundup_power2_divisions) - 1
        return self.roundup_power2_divisions[
            min(max(num_bytes.bit_length() - MIB.bit_length(), 0), last)
        ]


def _sizes(pairs: Mapping[str, str]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if pairs.get("backend", "native") != "native":
        raise ValueError(
            f"backend {pairs['backend']}: only torch's native allocator can be simulated"
        )
    if (split := pairs.get("max_split_size_mb")) is not None:
        known["max_split_size"] = _whole("max_split_size_mb", split) * MIB
    if (rounding := pairs.get("max_non_split_rounding_mb")) is not None:
        known["max_non_split_rounding"] = _whole("max_non_split_rounding_mb", rounding) * MIB
    if (divisions := pairs.get("roundup_power2_divisions")) is not None:
        known["roundup_power2_divisions"] = _divisions(divisions)
    if (expandable := pairs.get("expandable_segments")) is not None:
        if expandable not in ("True", "False"):
            raise ValueError(f"expandable_segments has to be True or False, not {expandable}")
        known["expandable_segments"] = expandable == "True"
    return known


def _divisions(text: str) -> tuple[int, ...]:
    """Read `4`, or `[256:1,512:2,1024:4,>:8]` with sizes in MiB.

    Sizes between the named ones are not rounded.
    """
    if not text.startswith("["):
        return (_power_of_two(text),)
    steps = [0] * _INTERVALS
    last = -1
    for part in text[1:-1].split(","):
        size, _, number = (piece.strip() for piece in part.partition(":"))
        divisions = _power_of_two(number)
        index = (
            min(_power_of_two(size).bit_length() - 1, _INTERVALS - 1) if size != ">" else last + 1
        )
        if last < 0 or size == ">":
            first, end = (0, index) if last < 0 else (index, _INTERVALS)
            steps[first:end] = [divisions] * (end - first)
        if index < _INTERVALS:
            steps[index] = divisions
        last = index
    return tuple(steps)


def _power_of_two(text: str) -> int:
    number = _whole("roundup_power2_divisions", text.strip())
    if not number or number & (number - 1):
        raise ValueError(f"roundup_power2_divisions has to be a power of two, not {number}")
    return number


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} has to be a whole number, not {text or 'empty'}")
    return int(text)
