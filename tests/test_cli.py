"""The `gpu-profile` command, outside pytest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from making import CPU as CPU_512
from making import locked

import harness.cli_verbs
from harness.cli import main
from harness.fingerprint import describe_data, describe_module, fingerprint
from harness.lock_writing import update_lock
from harness.lockfile import LockedProfile, read_lock
from harness.matrix import load_matrix
from harness.measurement import DeviceIdentity
from harness.recipe import recipe

from zoo import Net, Numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import Project

CASE = "net-cpu-48MiB-1"
CPU = DeviceIdentity("cpu", 48 << 20)
SHOW = ["show", CASE, "--field", "batch_size"]

Output = pytest.CaptureFixture[str]


def of_case(model: str = "net", resolution: int = 1, **changes: Any) -> LockedProfile:
    """Make a locked profile of a case of the project."""
    values: dict[str, Any] = {"gpu": "cpu-48MiB", "device": CPU, "emulated": True} | changes
    return locked(model=model, resolution=resolution, **values)


@pytest.fixture
def lock(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project whose lock holds its one case, and work in it."""
    monkeypatch.chdir(project.path)
    update_lock(project.lock, [of_case()])
    return project.lock


def configure(project: Project, text: str) -> None:
    """Write the project's ini file."""
    (project.path / "pytest.ini").write_text(f"[pytest]\n{text}\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("field", "printed"),
    [
        ("batch_size", "3328"),
        ("learning_rate", "0.00316"),
        ("learning_rates", "[0.0031, 0.00316, 0.0034]"),
        ("bounded_by", "memory"),
        ("emulated", "true"),
        ("device.name", "cpu"),
        ("settings.trainer.precision", "bf16-mixed"),
        ("device", 'name = "cpu"\nmemory_bytes = 50331648'),
    ],
)
def test_show_prints_one_value_for_scripts(lock: Path, capsys: Output, field: str, printed: str) -> None:
    """`show CASE --field NAME` prints the value as the lock spells it, text without quotes, and nothing else."""
    assert 0 == main(["show", CASE, "--field", field])
    assert (f"{printed}\n", "") == capsys.readouterr()


def test_show_prints_the_profile_as_it_is_locked(lock: Path, capsys: Output) -> None:
    """Without a field the output is the lock's own text."""
    assert 0 == main(["show", CASE])
    assert lock.read_text(encoding="utf-8") == capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nett-cpu-48MiB-1"], f"gpu-profile.lock holds no profile of nett-cpu-48MiB-1; did you mean {CASE}?"),
        (["show", "zzz"], f"holds no profile of zzz; locked cases: {CASE}"),
        (["show", CASE, "--lock", "absent.lock"], "absent.lock does not exist; pytest --gpu-profile --gpu-profile-update"),
        (["show", CASE, "--field", "batchsize"], f"the profile of {CASE} has no batchsize; did you mean batch_size?"),
        (["show", CASE, "--field", "device.x"], "has no device.x; did you mean device.name?"),
        (["show", CASE, "--field", "zzz"], "has no zzz; fields: model, gpu, resolution, emulated, batch_size"),
        (["diff", "absent.lock", "absent.lock"], "absent.lock does not exist"),
        (["diff", "profiles", "profiles"], "profiles: a folder; name the file in it"),
        (["probe", "nett-cpu-48MiB-1", "--batch-size", "4"], f"matrix.yaml has no case nett-cpu-48MiB-1; did you mean {CASE}?"),
        (["probe", CASE, "--batch-size", "0"], "--batch-size 0 is not allowed; a whole number from 1"),
        (["prune", "--matrix", "absent.yaml"], "absent.yaml:1: cannot be read"),
        (["prune", "--lock", "absent.lock"], "absent.lock does not exist"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_and_exits_with_2(
    lock: Path, capsys: Output, arguments: list[str], message: str
) -> None:
    """What does not exist is named, beside what does and is most like it."""
    assert 2 == main(arguments)
    printed = capsys.readouterr()
    assert "" == printed.out
    assert printed.err.startswith("gpu-profile: ")
    assert message in printed.err


def test_several_mistakes_of_a_matrix_begin_on_lines_of_their_own(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A terminal finds FILE:LINE at the beginning of each line."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.Net", "zoo.Nett").replace("48MiB}", "lots}")
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["check"])
    told = capsys.readouterr().err.splitlines()
    assert ["gpu-profile:", "profiles/matrix.yaml:7", "profiles/matrix.yaml:9"] == [
        ":".join(line.split(":")[:2]) for line in told
    ]


