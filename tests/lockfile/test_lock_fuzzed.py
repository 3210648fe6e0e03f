"""Fuzzing the lockfile: any content is read or refused at a line, and none of it is ever run.

See `fuzzing` for the long version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fuzzing import HEX, HUGE, assert_places, examples, in_time, mutated, nasty, raw
from hypothesis import example, given
from hypothesis import strategies as st
from lock_texts import EXAMPLE
from matrix_texts import RIGHT, load
from measurements import A100, locked, measurement
from projects import TESTS

import harness
from harness.bounds.measured import judge
from harness.check.locked_cases import why_stale
from harness.errors import HarnessError
from harness.lockfile.diff import diff
from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.render import render
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import update_lock
from harness.matrix.settings import BoundsSettings
from harness.probes.description import Description
from harness.report.json_report import without_extra
from harness.report.plain_data import plain_data

NAME = "gpu-profile.lock"
REFERENCE = (TESTS.parent / "profiles" / NAME).read_text(encoding="utf-8")
TEXTS = [
    EXAMPLE,
    # Two profiles only: in a longer text, mutations would rarely meet.
    "[[profile]]".join(REFERENCE.split("[[profile]]")[:3]),
    render(
        Lock(Path(NAME), (locked(), locked(device=A100), locked(model="vit", learning_rate=None)))
    ),
]
KEYS = [
    *("version", "profile", "model", "gpu", "resolution", "axes", "device", "workload"),
    *("settings", "made_with", "batch_size", "max_batch_size", "bounded_by", "memory_limit_bytes"),
    *("fingerprint", "recipe", "emulated", "learning_rate", "learning_rates", "lr_refusal"),
    *("learning_rate_range", "lr_horizon"),
    *("name", "memory_bytes", "torch", "precision", '"a.b"'),
]


with TemporaryDirectory() as folder:
    CASE = load(Path(folder), RIGHT.replace("torch.nn.Linear", "zoo.Net"))[0]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / NAME


def assert_answered(path: Path, data: bytes) -> None:
    """Read a lock and write, compare and ask it; if it is refused, the error must name its line."""
    path.write_bytes(data)
    with in_time():
        try:
            lock = read_lock(path)
        except LockError as error:
            assert_refused(path, str(error))
        else:
            assert_round_trip(path, lock)
            for profile in lock:
                assert_readable(path, profile)
                assert_usable(profile)


def assert_refused(path: Path, message: str) -> None:
    """Check an error, and that no update overwrites the file that could not be read."""
    data = path.read_bytes()
    assert_places(message, NAME, data)
    assert "\n" not in message
    with pytest.raises(LockError):
        update_lock(path, [locked()])
    assert data == path.read_bytes()


def assert_round_trip(path: Path, lock: Lock) -> None:
    """Write the lock and read it back: the lock and its text must stay the same."""
    assert [] == diff(lock, lock)
    update_lock(path, [])
    first = path.read_bytes()
    again = read_lock(path)
    assert [] == diff(lock, again)
    assert render(again).encode() == first


def assert_readable(path: Path, profile: LockedProfile) -> None:
    """Load this profile as training does: it must be found, or named in the error."""
    axes = {
        axis: value for axis, value in profile.axes.items() if axis not in ("model", "gpu", "lock")
    }
    model, gpu = str(profile.axes["model"]), str(profile.axes["gpu"])
    try:
        found = harness.load_profile(model, gpu=gpu, lock=path, **axes)
        answer = found.case_id
    except HarnessError as error:  # several profiles fit: other devices or further axes
        answer = str(error)
    assert profile.case_id in answer


def assert_usable(profile: LockedProfile) -> None:
    """Judge by a profile, report it and compare it with the matrix, as runs and `check` do."""
    verdict = judge(measurement(), profile, BoundsSettings())
    json.dumps([asdict(violation) for violation in verdict.violations])
    json.dumps(plain_data(without_extra(profile)), allow_nan=False)
    built = Description(
        workload={"num_parameters": 1},
        fingerprint="sha256:f2",
        num_samples=1,
        num_validation_samples=None,
        validation=False,
        synthetic=False,
        num_workers=0,
    )
    assert all(isinstance(one.message, str) for one in why_stale(profile, CASE, built))


@examples(150)
@given(data=mutated(TEXTS))
@example(data=f"version = 1\nx = {HEX}\n".encode())
@example(data=EXAMPLE.replace("3328", HEX).encode())
@example(data=EXAMPLE.replace('"resnet18"', HUGE).encode())
@example(data=EXAMPLE.replace('recipe = "sha256:r1"', 'recipe = "x"\nextra = nan').encode())
@example(data=(EXAMPLE + '[profile.axes]\nmodel = "other"\n').encode())
@example(data=f'{EXAMPLE}[profile.settings]\n"environment.\\"x" = 1\n'.encode())
@example(data=f"{EXAMPLE}[profile.settings]\nx = 1979-05-27\n".encode())
@example(data=EXAMPLE.replace("0.00316\n", "5e-324\n").encode())
@example(data=EXAMPLE.replace("0.00316\n", "5e-324\n").replace("0.002107", "5e-324").encode())
@example(data=EXAMPLE.replace("0.00474", "9e18").encode())
@example(data=("version = 1\nx." + "a." * 30_000 + "a = 1").encode())
@example(data=("version = 1\n[" + "'a' . " * 30_000 + "a]").encode())
def test_a_lock_made_wrong(path: Path, data: bytes) -> None:
    """A lock with lost, doubled or exchanged lines, other values or keys, or other bytes."""
    assert_answered(path, data)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Draw a lock that has known keys at any place, with values of any type."""
    scalars = nasty() | st.sampled_from(
        [b'"h200"', b"32", b"0.1", b'"memory"', b"true", b"[1, 2.0]", b"1979-05-27"]
    )
    keys = st.sampled_from(KEYS).map(str.encode)

    def extend(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        entries = st.lists(
            st.builds(lambda key, value: key + b" = " + value, keys, values), max_size=4
        )
        return entries.map(lambda items: b"{" + b", ".join(items) + b"}") | st.lists(
            values, max_size=4
        ).map(lambda items: b"[" + b", ".join(items) + b"]")

    values = st.recursive(scalars, extend, max_leaves=8)
    lines = EXAMPLE.encode().split(b"\n")
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(1, len(lines)))
        line = draw(st.builds(lambda key, value: key + b" = " + value, keys, values))
        if draw(st.booleans()):
            lines[at : at + 1] = [line]
        else:
            lines.insert(at, line)
    return b"\n".join(lines)


