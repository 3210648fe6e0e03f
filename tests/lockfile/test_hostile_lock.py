"""A hostile lockfile costs no more than an honest one of its size: in time and in memory."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from lock_texts import EXAMPLE, refusal
from measurements import locked

from harness.lockfile.profiles import Lock, read_lock
from harness.lockfile.render import render
from harness.lockfile.toml_limits import MAX_BYTES, excess

# Reading an honest file of half a MB takes 0.2 s of a core. Whatever grows with the square of such
# a size takes minutes.
SIZE = 500_000
CPU_SECONDS = 20
MEMORY_BYTES = 1 << 30

BLOCK = EXAMPLE.removeprefix("version = 1\n")
BROKEN = "version = 1\n\n[[profile]]\nmodel = 'net'\n"


def blanks_in_a_header() -> str:
    """Make blanks where a table's name may stand, in a text that a damaged value makes reread."""
    return f'{BROKEN}x = """\n[profile.{" " * SIZE}\n"""\n'


def blanks_before_a_key() -> str:
    """Make the same, where the damaged key itself is blank."""
    return f'{BLOCK}[profile.axes]\n"{" " * 5_000}" = []\n' + (" " * 5_000 + "x = 1\n") * 100


def escaped_quotes_in_a_deep_key() -> str:
    """Make a dotted key whose parts hold quotes."""
    return "version = 1\n" + r'"\"".' * (SIZE // 5) + "a = 1\n"


def deep_key_behind_a_long_text() -> str:
    """Make a dotted key between the end of a long text and the quote of a comment."""
    return f'version = 1\nx = ["""\n""", {{{"a." * (SIZE // 2)}a = 1}}] # "\n'


def deep_header() -> str:
    """Make a dotted header, with blanks around its dots."""
    return "version = 1\n[" + "a . " * (SIZE // 4) + "a]\n"


def nested_lists() -> str:
    """Make lists in lists."""
    return "version = 1\nx = " + "[" * SIZE + "\n"


def nested_tables() -> str:
    """Make tables in tables."""
    return "version = 1\nx = " + "{a=" * (SIZE // 3) + "\n"


def many_digits() -> str:
    """Make a whole number on a line that is too long."""
    return "version = 1\nx = " + "9" * SIZE + "\n"


def runs_of_digits() -> str:
    """Make runs that are just too short for a search for too many digits, then one that is not."""
    return "version = 1\n" + f"x = '{'9' * 249} '\n" * (SIZE // 255) + f"y = {'9' * 5000}\n"


def one_case_on_many_devices() -> str:
    """Make profiles of one id: their further axes have the same value, and other names."""
    blocks = (
        BLOCK.replace("[profile.device]", f"[profile.axes]\nx{number} = 1\n[profile.device]")
        for number in range(SIZE // len(BLOCK))
    )
    return "version = 1\n" + "".join(blocks)


def many_values() -> str:
    """Make the smallest values that there are."""
    return "version = 1\nx = [" + "1,\n" * (SIZE // 3) + "]\n"


def many_headers() -> str:
    """Make the smallest profiles that there are."""
    return "version = 1\n" + "[[profile]]\n" * (SIZE // 12)


def deep_headers() -> str:
    """Make tables in tables, near the limit of them: each takes tomllib a thousand bytes."""
    return "version = 1\n" + "".join(f"[a{n}.{'a.' * 8}a]\n" for n in range(29_000))


def unclosed_texts() -> str:
    """Make quotes that open and close nothing."""
    return "version = 1\n" + "\"'" * (SIZE // 2) + "\n"


def conflicts() -> str:
    """Make a merge conflict on every line."""
    return "version = 1\n" + "<<<<<<< \n" * (SIZE // 9)


HOSTILE = [
    blanks_in_a_header,
    blanks_before_a_key,
    escaped_quotes_in_a_deep_key,
    deep_key_behind_a_long_text,
    deep_header,
    nested_lists,
    nested_tables,
    many_digits,
    runs_of_digits,
    one_case_on_many_devices,
    many_values,
    many_headers,
    unclosed_texts,
    conflicts,
]

# Reads as a run does and as training does, and writes what could be read.
READ = """
import sys
import harness
from harness.lockfile.diff import diff
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import update_lock
for name in sys.argv[1:]:
    try:
        lock = read_lock(name)
        assert diff(lock, lock) == []
        update_lock(name, lock)
    except harness.HarnessError as error:
        assert len(str(error)) < 1000, len(str(error))
    try:
        harness.load_profile("net", lock=name, gpu="h200")
    except harness.HarnessError as error:
        assert len(str(error)) < 2000, len(str(error))
print("read")
"""


def bound() -> None:
    """Limit the time and the memory of a process that reads."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS,) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES,) * 2)


def answer_of(code: str, *arguments: str) -> str:
    """Run code within the bounds; return what it prints to both streams."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=bound,
    )
    return done.stdout + done.stderr


def test_no_reading_is_more_than_linear(tmp_path: Path) -> None:
    """Every kind of hostile file is read or refused, in an honest file's time and memory."""
    names = []
    for make in HOSTILE:
        path = tmp_path / f"{make.__name__}.lock"
        path.write_text(make(), encoding="utf-8")
        names.append(str(path))
    assert "read\n" == answer_of(READ, *names)


def test_reading_takes_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    """The most tables that are allowed take less than a gigabyte, however short the file is."""
    path = tmp_path / "gpu-profile.lock"
    path.write_text(deep_headers(), encoding="utf-8")
    code = "import sys; from harness.lockfile.profiles import read_lock; read_lock(sys.argv[1])"
    assert "read\n" == answer_of(f"{code}; print('read')", str(path))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (escaped_quotes_in_a_deep_key(), 2, "a line of more than 256 KiB"),
        ("version = 1\n" + r'"\"".' * 40 + "a = 1\n", 2, "nests too deeply"),
        (
            'version = 1\nx = ["""\n""", {' + "a." * 40 + 'a = 1}] # "\n',
            3,
            "nests too deeply",
        ),
        ("version = 1\n" + "\n" * 2_600_000, 1, "more than 2,500,000 lines and values"),
        ("version = 1\nx = [\n" + "[],\n" * 300_000 + "]\n", 1, "more than 300,000 tables"),
        ("version = 1\n" + f"[{'a.' * 30}a]\n" * 10_000, 1, "more than 300,000 tables"),
    ],
)
def test_excess_names_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    """A file that no harness writes is refused at the line that shows it."""
    path = tmp_path / "gpu-profile.lock"
    assert f"{path}:{line}: " in (message := refusal(path, text))
    assert reason in message


@pytest.mark.parametrize(
    "text",
    [
        'x = "' + "a." * 40 + '"',
        "# " + "a." * 40,
        "x = ['" + "', '".join("a.b.c" for _ in range(40)) + "']",
        'x = """\n' + '"' + "a." * 40 + '"\n"""',
        "x = [" + ", ".join(f"{number}.5" for number in range(40)) + "]",
    ],
    ids=["text", "comment", "list of texts", "long text", "numbers"],
)
def test_dots_that_nest_nothing_are_no_excess(tmp_path: Path, text: str) -> None:
    """Only the parts of a key count."""
    path = tmp_path / "gpu-profile.lock"
    path.write_text(f"version = 1\n{text}\n", encoding="utf-8")
    assert read_lock(path).exists


def test_ten_thousand_profiles_are_within_the_limits() -> None:
    """A lock of thousands of cases, measured and predicted, is read."""
    most = locked(
        predicted_batch_size=3700,
        predicted_with={"torch": "2.11.0", "simulated": "7"},
        predicted_peak={f"activation of layers.{number}": 10**9 for number in range(16)},
    )
    text = render(Lock(Path("x"), (most,))).removeprefix("version = 1\n") * 10_000
    assert (None, True) == (excess(text), len(text) <= MAX_BYTES)