def test_learning_rate_that_was_refused_is_told_with_its_refusal(lock: Path, capsys: Output) -> None:
    """A script that asks for a learning rate that is not there reads why."""
    update_lock(lock, [of_case(learning_rate=None, learning_rates=(), lr_refusal="the loss never falls")])
    assert 2 == main(["show", CASE, "--field", "learning_rate"])
    assert f"gpu-profile: {CASE} has no learning rate: the loss never falls\n" == capsys.readouterr().err


def test_field_of_a_case_locked_on_two_devices_is_ambiguous(lock: Path, capsys: Output) -> None:
    """One value is printed only when there is one; the devices are told apart by their memory."""
    update_lock(lock, [of_case(device=CPU_512)])
    assert 2 == main(SHOW)
    assert "is locked on several devices: cpu, 48.0 MiB; cpu, 512.0 MiB; print it" in capsys.readouterr().err


def test_folder_that_cannot_be_written_is_told(project: Project, lock: Path, capsys: Output) -> None:
    """Trouble with files has no traceback."""
    project.results.write_text("a file where a folder should be", encoding="utf-8")
    assert 2 == main(["probe", CASE, "--batch-size", "1"])
    assert f"gpu-profile: [Errno 17] File exists: '{project.results}'\n" == capsys.readouterr().err


def test_device_that_is_not_here_is_told(project: Project, lock: Path, capsys: Output) -> None:
    """A probe of another machine's GPU exits with 2 and says what is needed; it leaves nothing."""
    project.write_matrix(gpus="h200")
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(
        matrix.read_text(encoding="utf-8").replace("NVIDIA H200", "No Such GPU"), encoding="utf-8"
    )
    assert 2 == main(["probe", "net-h200-1", "--batch-size", "4"])
    assert capsys.readouterr().err.startswith("gpu-profile: needs No Such GPU: ")
    assert not project.results.exists()


def test_equal_locks_differ_in_nothing(lock: Path, capsys: Output) -> None:
    """Two equal locks exit with 0, in silence."""
    assert 0 == main(["diff", str(lock), str(lock)])
    assert ("", "") == capsys.readouterr()


def test_diff_lists_changes_in_columns_and_exits_with_1(lock: Path, capsys: Output) -> None:
    """Values stand below each other, with the change of numbers as a share; long digests are cut."""
    other = lock.with_name("other.lock")
    digest = "sha256:" + 64 * "a"
    changed = of_case(batch_size=3200, learning_rate=None, samples_per_second=9000.0, fingerprint=digest)
    added = of_case("added", batch_size=64, learning_rate=0.01)
    unrated = of_case("unrated", batch_size=64, learning_rate=None)
    update_lock(lock, [of_case("removed")])
    update_lock(other, [changed, added, unrated])
    assert 1 == main(["diff", str(lock), str(other)])
    expected = """\
added-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 64, learning_rate 0.01
net-cpu-48MiB-1 on cpu, 48.0 MiB
  batch_size          3328 -> 3200       -3.8%
  learning_rate       0.00316 -> none
  samples_per_second  10340.0 -> 9000.0  -13.0%
  fingerprint         sha256:f1 -> sha256:aaaaaaaaaaaa…
removed-cpu-48MiB-1 on cpu, 48.0 MiB: removed
unrated-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 64
"""
    assert expected == capsys.readouterr().out


def test_diff_asks_nothing_of_pytest(project: Project, lock: Path) -> None:
    """Two files can be compared where pytest cannot start."""
    configure(project, "minversion = 99")
    assert 0 == main(["diff", str(lock), str(lock)])


def test_prune_removes_what_is_not_in_the_matrix(lock: Path, capsys: Output) -> None:
    """Orphans go, the rest stays; a dry run only names them."""
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
    told = "nothing to remove: the matrix has the case of every profile in profiles/gpu-profile.lock\n"
    assert told == capsys.readouterr().out


