"""Sizes and percentages are read from texts, and bytes are formatted for people."""

from __future__ import annotations

import pytest

from harness.units import format_bytes, format_seconds, parse_percent, parse_size


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1B", 1),
        ("2kB", 2_000),
        ("512MiB", 536_870_912),
        ("512 MiB", 536_870_912),
        ("1.5GiB", 1_610_612_736),
        ("141GB", 141_000_000_000),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        (1, 1),
        (4096, 4096),
    ],
)
def test_a_size_is_its_number_times_its_unit(written: object, expected: int) -> None:
    """A size in binary or decimal units, or a whole number, is returned in whole bytes."""
    assert expected == parse_size(written)


@pytest.mark.parametrize(
    "written", ["", "GiB", "40", "40 G i B", "-1GiB", "1e3MiB", 0, -1, 1.5, True, None, [], "0B"]
)
def test_what_is_no_size_is_refused(written: object) -> None:
    """A missing number or unit, a size under one byte, and any other type are refused."""
    with pytest.raises(ValueError, match="is not allowed"):
        parse_size(written)


def test_a_unit_in_the_wrong_case_names_the_right_one() -> None:
    """`24gib` is answered with `24GiB`."""
    with pytest.raises(ValueError, match=r'"24gib" has no known unit; did you mean 24GiB\?'):
        parse_size("24gib")


def test_an_unknown_unit_names_all_units() -> None:
    """`3 elephants` is answered with the list of units."""
    with pytest.raises(ValueError, match="the units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"):
        parse_size("3 elephants")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2%", 0.02),
        ("2 %", 0.02),
        ("0%", 0.0),
        ("100%", 1.0),
        ("0.5%", 0.005),
        (0.02, 0.02),
        (0, 0.0),
        (1, 1.0),
    ],
)
def test_a_percentage_is_a_fraction(written: object, expected: float) -> None:
    """`2%` and 0.02 mean the same."""
    assert expected == parse_percent(written)


@pytest.mark.parametrize(
    "written", ["101%", 2, -0.01, float("nan"), float("inf"), "2", "%", "", None, True, []]
)
def test_what_is_no_percentage_is_refused(written: object) -> None:
    """A bare 2, anything outside of 0% to 100%, and any other type are refused."""
    with pytest.raises(ValueError, match="a percentage such as 2%"):
        parse_percent(written)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (493_355_008, "470.5 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (150_754_820_096, "140.4 GiB"),
        (2**50, "1024.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_keeps_them_short(num_bytes: int, expected: str) -> None:
    """Bytes are shown in the binary unit that makes the rounded number less than 1024."""
    assert expected == format_bytes(num_bytes)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (59.4, "59 seconds"),
        (60, "1 minute"),
        (200, "3 minutes"),
        (5400, "1.5 hours"),
    ],
)
def test_a_duration_is_shown_roughly(seconds: float, expected: str) -> None:
    """A duration is in seconds, minutes or hours."""
    assert expected == format_seconds(seconds)
