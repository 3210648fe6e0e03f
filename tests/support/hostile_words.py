"""Text that steers terminals and CI systems, and a check that printed text does neither."""

from __future__ import annotations

import re

HOSTILE = (
    "a\n::error file=x::owned\n  ::add-mask::128\r::stop-commands::x\n##[error]x ##vso[task.x]y"
    "\x1b[9A\x1b[J\x9b2J\x07\x00\x7f\x85b\u2028c\u2029d\u202ee\u2066f\u200fg\u061ch\u200bi\ufeffj"
    "\U000e0041k"
)
"""Line breaks, commands of CI systems, escape sequences, and what turns the reading direction."""

_OWN_COLOURS = re.compile(r"\x1b\[\d*(;\d+)*m")


def assert_harmless(printed: str) -> None:
    """Check that nothing in a printed text is obeyed: pytest's own colours are."""
    text = _OWN_COLOURS.sub("", printed)
    lines = text.split("\n")
    assert [] == [line for line in lines if not line.isprintable()]
    assert [] == [line for line in lines if line.lstrip().startswith("::")]
    assert [] == [line for line in lines if re.search(r"##\w*\[", line)]
