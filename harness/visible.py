"""Makes text of others harmless: what a terminal or a CI system would obey is shown instead.

Everything that gpu-profile prints goes through here once more at the door: the printing of the
command, the text of every HarnessError, the terminal summary, the log, and the reports.
"""

from __future__ import annotations

import codecs
import re

# GitHub obeys `::error::` behind blanks at a line's start, and `##[error]` anywhere in a line, as
# Azure does `##vso[...]` and TeamCity `##teamcity[...]`.
_ANYWHERE = re.compile(r"(?<=#)#(?=\w*+\[)")
_AT_THE_START = re.compile(r"(\s*+):(?=:)")
_TAB = 4
_MAX_FOUR_DIGITS = 0xFFFF
ESCAPING = "gpu-profile.escaping"
"""The error handler of streams whose encoding does not have every character."""
_MAX_SHOWN = 400


def visible(text: str) -> str:
    """Return a text of several lines with every character that cannot be seen escaped.

    Line breaks stay, and a tab becomes blanks. So do the commands of CI systems, but disarmed.
    """
    if "\n" not in text:
        return one_line(text)
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join([one_line(line.expandtabs(_TAB)) for line in lines])


def one_line(text: str) -> str:
    """Return a text in one line: line breaks, too, are escaped.

    So are escape sequences, which steer a terminal, and characters that turn the reading direction,
    have no width or are half of a character.
    """
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
        )
    if "::" in text or "##" in text:
        text = _disarmed(text)
    return text


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    numbers = map(ord, error.object[error.start : error.end])
    # As TOML's strings escape a character: `gpu-profile show` prints TOML.
    digits = (f"\\u{n:04x}" if n <= _MAX_FOUR_DIGITS else f"\\U{n:08x}" for n in numbers)
    return "".join(digits), error.end


codecs.register_error(ESCAPING, _escape_unencodable)


def cut(text: str) -> str:
    """Return a text in one line, and of a very long one only its beginning."""
    if len(text) <= _MAX_SHOWN:
        return one_line(text)
    return f"{one_line(text[:_MAX_SHOWN])}… ({len(text) - _MAX_SHOWN} more characters)"


def _disarmed(text: str) -> str:
    # TOML, which `gpu-profile show` prints, has these escapes as well.
    if found := _AT_THE_START.match(text):
        text = f"{found[1]}\\u003a{text[found.end() :]}"
    return _ANYWHERE.sub(r"\\u0023", text)
