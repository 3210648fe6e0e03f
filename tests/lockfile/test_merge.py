"""Merging lockfiles: each run adds its measurements, conflicts are reported, nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import CASE, Output, of_case
from lock_texts import run_of
from measurements import A100, CPU, H200, locked

from harness.cli.command_line import main
from harness.lockfile.diff import diff
from harness.lockfile.merge import merge, merge_into
from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import update_lock

ON_A100 = locked(gpu="a100", device=A100)
ON_CPU = locked(gpu="cpu", device=CPU, emulated=True)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "gpu-profile.lock"


def sizes(path: Path) -> dict[str, int]:
    """Return the batch sizes of a lock by case."""
    return {profile.case_id: profile.batch_size for profile in read_lock(path)}


@pytest.mark.parametrize("report", [True, False])
def test_each_run_contributes_what_it_measured(path: Path, *, report: bool) -> None:
    """The changes of two candidates of one lock are both merged, also without their reports."""
    update_lock(path, [locked(), locked(model="vit"), ON_CPU])
    one = run_of(path, "one", locked(batch_size=3000), report=report)
    other = run_of(path, "other", ON_A100, locked(model="vit", batch_size=9), report=report)
    merge_into(path, [one, other])
    assert sizes(path) == {
        "resnet18-a100-224": 3328,
        "resnet18-cpu-224": 3328,
        "resnet18-h200-224": 3000,
        "vit-h200-224": 9,
    }


def test_runs_may_be_merged_one_after_the_other(path: Path) -> None:
    """An old value in the second candidate undoes nothing, because its run did not measure it."""
    update_lock(path, [locked(), locked(model="vit")])
    runs = [
        run_of(path, "one", locked(batch_size=3000)),
        run_of(path, "two", locked(model="vit", batch_size=9)),
    ]
    for candidate in runs:
        merge_into(path, [candidate])
    assert sizes(path) == {"resnet18-h200-224": 3000, "vit-h200-224": 9}


def test_a_base_tells_old_values_from_changes(path: Path) -> None:
    """With its base, an older candidate without a report changes only what it changed there."""
    update_lock(path, [locked(), locked(model="vit")])
    base = path.with_name("base.lock")
    base.write_bytes(path.read_bytes())
    candidate = run_of(path, "old", locked(model="vit", batch_size=9), report=False)
    update_lock(path, [locked(batch_size=3000), ON_A100])
    merge_into(path, [candidate], base)
    assert sizes(path) == {"resnet18-a100-224": 3328, "resnet18-h200-224": 3000, "vit-h200-224": 9}


def test_without_a_base_a_candidate_of_another_lock_is_refused(path: Path) -> None:
    """A candidate that lacks a locked profile is refused, and the error asks for --base."""
    update_lock(path, [locked()])
    candidate = run_of(path, "old", locked(batch_size=9), report=False)
    update_lock(path, [ON_A100])
    before = path.read_bytes()
    with pytest.raises(LockError) as caught:
        merge_into(path, [candidate])
    assert str(caught.value) == (
        "old/candidate.lock was not made from gpu-profile.lock: it has no resnet18-a100-224 on "
        "NVIDIA A100-SXM4-40GB; name with --base the lockfile that it was made from"
    )
    assert before == path.read_bytes()


def test_two_values_of_one_profile_are_a_conflict(path: Path) -> None:
    """Each conflict has a line with case, device, files and both values, and nothing is written."""
    update_lock(path, [locked()])
    before = path.read_bytes()
    one = run_of(path, "one", locked(batch_size=3000), ON_A100)
    other = run_of(
        path, "other", locked(batch_size=3100, learning_rate=0.1), replace(ON_A100, recipe="r2")
    )
    with pytest.raises(LockError) as caught:
        merge_into(path, [one, other])
    files = "one/candidate.lock and other/candidate.lock"
    assert str(caught.value).splitlines() == [
        f"resnet18-a100-224 on NVIDIA A100-SXM4-40GB: {files} have recipe sha256:r1 and r2",
        (
            f"resnet18-h200-224 on NVIDIA H200: {files} have batch_size 3000 and 3100, "
            "learning_rate 0.00316 and 0.1, learning_rate_range [0.002107, 0.00474] and "
            "[0.06667, 0.15]"
        ),
        (
            "nothing is merged: lock these cases again, or merge without the lockfile whose values "
            "you do not want"
        ),
    ]
    assert before == path.read_bytes()


def test_the_same_value_twice_is_no_conflict(path: Path) -> None:
    """Two runs that found the same values are no conflict."""
    update_lock(path, [locked()])
    runs = [run_of(path, name, locked(batch_size=3000)) for name in ("one", "other")]
    merge_into(path, runs)
    assert sizes(path) == {"resnet18-h200-224": 3000}


def test_first_profiles_make_the_lockfile(path: Path) -> None:
    """If nothing was locked yet, the candidates make up the whole lockfile."""
    runs = [run_of(path, "one", locked()), run_of(path, "other", ON_A100)]
    before, after = merge_into(path, runs)
    assert (before.exists, [str(difference) for difference in diff(before, after)]) == (
        False,
        [
            "resnet18-a100-224 on NVIDIA A100-SXM4-40GB: added",
            "resnet18-h200-224 on NVIDIA H200: added",
        ],
    )
    assert len(read_lock(path)) == 2


def lock_of(name: str, *profiles: LockedProfile, **extra: int) -> Lock:
    """Return a lock without writing a file."""
    return Lock(Path(name), profiles, exists=True, extra=extra)


def test_what_a_branch_removed_is_removed() -> None:
    """A profile that one side removed and the other left unchanged is removed."""
    base = lock_of("base", locked(), ON_A100)
    assert list(merge(base, base, [lock_of("theirs", locked())])) == [locked()]
    assert list(merge(base, lock_of("ours", locked()), [base])) == [locked()]


def test_removed_here_and_changed_there_is_a_conflict() -> None:
    """A profile that one side removed and the other changed is a conflict."""
    base, changed = lock_of("base", ON_A100), lock_of("theirs", replace(ON_A100, batch_size=1))
    with pytest.raises(
        LockError, match=r"resnet18-a100-224 on .*: ours removes it, theirs changes it"
    ):
        merge(base, lock_of("ours"), [changed])


def test_unknown_keys_are_merged_as_profiles_are() -> None:
    """Unknown top-level keys are merged by the same rule as profiles."""
    base, ours = lock_of("base", a=1, b=1, c=1), lock_of("ours", a=2, b=1, d=4)
    assert merge(base, ours, [lock_of("theirs", a=1, b=3, c=1)]).extra == {"a": 2, "b": 3, "d": 4}
    with pytest.raises(LockError, match=r"^a: ours and theirs differ\n"):
        merge(base, ours, [lock_of("theirs", a=3, b=1, c=1)])


def test_a_device_is_the_same_within_its_tolerance() -> None:
    """A slightly different memory total of the same GPU, from another driver, adds no profile."""
    drifted = locked(batch_size=9, device=replace(H200, memory_bytes=H200.memory_bytes + 2**20))
    base = lock_of("base", locked())
    assert list(merge(base, base, [lock_of("theirs", drifted)])) == [drifted]


def test_the_verb_tells_what_changed(lock: Path, capsys: Output) -> None:
    """`merge` lists the changes as `diff` does; a second merge changes nothing."""
    candidate = run_of(lock, "run", of_case(batch_size=3000), of_case("other"))
    arguments = ["merge", "--lock", str(lock), str(candidate)]
    assert 0 == main(arguments)
    assert [
        f"{CASE} on cpu, 48.0 MiB",
        "  batch_size  3328 -> 3000  -9.9%",
        "other-cpu-48MiB-1 on cpu, 48.0 MiB: added, batch_size 3328, learning_rate 0.00316",
    ] == capsys.readouterr().out.splitlines()
    assert 0 == main(arguments)
    assert "nothing to merge: profiles/gpu-profile.lock holds it all\n" == capsys.readouterr().out


def test_a_candidate_that_is_not_there_is_told(lock: Path, capsys: Output) -> None:
    """A missing candidate ends with exit code 2 and leaves the lock unchanged."""
    before = lock.read_bytes()
    assert 2 == main(["merge", "absent.lock"])
    assert "gpu-profile: absent.lock does not exist\n" == capsys.readouterr().err
    assert before == lock.read_bytes()
