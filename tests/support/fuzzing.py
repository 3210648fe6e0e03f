"""Makes wrong texts for a matrix or a lockfile, and checks the reader's answers to them.

By default there are few examples, always the same. `HYPOTHESIS_PROFILE=long pytest
tests/matrix/test_matrix_fuzzed.py tests/lockfile/test_lock_fuzzed.py` tries thirty times that
number, new ones each time, and takes about ten minutes.
"""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Text = st.SearchStrategy[bytes]

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SECONDS = 30.0
"""The limit of processor time for reading one text, generous enough for a busy machine."""


def examples(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that sets the number of a property's examples."""
    return settings(
        max_examples=30 * number if LONG else number,
        derandomize=not LONG,
        deadline=None,  # `in_time` bounds the time, and also interrupts an endless loop
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


@contextmanager
def in_time(seconds: float = SECONDS) -> Iterator[None]:
    """Interrupt the block once it has used this much processor time; its traceback shows the place.

    Waiting does not count.
    """

    def interrupt(*_: object) -> None:
        raise AssertionError(f"this took more than {seconds} s")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def assert_places(message: str, file: str, data: bytes) -> None:
    """Check that every line of an error is printable and begins with FILE:LINE.

    The line must exist in `data`.
    """
    assert message
    last = len(data.splitlines()) + 1
    for line in message.split("\n"):
        found = re.match(rf"(?:not written.*: )?{re.escape(file)}:(\d+): .", line)
        assert found, line
        assert 1 <= int(found[1]) <= last, line
        assert line.isprintable(), line
        assert len(line) < MAX_LINE, line[:MAX_LINE]


MAX_LINE = 5_000
HUGE = "9" * 5_000
LARGE = "9" * 400
HEX = "0x" + "f" * 5_000

# Texts in place of a value, in YAML or TOML; many are no value in one of the two languages.
NASTY = [
    *("", "~", "null", "true", "false", "yes", "no", "0", "-1"),
    *("1", "1.0", "-0.0", "1e-6", "1e999999", "-1e999"),
    *(".inf", "-.inf", ".nan", "inf", "nan", "-nan", "+inf"),
    *("0o17", "0x1f", "0b1", "1_000", "12:30", "08", "1e5"),
    *(LARGE, "-" + LARGE, HUGE, "-" + HUGE, HEX, "0.1" + "0" * 5_000),
    *(str(2**63), str(2**64), str(-(2**63) - 1)),
    *("2024-01-01", "2024-13-45", "1979-05-27T07:32:00Z"),
    *("07:32:00", "0000-01-01", "1979-05-27 07:32:00.9999999999"),
    *('""', "''", '"a', "'a", '"""', "'''", '"\\ud800"'),
    *('"\\U00110000"', '"\\UFFFFFFFF"', '"\\x00"', '"\\u0000"'),
    *('"\\e[31m"', '"\\u001b[31m"', '"\\n\\r"', '"\\u2028"', '"\u00e9"'),
    *("\u00e9", "\u202e", "\ufeff", "\x85", "\u2028", "\U0001f600"),
    *("{}", "[]", "{a: 1}", "{a = 1}", "[1, [2, [3]]]", "[" * 60),
    *("[" * 3_000, "{a: " * 60, "]" * 3, "{a = " * 400, "}"),
    *("[" * 30 + "]" * 30, "[" * 400 + "]" * 400, "a." * 2_000 + "a = 1"),
    *("- " * 200 + "a", "? a", "? [a]", "[a]: 1"),
    *("!!python/object/apply:os.system ['true']", "!!python/name:os.system"),
    *("!!int '3'", "!!str 3", "!x 3", "!", "!<tag:x> a"),
    *("!!timestamp 2024-01-01", "!!binary aGVsbG8="),
    *("!!set {a}", "!%00 a", "!!float 3", "!!merge a"),
    *("&a [*a]", "*a", "&a", "&a a", "<<: *a", "<<: {a: 1}"),
    *("{<<: {a: 1}}", "&b {x: *b}", "*b", "&a [1]", "[*a, *a]"),
    *("---", "...", "--- a", "%YAML 1.1", "%YAML 9.9", "%YAML " + HUGE + ".2"),
    *("%TAG ! tag:x,2000:", "%FOO", "# c", "#", "|", ">", "|9", ">-"),
    *("\t", "\ta: 1", " ", "  a: 1", "\r", "\r\n", "\x00", "\x01", "\x1b[2J"),
    *("\x7f", "\x0b", "\x0c", "`", "@", "%", ",", ":", ": ", "-", "- a"),
    *("${resolution}", "${", "$${", "${}", "${model}${gpu}", "${${model}}"),
    *("${nowhere}", '"${resolution}"', '"${ model }"', '"${"', '"${precision}x"'),
    *("40GiB", "1e3GiB", "-1GiB", LARGE + "GiB", "2%", "-2%", "200%"),
    *(HUGE + "%", "999999999999999999TiB", "0.5B", "9999999999999999GB"),
    *("zoo.Net", "zoo", "os.system", "nowhere.Net", ".", "a.b", "zoo..Net"),
    *("zoo.Net.", "builtins.eval", "pathlib.Path", '"zoo.Net\\n"'),
    *("x" * 100_000, '"' + "y" * 100_000 + '"', "a-" * 500 + "a"),
    *("../../x", "a/b", "a b", "-a", "a-", "a--b", "con", ".", ".."),
    *("version = 1", "version: 1", "[profile]", "[[profile]]", "[profile.device]"),
    *("[[profile.device]]", "profile.x = 1", "[profile.axes]"),
    *("[version]", '[["profile"]]', "profile = 1", "profile = []", "profile = [{}]"),
    *("profile = [1]", "x = {a.b = 1, a.c = 2}", "'version' = 1"),
    *("<<<<<<< HEAD", "=======", ">>>>>>> x", "||||||| x", "=======x"),
    *("\x00\x00", "= 1", "a = ", "a = 1 b = 2", "a = 1\na = 2", "axes = {}"),
]  # fmt: skip
BYTES = [
    b"\xff",
    b"\xfe\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\x00",
    b"\x80",
    b"\xf5",
]
KEY = re.compile(rb"(?<![\w.])[\w.]++(?=\s*[:=] )")
VALUE = re.compile(rb"(?<=[:=,\[] )[^,\]}\n]+|(?<=\[)[^,\]}\n]+")
"""A key and a value of YAML or TOML, as far as mutations need to know."""


def nasty() -> Text:
    """Draw a text that may be wrong where a value is expected."""
    return st.sampled_from([text.encode() for text in NASTY] + BYTES) | st.binary(max_size=8)


def texts() -> Text:
    """Draw a text in quotes, valid in both languages."""
    anything = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=12
    )
    return anything.map(lambda text: json.dumps(text, ensure_ascii=False).encode())


def words() -> Text:
    """Draw a word without quotes: a label, true, false, or an axis in quotes."""
    return st.from_regex(rb"[a-z0-9._]+(-[a-z0-9._]+)?", fullmatch=True) | st.sampled_from(
        [
            b"true",
            b"false",
            b"zoo.Net",
            b'"${resolution}"',
            b'"${model}-${gpu}"',
            b'"$${"',
            b".inf",
            b".nan",
            b"~",
        ]
    )


def numbers() -> Text:
    """Draw a number that is a number in both languages."""
    whole = st.integers(0, 2**62) | st.integers(1, 4000)
    return (whole | st.floats(0, allow_nan=False, allow_infinity=False)).map(
        lambda number: str(number).encode()
    )


@st.composite
def mutated(draw: st.DrawFn, texts: Sequence[str]) -> bytes:
    """Draw one of the right texts, with a few wrong passages."""
    data = draw(st.sampled_from([text.encode() for text in texts]))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 4]))):
        data = draw(st.sampled_from(_MUTATIONS))(draw, data)
    return draw(st.sampled_from(_ENCODINGS))(data)


