"""Buckets of lengths in a lockfile: written as a list, read back, and refused where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from measurements import locked

from harness.lockfile.diff import diff
from harness.lockfile.profiles import read_lock
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import write_candidate
from harness.measurement import Bucket

if TYPE_CHECKING:
    from pathlib import Path

BUCKETS = (Bucket(64, 900, 1000), Bucket(112.5, 300, 310, "cap"), Bucket(224, 90, 100))
PROFILE = locked(batch_size=90, max_batch_size=100, buckets=BUCKETS)


def written(tmp_path: Path) -> Path:
    """Return a lockfile with one profile that has buckets."""
    path = tmp_path / "a.lock"
    write_candidate(path, path, [PROFILE])
    return path


def test_buckets_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A line for each, and the sizes by edge for a sampler."""
    path = written(tmp_path)
    assert (
        "buckets = [\n"
        '    { edge = 64, batch_size = 900, max_batch_size = 1000, bounded_by = "memory" },\n'
        '    { edge = 112.5, batch_size = 300, max_batch_size = 310, bounded_by = "cap" },\n'
        '    { edge = 224, batch_size = 90, max_batch_size = 100, bounded_by = "memory" },\n'
        "]\n"
    ) in path.read_text()
    (profile,) = read_lock(path)
    assert (BUCKETS, {64: 900, 112.5: 300, 224: 90}) == (
        profile.buckets,
        profile.bucket_batch_sizes,
    )


def test_a_profile_without_buckets_has_none(tmp_path: Path) -> None:
    """Its lock does not name them."""
    path = tmp_path / "a.lock"
    write_candidate(path, path, [locked()])
    (profile,) = read_lock(path)
    assert ((), {}) == (profile.buckets, profile.bucket_batch_sizes)
    assert "buckets" not in path.read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("edge = 64", "edge = 500", "buckets have the edges [500, 112.5, 224]; rising ones are"),
        ("edge = 64", "edge = -1", "buckets.edge is -1; a number above 0 is needed"),
        ("edge = 64, ", "", "buckets.edge is missing"),
        ("size = 900", "size = 1001", "buckets.batch_size 1001 is more than max_batch_size, 1000"),
        ("{ edge = 224, batch_size = 90", "{ edge = 224, batch_size = 91", "buckets end with batc"),
        (
            'bounded_by = "cap"',
            'bounded_by = "hope"',
            "buckets.bounded_by is 'hope'; one of memory",
        ),
        ("buckets = [", 'buckets = ["a",', "buckets is ['a', {'edge': 64,"),
    ],
)
def test_buckets_that_contradict_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    """The error names the file, the case and the value."""
    path = written(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert message in str(caught.value)


def test_a_difference_names_the_bucket(tmp_path: Path) -> None:
    """By its edge; the others are not shown."""
    old = read_lock(written(tmp_path))
    path = tmp_path / "b.lock"
    path.write_text(
        (tmp_path / "a.lock").read_text().replace("batch_size = 900", "batch_size = 720")
    )
    (difference,) = diff(old, read_lock(path))
    assert ["buckets.64.batch_size 900 -> 720 (-20.0%)"] == list(map(str, difference.changes))
