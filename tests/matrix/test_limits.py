"""Matrices and numbers that are too large are refused quickly, with the limit that they exceed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fuzzing import LARGE, in_time
from matrix_texts import RIGHT

from harness.matrix.cases import load_matrix
from harness.matrix.mistakes import MatrixError

LIGHT = RIGHT.replace("torch.nn.Linear", "zoo.Net")
"""The right matrix with a class of a small module, whose source is read quickly."""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a matrix in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "matrix.yaml"


def answer(path: Path, text: str) -> str:
    """Return the error of a matrix that must be refused in time."""
    path.write_text(text, encoding="utf-8")
    with in_time(), pytest.raises(MatrixError) as caught:
        load_matrix(path)
    return str(caught.value)


def axes_of_two(number: int) -> str:
    """Return a matrix with this number of further axes, each of two values."""
    return LIGHT.replace(
        "models:", "".join(f"  a{n}: [0, 1]\n" for n in range(number)) + "models:", 1
    )


def entries(kind: str, number: int) -> str:
    """Return entries that each name another subset of 15 axes."""
    chosen = ([n for n in range(15) if entry >> n & 1] for entry in range(1, number + 1))
    lines = ("{" + ", ".join(f"a{n}: 0" for n in axes) + "}" for axes in chosen)
    return f"  {kind}: [{', '.join(lines)}]\n"


def labels(number: int) -> str:
    """Return labels that are not defined, separated by commas."""
    return ", ".join(f"net{n}" for n in range(number))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (axes_of_two(30), "the axes have more than 100,000 combinations"),
        (
            LIGHT.replace("32, 64", ", ".join(map(str, range(110_000)))),
            "the axes have more than 100,000",
        ),
        (
            axes_of_two(15).replace("models:", entries("exclude", 1_000) + "models:", 1),
            "exclude and include have too many entries for 65,536 combinations",
        ),
        (
            axes_of_two(15).replace("models:", entries("include", 1_000) + "models:", 1),
            "exclude and include have too many entries for 65,536 combinations",
        ),
        (LIGHT.replace("32, 64", "x" * 1_000_000), "is too long for an id; at most 200 characters"),
        (
            LIGHT.replace("model: [net]", f"model: [{labels(20_000)}]"),
            "there are more mistakes: correct these first",
        ),
        (
            LIGHT.replace("32, 64", ", ".join(map(str, range(1, 1_000)))).replace(
                "zoo.Net}", f'zoo.Net, init_args: {{text: "{"${resolution}" * 30_000}"}}}}'
            ),
            "the settings of its cases hold more than 10,000,000 values",
        ),
        ("a: [&a [" + "1, " * 1_000 + "], " + "*a, " * 500 + "]", "more than 500,000 values"),
        ("- " * 30_000 + "a", "nested more than 50 levels deep"),
    ],
    ids=[
        "axes",
        "long axis",
        "exclude",
        "include",
        "long label",
        "undefined",
        "substitution",
        "aliases",
        "deep",
    ],
)
def test_a_matrix_that_is_too_large_is_refused_in_time(path: Path, text: str, reason: str) -> None:
    """A matrix that would take hours or all memory is refused, and the error gives the limit."""
    assert reason in answer(path, text)


def test_a_large_matrix_is_read_in_time(path: Path) -> None:
    """A matrix of 20,000 cases loads in time."""
    path.write_text(LIGHT.replace("32, 64", ", ".join(map(str, range(20_000)))), encoding="utf-8")
    with in_time():
        assert 20_000 == len(load_matrix(path))


def test_billion_laughs(path: Path) -> None:
    """Aliases of aliases are refused: the values behind them count at every use."""
    lines = ["a0: &a0 [ha, ha]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    assert "more than 500,000 values, aliases counted" in answer(path, "\n".join(lines))


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (
            f"search: {{max_batch_size: {2**63}}}",
            "search.max_batch_size: 9223372036854775808 is not allowed; at most",
        ),
        (
            "search: {probe_timeout: 1.0e+300}",
            "search.probe_timeout: 1e+300 is not allowed; at most 1,000,000",
        ),
        (
            "lr_range: {num_training: 1000000000}",
            "lr_range.num_training: 1000000000 is not allowed; at most 100,000",
        ),
        (
            "lr_range: {horizon: 100001}",
            "lr_range.horizon: 100001 is not allowed; at most 100,000",
        ),
        (
            "search: {steps_per_trial: 10001}",
            "search.steps_per_trial: 10001 is not allowed; at most 10,000",
        ),
        (
            "search: {validation_steps_per_trial: 1000000000}",
            "search.validation_steps_per_trial: 1000000000 is not allowed; at most 10,000",
        ),
        (
            "search: {max_trials: 1000000000}",
            "search.max_trials: 1000000000 is not allowed; at most 10,000",
        ),
        (
            f"lr_range: {{seeds: [{', '.join(map(str, range(101)))}]}}",
            "lr_range.seeds: a list is not allowed; a list of different whole numbers from 0, at most 100",
        ),
    ],
)
def test_numbers_that_nothing_can_hold_are_refused(path: Path, setting: str, reason: str) -> None:
    """A number that would overflow later is refused, with its line and its limit."""
    assert f"matrix.yaml:12: {reason}" in answer(path, f"{LIGHT}{setting}\n")


@pytest.mark.parametrize("size", [str(2**63), "999999999999999999TiB", LARGE])
def test_memory_that_no_machine_has_is_refused(path: Path, size: str) -> None:
    """A size that does not fit into 63 bits is refused, with its line."""
    assert "matrix.yaml:10: " in answer(path, LIGHT.replace("512MiB", size))


def test_what_never_ends_is_no_matrix(path: Path) -> None:
    """A device that never ends is not read, and a pipe that nobody writes to is not waited for."""
    os.mkfifo(path)
    for never in (Path("/dev/zero"), path):
        with in_time(), pytest.raises(MatrixError, match=":1: not a regular file"):
            load_matrix(never)


def test_matrix_of_an_enormous_size_is_refused(path: Path) -> None:
    """It is not read to its end."""
    path.touch()
    os.truncate(path, 9 * 1024**2)
    with in_time(), pytest.raises(MatrixError, match=":1: larger than 8 MiB"):
        load_matrix(path)
