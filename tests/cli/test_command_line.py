"""The `gpu-profile` command: the output of the verbs on a lockfile, and the exit codes."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from command_line import CASE, SHOW, Output, configure, of_case
from measurements import CPU as CPU_512

import harness.cli.lockfile
from harness.cli.command_line import main
from harness.lockfile.write import update_lock

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


@pytest.mark.parametrize(
    ("field", "printed"),
    [
        ("batch_size", "3328"),
        ("learning_rate", "0.00316"),
        ("learning_rates", "[0.0031, 0.00316, 0.0034]"),
        ("learning_rate_range", "[0.002107, 0.00474]"),
        ("lr_horizon", "40"),
        ("bounded_by", "memory"),
        ("emulated", "true"),
        ("device.name", "cpu"),
        ("settings.trainer.precision", "bf16-mixed"),
        ("device", 'name = "cpu"\nmemory_bytes = 50331648'),
    ],
)
def test_show_prints_one_value_for_scripts(
    lock: Path, capsys: Output, field: str, printed: str
) -> None:
    """`show CASE --field NAME` prints the value alone, as the lockfile spells it.

    Only text differs: it has no quotes.
    """
    assert 0 == main(["show", CASE, "--field", field])
    assert (f"{printed}\n", "") == capsys.readouterr()


def test_show_prints_the_profile_as_it_is_locked(lock: Path, capsys: Output) -> None:
    """Without a field `show` prints the text of the lockfile."""
    assert 0 == main(["show", CASE])
    assert lock.read_text(encoding="utf-8") == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["show", "nett-cpu-48MiB-1"],
            f"gpu-profile.lock holds no profile of nett-cpu-48MiB-1; did you mean {CASE}?",
        ),
        (["show", "zzz"], f"holds no profile of zzz; locked cases: {CASE}"),
        (
            ["show", CASE, "--lock", "absent.lock"],
            "absent.lock does not exist; pytest --gpu-profile --gpu-profile-update",
        ),
        (
            ["show", CASE, "--field", "batchsize"],
            f"the profile of {CASE} has no batchsize; did you mean batch_size?",
        ),
        (["show", CASE, "--field", "device.x"], "has no device.x; did you mean device.name?"),
        (
            ["show", CASE, "--field", "zzz"],
            "has no zzz; fields: model, gpu, resolution, emulated, batch_size",
        ),
        (["diff", "absent.lock", "absent.lock"], "absent.lock does not exist"),
        (["diff", "profiles", "profiles"], "profiles: a folder; name the file in it"),
        (
            ["probe", "nett-cpu-48MiB-1", "--batch-size", "4"],
            f"matrix.yaml has no case nett-cpu-48MiB-1; did you mean {CASE}?",
        ),
        (
            ["probe", CASE, "--batch-size", "0"],
            "--batch-size 0 is not allowed; a whole number from 1",
        ),
        (["prune", "--matrix", "absent.yaml"], "absent.yaml:1: cannot be read"),
        (["prune", "--lock", "absent.lock"], "absent.lock does not exist"),
    ],
)
def test_wrong_input_is_told_and_exits_with_2(
    lock: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    """The message names the thing that does not exist, and the most similar one that does."""
    assert 2 == main(arguments)
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith("gpu-profile: ")
    assert message in printed.err


def test_several_mistakes_of_a_matrix_begin_on_lines_of_their_own(
    project: Project, lock: Path, capsys: Output
) -> None:
    """Each mistake is a line that begins with FILE:LINE."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = (
        matrix.read_text(encoding="utf-8").replace("zoo.Net", "zoo.Nett").replace("48MiB}", "lots}")
    )
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["check"])
    told = capsys.readouterr().err.splitlines()
    assert ["gpu-profile:", "profiles/matrix.yaml:7", "profiles/matrix.yaml:9"] == [
        ":".join(line.split(":")[:2]) for line in told
    ]


def test_learning_rate_that_was_refused_is_told_with_its_refusal(
    lock: Path, capsys: Output
) -> None:
    """`show --field learning_rate` exits with 2 and prints the refusal."""
    update_lock(
        lock, [of_case(learning_rate=None, learning_rates=(), lr_refusal="the loss never falls")]
    )
    assert 2 == main(["show", CASE, "--field", "learning_rate"])
    assert (
        f"gpu-profile: {CASE} has no learning rate: the loss never falls\n"
        == capsys.readouterr().err
    )