def raw() -> Text:
    """Draw bytes that need not be text."""
    noise = st.binary(max_size=200) | st.text(max_size=200).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    parts = st.lists(nasty() | noise, max_size=12)
    return st.builds(
        lambda parts, separator: separator.join(parts), parts, st.sampled_from([b"\n", b"", b" "])
    )


def _line(draw: st.DrawFn, lines: list[bytes]) -> int:
    return draw(st.integers(0, len(lines) - 1))


def _delete(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    start = _line(draw, lines)
    del lines[start : start + draw(st.integers(1, 3))]
    return b"\n".join(lines)


def _duplicate(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    start = _line(draw, lines)
    passage = lines[start : start + draw(st.sampled_from([1, 2, 5, 40]))]
    at = _line(draw, lines)
    return b"\n".join(lines[:at] + passage + lines[at:])


def _swap(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    one, other = _line(draw, lines), _line(draw, lines)
    lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def _replace_value(draw: st.DrawFn, data: bytes) -> bytes:
    found = list(VALUE.finditer(data))
    if not found:
        return data
    value = draw(st.sampled_from(found))
    return data[: value.start()] + draw(nasty()) + data[value.end() :]


def _replace_alike(draw: st.DrawFn, data: bytes) -> bytes:
    found = list(VALUE.finditer(data))
    if not found:
        return data
    value = draw(st.sampled_from(found))
    kind = words() if value[0][:1].isalpha() else numbers() if value[0][:1].isdigit() else texts()
    return data[: value.start()] + draw(kind) + data[value.end() :]


def _replace_key(draw: st.DrawFn, data: bytes) -> bytes:
    found = list(KEY.finditer(data))
    if not found:
        return data
    key, other = draw(st.sampled_from(found)), draw(st.sampled_from(found))
    return data[: key.start()] + draw(st.just(other[0]) | nasty()) + data[key.end() :]


def _insert_line(draw: st.DrawFn, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = _line(draw, lines)
    indent = b" " * draw(st.sampled_from([0, 2, 4, 6]))
    return b"\n".join([*lines[:at], indent + draw(nasty()), *lines[at:]])


def _splice(draw: st.DrawFn, data: bytes) -> bytes:
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 60)))
    return data[:start] + draw(nasty()) + data[stop:]


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


_MUTATIONS: list[Callable[[st.DrawFn, bytes], bytes]] = [
    *(_replace_alike,) * 8,
    *(_replace_value,) * 3,
    *(_replace_key, _insert_line) * 2,
    *(_delete, _duplicate, _swap, _splice, _cut),
]


def _same(data: bytes) -> bytes:
    return data


def _crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def _old_mac(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r")


def _marked(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def _utf_16(data: bytes) -> bytes:
    return data.decode("utf-8", "replace").encode("utf-16")


_ENCODINGS: list[Callable[[bytes], bytes]] = [*(_same,) * 12, _crlf, _old_mac, _marked, _utf_16]
