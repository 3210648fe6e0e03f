"""The files of a case on their way from a node: their names and sizes are bounded."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from harness.fleet import packing

if TYPE_CHECKING:
    from pathlib import Path


def archive(**contents: str) -> bytes:
    """Make a zip with these texts, by name."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, text in contents.items():
            file.writestr(name, text)
    return packed.getvalue()


def names(folder: Path) -> list[str]:
    """Return the files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_files_arrive(tmp_path: Path) -> None:
    """Logs come as they are, and those of folders below."""
    there, here = tmp_path / "there", tmp_path / "here"
    for folder in (there / "predicted", here):
        folder.mkdir(parents=True)
    (there / "zygote.log").write_text("built\n")
    (there / "predicted" / "001-probe.log").write_text("fits\n")
    data, stay = packing.pack(there)
    assert (None, ()) == (packing.replace_files(here, data), stay)
    assert ["predicted", "predicted/001-probe.log", "zygote.log"] == names(here)
    assert "built\n" == (here / "zygote.log").read_text()


def test_large_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file beyond the bound is named, and all others are packed; links are not followed."""
    monkeypatch.setattr(packing, "MAX_FILE_BYTES", 100)
    (tmp_path / "small.log").write_text("x" * 100)
    (tmp_path / "out-of-memory-b9.pickle").write_text("x" * 101)
    (tmp_path / "linked.log").symlink_to("/etc/hostname")
    data, stay = packing.pack(tmp_path)
    assert ("out-of-memory-b9.pickle",) == stay
    assert ["small.log"] == zipfile.ZipFile(io.BytesIO(data)).namelist()


@pytest.mark.parametrize(
    "name",
    [
        "../up.log",
        "/absolute.log",
        ".lock",
        "a/../../up.log",
        "a/.hidden",
        "a//b",
        "a\\b",
        "\n",
    ],
)
def test_names_that_lead_elsewhere_are_left_out(tmp_path: Path, name: str) -> None:
    """A file outside of the case's folder, or one that runs keep there, is never written."""
    folder = tmp_path / "case"
    folder.mkdir()
    note = packing.replace_files(folder, archive(**{name: "bad", "good.log": "good"}))
    assert note is not None
    assert note.startswith("1 of its files are left out")
    assert ["case", "case/good.log"] == names(tmp_path)


def test_archive_that_lies_about_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is larger than the bound when it is unpacked is left out."""
    monkeypatch.setattr(packing, "MAX_FILE_BYTES", 100)
    data = archive(**{"bomb.log": "x" * 101, "good.log": "good"})
    lying = data.replace((101).to_bytes(4, "little"), (50).to_bytes(4, "little"))
    assert packing.replace_files(tmp_path, lying) is not None
    assert ["good.log"] == names(tmp_path)


def test_damaged_archive_costs_no_result(tmp_path: Path) -> None:
    """What is no archive is a note."""
    note = "its logs and plots cannot be unpacked: they were damaged on the way"
    assert [note, note] == [
        packing.replace_files(tmp_path, b""),
        packing.replace_files(tmp_path, b"PK" * 99),
    ]


def test_files_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    """Longer ones are cut, the others go, and what else leads to one keeps it as it is."""
    folder, other, copy = tmp_path / "case", tmp_path / "other.log", tmp_path / "copy.log"
    folder.mkdir()
    other.write_text("mine")
    for name in (".lock", "001.log", "copied.log", "read-only.log", "002.log"):
        (folder / name).write_text("of an earlier run")
    copy.hardlink_to(folder / "copied.log")
    (folder / "read-only.log").chmod(0o400)
    (folder / "linked.log").symlink_to(other)
    data = archive(
        **{f"{name}.log": "new" for name in ("001", "copied", "linked", "read-only", "added")}
    )
    assert None is packing.replace_files(folder, data)
    assert {
        ".lock": "of an earlier run",
        **dict.fromkeys(zipfile.ZipFile(io.BytesIO(data)).namelist(), "new"),
    } == {path.name: path.read_text() for path in folder.iterdir()}
    assert ["mine", "of an earlier run"] == [other.read_text(), copy.read_text()]


@pytest.mark.parametrize("data", [None, b"", archive(**{"../up.log": "bad"})])
def test_case_without_files_keeps_none_of_an_earlier_run(
    tmp_path: Path, data: bytes | None
) -> None:
    """They would look like those of this run."""
    (tmp_path / "001.log").write_text("of an earlier run")
    packing.replace_files(tmp_path, data)
    assert [] == names(tmp_path)