@examples(100)
@given(data=tables())
def test_a_lock_of_other_types(path: Path, data: bytes) -> None:
    """A lock that has known keys at any place, with values of any type."""
    assert_answered(path, data)


@examples(60)
@given(data=raw())
def test_no_lock_at_all(path: Path, data: bytes) -> None:
    """Any bytes in place of the lockfile."""
    assert_answered(path, data)


@examples(40)
@given(old=mutated(TEXTS), new=mutated(TEXTS))
def test_two_locks_can_be_compared(path: Path, old: bytes, new: bytes) -> None:
    """Two locks differ exactly if their texts differ, and every difference has a text."""
    locks = []
    for data in (old, new):
        path.write_bytes(data)
        try:
            locks.append(read_lock(path))
        except LockError:
            return
    with in_time():
        differences = diff(*locks)
        assert bool(differences) == (
            render(Lock(path, locks[0].profiles)) != render(Lock(path, locks[1].profiles))
        )
        assert all(str(difference) for difference in differences)


def test_nothing_of_a_lock_is_run(path: Path) -> None:
    """Reading and asking a lock, which names classes and files, imports and runs nothing of it."""
    (path.parent / "trap.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    text = EXAMPLE.replace("resnet18", "trap.Net").replace("NVIDIA H200", "$(touch trap.txt)")
    text += '[profile.workload]\nmodule = "trap.Net"\ndata = "trap"\n'
    text += '[profile.settings]\n"module.class_path" = "trap.Net"\n'
    text += "x = \"!!python/object/apply:os.system ['true']\"\n"
    path.write_text(text, encoding="utf-8")
    code = (
        "import sys, encodings.utf_8_sig, difflib, harness\n"
        "harness.load_profile\n"  # resolves the name, which imports its module
        "seen = []\n"
        "def hear(event, arguments):\n"
        "    if event in {'import', 'exec', 'compile', 'os.system', 'subprocess.Popen', 'os.exec', "
        "'marshal.loads'}:\n"
        "        seen.append((event, arguments[0]))\n"
        "sys.addaudithook(hear)\n"
        "tuned = harness.load_profile('trap.Net', gpu='h200', resolution=224)\n"
        "try: harness.load_profile('trap')\n"
        "except harness.HarnessError: pass\n"
        "print(tuned.batch_size, seen)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, check=False
    )
    assert ("3328 []\n", "", 0) == (done.stdout, done.stderr, done.returncode)
