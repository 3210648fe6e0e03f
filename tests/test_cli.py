"""The `gpu-profile` command, outside pytest."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from making import locked

from harness.cli import main
from harness.lock_writing import update_lock
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from support import Project

CASE = "net-cpu-48MiB-1"
CPU = DeviceIdentity("cpu", 48 << 20)


@pytest.fixture
def lock(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose lock holds its one case, and work in it."""
    monkeypatch.chdir(project.path)
    update_lock(project.lock, [locked(model="net", gpu="cpu-48MiB", resolution=1, device=CPU)])
    return project.lock


def test_show_prints_one_value_for_scripts(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`show CASE --field NAME` prints the value and nothing else, dotted names below tables too."""
    assert [0, 0] == [main(["show", CASE, "--field", name]) for name in ("batch_size", "device.name")]
    assert "3328\ncpu\n" == capsys.readouterr().out


def test_show_prints_the_profile_as_it_is_locked(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a field the output is the lock's own text."""
    assert 0 == main(["show", CASE])
    assert lock.read_text(encoding="utf-8") == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nett-cpu-48MiB-1"], f"holds no profile of nett-cpu-48MiB-1; it holds {CASE}"),
        (["show", CASE, "--field", "size"], f"the profile of {CASE} has no field size; it has batch_size"),
        (["diff", "absent.lock", "absent.lock"], "absent.lock does not exist"),
        (["probe", "nett-h200-1", "--batch-size", "4"], f"has no case nett-h200-1; it has {CASE}"),
        (["probe", CASE, "--batch-size", "0"], "--batch-size 0: a whole number from 1"),
        (["prune", "--matrix", "absent.yaml"], "absent.yaml:1: cannot be read"),
    ],
)
def test_wrong_input_is_told_and_exits_with_2(
    lock: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """What does not exist is named, beside what does."""
    assert 2 == main(arguments)
    assert message in capsys.readouterr().err


def test_field_of_a_case_locked_on_two_devices_is_ambiguous(
    lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One value is printed only when there is one."""
    other = DeviceIdentity("cpu", 96 << 20)
    update_lock(lock, [locked(model="net", gpu="cpu-48MiB", resolution=1, device=other)])
    assert 2 == main(["show", CASE, "--field", "batch_size"])
    assert "locked on several devices: cpu, cpu" in capsys.readouterr().err


def test_diff_tells_changes_and_exits_with_1(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two locks that differ exit with 1 and say in what; equal ones exit with 0 in silence."""
    other = lock.with_name("other.lock")
    other.write_text(
        lock.read_text(encoding="utf-8").replace("batch_size = 3712", "batch_size = 3500"), encoding="utf-8"
    )
    assert 0 == main(["diff", str(lock), str(lock)])
    assert "" == capsys.readouterr().out
    assert 1 == main(["diff", str(lock), str(other)])
    output = capsys.readouterr().out
    assert CASE in output
    assert "max_batch_size" in output
    assert "3712" in output
    assert "3500" in output


def test_prune_removes_what_is_not_in_the_matrix(lock: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Orphans go, the rest stays; a dry run only names them."""
    kept = lock.read_bytes()
    update_lock(lock, [locked(model="gone", gpu="cpu-48MiB", resolution=1, device=CPU)])
    both = lock.read_bytes()
    assert 0 == main(["prune", "--dry-run"])
    assert "would remove gone-cpu-48MiB-1 (cpu)\n" == capsys.readouterr().out
    assert both == lock.read_bytes()
    assert 0 == main(["prune"])
    assert "removed gone-cpu-48MiB-1 (cpu)\n" == capsys.readouterr().out
    assert kept == lock.read_bytes()


def test_check_lists_missing_stale_and_orphaned_profiles(
    project: Project, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any device, what no longer describes the matrix is listed, and the exit code is 1."""
    project.write_matrix("Net", "NoValidation")
    update_lock(lock, [locked(model="gone", gpu="cpu-48MiB", resolution=1, device=CPU)])
    assert 1 == main(["check"])
    assert [
        "orphaned  gone-cpu-48MiB-1: not in the matrix (gpu-profile prune removes it)",
        f"stale     {CASE}: the workload is another one than the locked one",
        f"stale     {CASE}: the matrix has other settings than the locked ones",
        "missing   novalidation-cpu-48MiB-1: never locked",
        f"0 of 2 cases are locked and up to date in {lock}",
    ] == capsys.readouterr().out.splitlines()


def test_check_of_a_fresh_lock_finds_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an update has just locked is up to date."""
    project.run("--gpu-profile", "--gpu-profile-update")
    monkeypatch.chdir(project.path)
    capsys.readouterr()
    assert 0 == main(["check"])
    assert f"1 of 1 cases are locked and up to date in {project.lock}\n" == capsys.readouterr().out


def test_probe_prints_how_one_batch_size_ended(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A probe that fails exits with 1, with the user's traceback and where its output is."""
    project.write_matrix("Raises")
    monkeypatch.chdir(project.path)
    assert 1 == main(["probe", "raises-cpu-48MiB-1", "--batch-size", "4"])
    printed = capsys.readouterr()
    assert "raises-cpu-48MiB-1: batch 4 failed in backward: ValueError: labels must be sorted" in printed.out
    assert "in explode" in printed.err
    assert "001-train-b4.log" in printed.out


def test_command_does_not_need_torch(lock: Path) -> None:
    """Reading a value for a script imports no torch."""
    code = (
        f"import sys; from harness.cli import main; main(['show', '{CASE}']); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" == done.stdout.splitlines()[-1]