def lock_one_workload_thrice(project: Project, builds: Path) -> None:
    """Lock three of four cases of one workload, up to date, with another recipe and with another fingerprint.

    Beside them the lock has a profile of a former budget and one of a former case.
    """
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("resolution: [1]", "resolution: [1, 2, 3, 4]")
    matrix.write_text(text.replace("zoo.Net", "counted.Net"), encoding="utf-8")
    (project.path / "profiles" / "counted.py").write_text(
        f"from zoo import Net\nopen({str(builds)!r}, 'a').write('built ')\n", encoding="utf-8"
    )
    case = load_matrix(matrix, search_path=(str(matrix.parent),)).cases[0]
    # What a module may set, under a name that needs quotes in the lock, and an allocator's setting.
    made = recipe(case, {"cudnn.benchmark": True, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"})
    workload = describe_module(Net()) | describe_data(Numbers())
    fresh = of_case(
        recipe=made.digest, settings=made.settings, workload=workload, fingerprint=fingerprint(workload)
    )
    smaller = made.settings | {"gpu.budget": 1 << 20}
    update_lock(
        project.lock,
        [
            fresh,
            replace(fresh, axes=fresh.axes | {"resolution": 2}, recipe="sha256:r1", settings=smaller),
            replace(fresh, axes=fresh.axes | {"resolution": 3}, fingerprint="sha256:f1"),
            of_case(device=CPU_512),
            of_case("gone"),
        ],
    )


def test_check_tells_what_is_missing_stale_and_orphaned(
    project: Project, lock: Path, tmp_path: Path, capsys: Output
) -> None:
    """Without any device; the cases of one workload share one build; the exit code is 1."""
    builds = tmp_path / "builds"
    lock_one_workload_thrice(project, builds)
    assert 1 == main(["check"])
    expected = """\
ok        net-cpu-48MiB-1
stale     net-cpu-48MiB-2   locked with another recipe: gpu.budget 1048576 -> 50331648
stale     net-cpu-48MiB-3   locked with another workload: by a version of this harness that recorded it otherwise
missing   net-cpu-48MiB-4   never locked
orphaned  gone-cpu-48MiB-1  not in the matrix
orphaned  net-cpu-48MiB-1   locked on cpu, 512.0 MiB, which is not its GPU now: remove its block
1 of 4 cases are locked and up to date in profiles/gpu-profile.lock
lock what is missing or stale with: pytest --gpu-profile --gpu-profile-update
remove what is not in the matrix with: gpu-profile prune
"""
    assert expected == capsys.readouterr().out
    assert "built " == builds.read_text(encoding="utf-8")


def test_check_without_a_lock_misses_every_case(project: Project, lock: Path, capsys: Output) -> None:
    """Before the first update nothing needs to be built."""
    lock.unlink()
    assert 1 == main(["check"])
    assert [
        f"missing   {CASE}  never locked",
        "0 of 1 cases are locked and up to date in the missing profiles/gpu-profile.lock",
        "lock what is missing or stale with: pytest --gpu-profile --gpu-profile-update",
    ] == capsys.readouterr().out.splitlines()


def test_check_tells_a_workload_that_cannot_be_built(project: Project, lock: Path, capsys: Output) -> None:
    """A process that dies while it builds makes the case a broken one, with the way to see why."""
    (project.path / "src").mkdir()
    (project.path / "src" / "torch.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    configure(project, "pythonpath = src")
    how = f"gpu-profile probe {CASE} --batch-size 1"
    assert 1 == main(["check"])
    assert [
        f"broken    {CASE}  the process that builds the workload exited with code 3; see: {how}",
        "0 of 1 cases are locked and up to date in profiles/gpu-profile.lock",
    ] == capsys.readouterr().out.splitlines()


def test_probe_that_fits_tells_its_peak_and_leaves_the_logs_of_runs(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A probe that fits exits with 0; its own log goes into a folder of its own."""
    log = project.results / CASE / "002-train-b4.log"
    log.parent.mkdir(parents=True)
    log.write_text("of a run", encoding="utf-8")
    assert 0 == main(["probe", CASE, "--batch-size", "4"])
    printed = capsys.readouterr()
    assert "" == printed.err
    told, where = printed.out.splitlines()
    assert told.startswith(f"{CASE}: batch 4 fits, peak ")
    assert " of 48.0 MiB, " in told
    assert f"output: .gpu-profile/probe/{CASE}/002-train-b4.log" == where
    assert "of a run" == log.read_text(encoding="utf-8")


def test_probe_that_fails_shows_the_users_traceback(project: Project, lock: Path, capsys: Output) -> None:
    """A probe that fails exits with 1, with the traceback on stderr and the phase on stdout."""
    project.write_matrix("Raises")
    assert 1 == main(["probe", "raises-cpu-48MiB-1", "--batch-size", "4"])
    printed = capsys.readouterr()
    assert "raises-cpu-48MiB-1: batch 4 failed in backward: ValueError: labels must be sorted" in printed.out
    assert "in explode" in printed.err


def test_probe_of_a_workload_that_cannot_be_built_shows_the_traceback(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A constructor's exception exits with 2: there is no answer about the batch size."""
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.Net}", "zoo.Net, init_args: {depth: 3}}")
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["probe", CASE, "--batch-size", "4"])
    *traceback, last = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in traceback
    assert last.startswith("gpu-profile: the workload cannot be built: TypeError: ")


@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param("no_such_key = 3\nstrict_config = true", id="unknown key"),
        pytest.param("addopts = --option-of-the-conftest", id="option of a conftest"),
        pytest.param("addopts = -p no:cacheprovider -n 2 --version", id="options that change a run"),
        pytest.param("addopts = --cov=. --cov-report=html", id="coverage"),
    ],
)
def test_configuration_for_tests_is_no_obstacle(
    project: Project, lock: Path, capsys: Output, configuration: str
) -> None:
    """A conftest that raises is not imported, unknown options are left alone, and nothing of pytest is printed."""
    (project.path / "conftest.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    configure(project, configuration)
    before = sorted(project.path.iterdir())
    assert 0 == main(SHOW)
    assert ("3328\n", "") == capsys.readouterr()
    assert before == sorted(project.path.iterdir())


def ini_keys(project: Project) -> None:
    """Name other places in the ini file, and start below rootdir."""
    (project.path / "locks").mkdir()
    project.lock.rename(project.path / "locks" / "team.lock")
    configure(project, "gpu_profile_lock = locks/team.lock")
    (project.path / "below").mkdir()
    os.chdir(project.path / "below")


def matrix_moved(project: Project) -> None:
    """Let the matrix' place say where the lock is."""
    (project.path / "profiles").rename(project.path / "conf")
    configure(project, "gpu_profile_matrix = conf/matrix.yaml")


def flag_in_addopts(project: Project) -> None:
    """Give the flag of a run in addopts."""
    project.lock.rename(project.path / "team.lock")
    configure(project, "addopts = --gpu-profile-lock=team.lock\ngpu_profile_lock = nowhere.lock")


@pytest.mark.parametrize("arrange", [ini_keys, matrix_moved, flag_in_addopts])
def test_paths_are_those_of_a_run_started_here(
    project: Project, lock: Path, capsys: Output, arrange: Callable[[Project], None]
) -> None:
    """A flag's path is relative to the working directory, an ini key's to rootdir."""
    arrange(project)
    assert 0 == main(SHOW)
    assert "3328\n" == capsys.readouterr().out


def test_own_flags_come_first(project: Project, lock: Path, capsys: Output) -> None:
    """`--matrix` and `--lock` override all else, from the working directory on."""
    configure(project, "addopts = --gpu-profile-lock=nowhere.lock\ngpu_profile_matrix = nowhere.yaml")
    os.chdir(project.path / "profiles")
    assert 0 == main(["prune", "--matrix", "matrix.yaml", "--lock", "gpu-profile.lock"])
    assert 1 == len(read_lock(lock))


def test_modules_are_found_as_pytest_finds_them(project: Project, lock: Path) -> None:
    """The ini key `pythonpath` counts for the class paths of a matrix."""
    (project.path / "src").mkdir()
    (project.path / "profiles" / "zoo.py").rename(project.path / "src" / "elsewhere.py")
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.", "elsewhere.")
    matrix.write_text(text, encoding="utf-8")
    assert 2 == main(["prune"])
    configure(project, "pythonpath = src")
    assert 0 == main(["prune"])


@pytest.mark.parametrize(
    ("configuration", "variables", "message"),
    [
        ("minversion = 99", {}, "cannot start here: "),
        ("addopts = -p no_such_plugin", {}, 'cannot start here: Error importing plugin "no_such_plugin"'),
        ("addopts = -p raising", {}, "cannot start here: "),
        ("", {"PYTEST_ADDOPTS": "'"}, "cannot start here: ValueError: No closing quotation"),
        ("", {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, "pytest does not load the plugin gpu_profile here"),
        ("addopts = -p no:gpu_profile", {}, "pytest does not load the plugin gpu_profile here"),
    ],
)
def test_pytest_that_cannot_start_is_told_and_exits_with_2(
    project: Project,
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    *,
    configuration: str,
    variables: dict[str, str],
    message: str,
) -> None:
    """What pytest refuses is told in a line that says what pytest was needed for."""
    configure(project, configuration)
    monkeypatch.syspath_prepend(project.path)
    (project.path / "raising.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert 2 == main(SHOW)
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_interrupted_command_says_so(lock: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    """Ctrl-C ends the command with the shell's exit code for it, without a traceback."""

    def interrupted(_path: Path) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(harness.cli_verbs, "read_lock", interrupted)
    assert 130 == main(SHOW)
    assert "gpu-profile: interrupted\n" == capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["show", "--help"]])
def test_help_and_version_exit_with_0(capsys: Output, arguments: list[str]) -> None:
    """They print to stdout."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert 0 == ended.value.code
    assert capsys.readouterr().out


def test_reader_that_has_enough_is_no_error(lock: Path) -> None:
    """A pipe closed at its other end, as by `head`, ends the command in silence; torch was not imported for it."""
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import sys; from harness.cli import main; code = main(sys.argv[1:]);"
        "sys.stderr.write(f'{code} {\"torch\" in sys.modules}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SHOW], stdout=writer, stderr=subprocess.PIPE, text=True, check=True
    )
    os.close(writer)
    assert "0 False" == done.stderr
