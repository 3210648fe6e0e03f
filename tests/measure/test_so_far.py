"""What an interrupted run leaves for the next one."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from measurements import measurement

from harness.measure.so_far import read_found

if TYPE_CHECKING:
    from pathlib import Path


def kept(**changes: Any) -> dict[str, Any]:
    """Return the content of a file that a run left, with changes to the measurement."""
    found = measurement().to_json() | changes
    return {"run": "abc", "during": "the soak", "measurement": found}


def test_what_was_found_is_read_back(tmp_path: Path) -> None:
    """The measurement, the step that was interrupted and the run come back as they were."""
    path = tmp_path / "found.json"
    path.write_text(json.dumps(kept()), encoding="utf-8")
    found = read_found(path)
    assert found is not None
    assert (measurement(), "the soak", "abc") == (found.measurement, found.during, found.run)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[1, 2]",
        '"text"',
        "{}",
        "[" * 100_000,
        json.dumps(kept() | {"measurement": None}),
        json.dumps(kept(max_batch_size="64")),
        json.dumps(kept(max_batch_size=True)),
        json.dumps(kept(max_batch_size=0)),
        json.dumps(kept(batch_size=-1)),
        json.dumps(kept(device=[])),
        json.dumps(kept(device={"name": "cpu"})),
        json.dumps(kept(unknown=1)),
    ],
    ids=range(14),
)
def test_what_no_run_left_is_nothing(tmp_path: Path, text: str) -> None:
    """Anything else in the file's place is as if there were no file."""
    path = tmp_path / "found.json"
    path.write_text(text, encoding="utf-8")
    assert read_found(path) is None


def test_no_file_and_a_pipe_are_nothing(tmp_path: Path) -> None:
    """A pipe in the file's place does not keep a run waiting."""
    assert read_found(tmp_path / "found.json") is None
    os.mkfifo(tmp_path / "pipe")
    assert read_found(tmp_path / "pipe") is None
