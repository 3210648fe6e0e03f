"""What a run measured, by its report: an honest one, a damaged one, and none that is a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from command_line import of_case
from lock_texts import run_of

from harness.cli.command_line import main
from harness.lockfile.measured import measured_beside
from harness.lockfile.toml_text import LockError
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = '{"name": "cpu", "memory_bytes": 50331648}'


def report(cases: str) -> str:
    """Return the text of a report with these cases."""
    return f'{{"version": 1, "cases": [{cases}]}}'


@pytest.fixture
def candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a candidate, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "candidate.lock"


def measured(candidate: Path, text: str) -> list[bool]:
    """Write a report; return for two sizes of memory whether the case was measured on it."""
    candidate.with_name("report.json").write_text(text, encoding="utf-8")
    found = measured_beside(candidate)
    assert found is not None
    return [
        found.holds(of_case(device=DeviceIdentity("cpu", mib << 20), resolution=1))
        for mib in (48, 64)
    ]


def test_case_was_measured_on_the_devices_of_the_report(candidate: Path) -> None:
    """The device is the same within 1% of its memory."""
    near = DEVICE.replace("50331648", "50400000")
    assert [True, False] == measured(
        candidate, report(f'{{"id": "net-cpu-48MiB-1", "device": {near}}}')
    )


def test_case_without_a_device_was_not_measured(candidate: Path) -> None:
    """A skipped case is in the report as well."""
    assert [False, False] == measured(
        candidate, report('{"id": "net-cpu-48MiB-1", "device": null}')
    )


def test_lockfile_of_another_name_has_no_report(candidate: Path) -> None:
    """Only a run's candidate belongs to the report beside it."""
    candidate.with_name("report.json").write_text("{", encoding="utf-8")
    assert measured_beside(candidate.with_name("other.lock")) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON: "),
        ("\x00", "not JSON: "),
        ("[]", "the whole of it is a list; an object is needed"),
        ("3", "the whole of it is 3"),
        ("{}", "`cases` is null; a list is needed"),
        ('{"version": null}', "version is null; 1 is read"),
        ('{"version": true}', "version is true; 1 is read"),
        ('{"version": 2, "cases": []}', "version is 2; 1 is read"),
        ('{"version": 1}', "`cases` is null; a list is needed"),
        ('{"version": 1, "cases": {"a": 1}}', "`cases` is an object; a list is needed"),
        (report("3"), "cases[0] is 3; an object is needed"),
        (report("{}"), "cases[0].id is null; the key is needed"),
        (report('{"id": "a"}'), "cases[0].device is null; the key is needed"),
        (report('{"id": 3, "device": null}'), "cases[0].id is 3; a text is needed"),
        (report('{"id": "a", "device": 3}'), "cases[0].device is 3; an object or null is needed"),
        (report('{"id": "a", "device": []}'), "cases[0].device is a list"),
        (report('{"id": "a", "device": ""}'), 'cases[0].device is ""'),
        (report('{"id": "a", "device": {}}'), "cases[0].device.name is null; a text is needed"),
        (
            report(f'{{"id": "a", "device": {DEVICE}}}, {{"id": "a", "device": {{"name": {{}}}}}}'),
            "cases[1].device.name is an object; a text is needed",
        ),
        *(
            (
                report(f'{{"id": "a", "device": {{"name": "cpu", "memory_bytes": {memory}}}}}'),
                f"cases[0].device.memory_bytes is {shown}; a whole number from 0 is needed",
            )
            for memory, shown in [
                ('"x"', '"x"'),
                ("[1]", "a list"),
                ("null", "null"),
                ("true", "true"),
                ("-1", "-1"),
                ("1e30", "1e+30"),
                (str(2**63), str(2**63)),
            ]
        ),
        (report('{"id": "a", "device": null, "x": NaN}'), "NaN is no number in JSON"),
        (report('{"id": "a", "device": null, "x": -Infinity}'), "-Infinity is no number in JSON"),
        (report(f'{{"id": "a", "x": {"9" * 5000}}}'), "not JSON: Exceeds the limit"),
        ("[" * 100_000 + "]" * 100_000, "nests too deeply"),
        (report(",".join(["1"] * 8_000_001)), "more than 8,000,000 values"),
        (report('"\x1b[2J\\u001b"'), r"not JSON: "),
    ],
)
def test_damaged_report_is_told_with_its_place(candidate: Path, text: str, reason: str) -> None:
    """Nothing is guessed: a case that was not understood would be lost in silence."""
    candidate.with_name("report.json").write_text(text, encoding="utf-8")
    with pytest.raises(LockError) as caught:
        measured_beside(candidate)
    message = str(caught.value)
    assert message.startswith("report.json: cannot be read as the report of a run: ")
    assert reason in message
    assert message.isprintable()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _enormous(path: Path) -> None:
    path.touch()
    os.truncate(path, 257 * 1024**2)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_fifo, "not a regular file"),
        (_device, "not a regular file"),
        (_folder, "a folder"),
        (_enormous, "larger than 256 MiB"),
    ],
)
def test_what_is_no_report_ends_the_merge_with_2(
    lock: Path, capsys: pytest.CaptureFixture[str], make: object, reason: str
) -> None:
    """A pipe is not waited for, a device not read; exit code 1 would mean a difference."""
    before = lock.read_bytes()
    candidate = run_of(lock, "one", of_case(batch_size=9), report=False)
    assert callable(make)
    make(candidate.with_name("report.json"))
    assert 2 == main(["merge", str(candidate)])
    assert f"cannot be read as the report of a run: {reason}" in capsys.readouterr().err
    assert before == lock.read_bytes()