def test_field_of_a_case_locked_on_two_devices_is_ambiguous(lock: Path, capsys: Output) -> None:
    """`show --field` refuses a case that is locked on two devices, and lists the devices."""
    update_lock(lock, [of_case(device=CPU_512)])
    assert 2 == main(SHOW)
    assert (
        "is locked on several devices: cpu, 48.0 MiB; cpu, 512.0 MiB; print it"
        in capsys.readouterr().err
    )


def test_equal_locks_differ_in_nothing(lock: Path, capsys: Output) -> None:
    """`diff` of equal lockfiles exits with 0 and prints nothing."""
    assert 0 == main(["diff", str(lock), str(lock)])
    assert ("", "") == capsys.readouterr()


def test_diff_lists_changes_in_columns_and_exits_with_1(lock: Path, capsys: Output) -> None:
    """Values stand in columns, with the change of numbers in percent; long digests are cut."""
    other = lock.with_name("other.lock")
    digest = "sha256:" + 64 * "a"
    changed = of_case(
        batch_size=3200, learning_rate=None, samples_per_second=9000.0, fingerprint=digest
    )
    added = of_case("added", batch_size=64, learning_rate=0.01)
    unrated = of_case("unrated", batch_size=64, learning_rate=None)
    update_lock(lock, [of_case("removed")])
    update_lock(other, [changed, added, unrated])
    assert 1 == main(["diff", str(lock), str(other)])
    expected = """\
added-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 64, learning_rate 0.01
net-cpu-48MiB-1 on cpu, 48.0 MiB
  batch_size           3328 -> 3200       -3.8%
  learning_rate        0.00316 -> none
  learning_rate_range  [0.002107, 0.00474] -> none
  samples_per_second   10340.0 -> 9000.0  -13.0%
  fingerprint          sha256:f1 -> sha256:aaaaaaaaaaaa…
removed-cpu-48MiB-1 on cpu, 48.0 MiB: removed
unrated-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 64
"""
    assert expected == capsys.readouterr().out


def test_diff_asks_nothing_of_pytest(project: Project, lock: Path) -> None:
    """`diff` works where pytest cannot start."""
    configure(project, "minversion = 99")
    assert 0 == main(["diff", str(lock), str(lock)])


def test_prune_removes_what_is_not_in_the_matrix(lock: Path, capsys: Output) -> None:
    """`prune` removes only orphaned profiles; a dry run only names them."""
    kept = lock.read_bytes()
    update_lock(lock, [of_case("gone")])
    both = lock.read_bytes()
    assert 0 == main(["prune", "--dry-run"])
    assert "would remove gone-cpu-48MiB-1 on cpu, 48.0 MiB\n" == capsys.readouterr().out
    assert both == lock.read_bytes()
    assert 0 == main(["prune"])
    assert "removed gone-cpu-48MiB-1 on cpu, 48.0 MiB\n" == capsys.readouterr().out
    assert kept == lock.read_bytes()
    assert 0 == main(["prune"])
    told = (
        "nothing to remove: the matrix has the case of every profile in profiles/gpu-profile.lock\n"
    )
    assert told == capsys.readouterr().out


def test_interrupted_command_says_so(
    lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Ctrl-C ends the command with the shell's exit code for it, without a traceback."""

    def interrupted(_path: Path) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(harness.cli.lockfile, "read_lock", interrupted)
    assert 130 == main(SHOW)
    assert "gpu-profile: interrupted\n" == capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["show", "--help"]])
def test_help_and_version_exit_with_0(capsys: Output, arguments: list[str]) -> None:
    """Help and version are printed to stdout."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert 0 == ended.value.code
    assert capsys.readouterr().out


def test_reader_that_has_enough_is_no_error(lock: Path) -> None:
    """A pipe whose reader has closed it, as `head` does, is no error; torch is not imported."""
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import sys; from harness.cli.command_line import main; code = main(sys.argv[1:]);"
        "sys.stderr.write(f'{code} {\"torch\" in sys.modules}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SHOW],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    os.close(writer)
    assert "0 False" == done.stderr


def test_closed_output_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb whose output goes nowhere has its own exit code."""
    (tmp_path / "a.lock").write_text("version = 1\n")
    monkeypatch.setattr(sys, "stdout", None)
    assert 0 == main(["diff", str(tmp_path / "a.lock"), str(tmp_path / "a.lock")])


def test_terminal_that_cannot_show_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoding of a terminal does not have is escaped."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert 2 == main(["diff", "fünf\udcff", "fünf\udcff"])
    stream.flush()
    told = stream.buffer.getvalue()
    assert b"f\\u00fcnf" in told
