"""`gpu-profile merge` as git's merge driver, in real repositories, as docs/ci.md configures it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from measurements import A100, locked

from harness.lockfile.profiles import LockedProfile, parse_lock, read_lock
from harness.lockfile.toml_text import LockText
from harness.lockfile.write import prune, update_lock

DOCS = Path(__file__).parents[2] / "docs" / "ci.md"
H200, VIT, OTHER = "resnet18-h200-224", "vit-h200-224", "resnet18-a100-224"
GIT = shutil.which("git")
ON_A100 = locked(gpu="a100", device=A100)

pytestmark = pytest.mark.skipif(GIT is None, reason="git is not installed")


class Repository:
    """A repository with the branches `main` and `theirs`; its lock holds two cases of 3328."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "profiles" / "gpu-profile.lock"
        self.lock.parent.mkdir()
        text = DOCS.read_text(encoding="utf-8")
        assert "profiles/gpu-profile.lock merge=gpu-profile\n" in text
        # The documents' command, with this Python in place of the one on the user's PATH.
        code = "import sys; from harness.cli import main; sys.exit(main())"
        shown = '"gpu-profile merge --base %O --lock %A %B"'
        assert f"git config merge.gpu-profile.driver {shown}\n" in text
        driver = shown.strip('"').replace("gpu-profile", f"{sys.executable} -P -c '{code}'", 1)
        self.git("init", "-q", "-b", "main")
        for name, value in (
            ("user.name", "x"),
            ("user.email", "x@y.z"),
            ("commit.gpgsign", "false"),
            ("merge.gpu-profile.driver", driver),
        ):
            self.git("config", name, value)
        (root / ".gitattributes").write_text("profiles/gpu-profile.lock merge=gpu-profile\n")
        self.commit(locked(), locked(model="vit"))
        self.git("branch", "theirs")

    def git(self, *arguments: str, code: int = 0) -> str:
        """Run git, which must end with this exit code; return all that it printed."""
        done = subprocess.run(
            [str(GIT), *arguments], cwd=self.root, capture_output=True, text=True, check=False
        )
        printed = done.stdout + done.stderr
        assert code == done.returncode, printed
        return printed

    def commit(self, *profiles: LockedProfile) -> None:
        """Lock profiles and commit them."""
        update_lock(self.lock, profiles)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "lock")

    def remove(self, *kept: str) -> None:
        """Remove the profiles of other cases than these, and commit."""
        prune(self.lock, set(kept))
        self.git("commit", "-q", "-a", "-m", "prune")

    def sizes(self) -> dict[str, int]:
        """Return the batch sizes of the lock in the working tree."""
        return {profile.case_id: profile.batch_size for profile in read_lock(self.lock)}

    def sides(self) -> list[dict[str, int]]:
        """Return the batch sizes of base, ours and theirs, which git keeps of an open conflict."""
        found = []
        for stage in (1, 2, 3):
            text = self.git("show", f":{stage}:profiles/gpu-profile.lock")
            lock = parse_lock(LockText(self.lock, text))
            found.append({profile.case_id: profile.batch_size for profile in lock})
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Make a repository with the driver and a branch `theirs`."""
    return Repository(tmp_path)


def test_different_cases_merge(repository: Repository) -> None:
    """What each branch changed or added is there; neighbouring blocks are no conflict."""
    repository.commit(locked(batch_size=3000))
    repository.git("checkout", "-q", "theirs")
    repository.commit(locked(model="vit", batch_size=9), ON_A100)
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "-m", "merge", "theirs")
    assert {OTHER: 3328, H200: 3000, VIT: 9} == repository.sizes()
    assert "" == repository.git("status", "--porcelain")


@pytest.mark.slow
def test_what_a_branch_removed_stays_removed(repository: Repository) -> None:
    """A profile that one branch removed goes, and what the other one changed stays."""
    repository.remove(H200)
    repository.git("checkout", "-q", "theirs")
    repository.commit(locked(batch_size=3000))
    repository.git("merge", "-q", "-m", "merge", "main")
    assert {H200: 3000} == repository.sizes()


@pytest.mark.parametrize("removes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_conflict_in_one_case_loses_nothing(repository: Repository, *, removes: bool) -> None:
    """Git stops and keeps all sides; nothing is committed, and `git merge --abort` goes back."""
    if removes:
        repository.remove(VIT)
    else:
        repository.commit(locked(batch_size=3000))
    before = repository.sizes()
    repository.git("checkout", "-q", "theirs")
    repository.commit(locked(batch_size=3100), locked(model="vit", batch_size=9))
    repository.git("checkout", "-q", "main")
    told = repository.git("merge", "theirs", code=1)
    assert "take the lockfile of one side (git checkout --ours, or --theirs)" in told
    assert "CONFLICT (content): Merge conflict in profiles/gpu-profile.lock" in told
    expected = (
        "ours removes it, theirs changes it" if removes else "ours and theirs have batch_size"
    )
    assert f"{H200} on NVIDIA H200: {expected}" in told
    old = {H200: 3328, VIT: 3328}
    assert [old, before, {H200: 3100, VIT: 9}] == repository.sides()
    assert "UU profiles/gpu-profile.lock\n" == repository.git("status", "--porcelain")
    repository.git("merge", "--abort")
    assert before == repository.sizes()


@pytest.mark.slow
def test_conflict_is_solved_by_taking_one_side(repository: Repository) -> None:
    """After `git checkout --theirs` the lock is theirs, and the merge can be committed."""
    repository.commit(locked(batch_size=3000))
    repository.git("checkout", "-q", "theirs")
    repository.commit(locked(batch_size=3100))
    repository.git("merge", "main", code=1)
    repository.git("checkout", "--theirs", "profiles/gpu-profile.lock")
    repository.git("commit", "-q", "-a", "-m", "take main's")
    assert {H200: 3000, VIT: 3328} == repository.sizes()


@pytest.mark.parametrize(
    "command",
    ["rebase", *(pytest.param(one, marks=pytest.mark.slow) for one in ("cherry-pick", "stash"))],
)
def test_other_commands_merge_with_it(repository: Repository, command: str) -> None:
    """A rebase, a cherry-pick and a stash join the cases of both sides, as a merge does."""
    repository.commit(locked(batch_size=3000))
    repository.git("checkout", "-q", "theirs")
    if command == "stash":
        update_lock(repository.lock, [locked(model="vit", batch_size=9)])
        repository.git("stash", "-q")
        repository.git("merge", "-q", "main")
        repository.git("stash", "pop", "-q")
    else:
        repository.commit(locked(model="vit", batch_size=9))
        repository.git(
            *{"rebase": ("rebase", "-q"), "cherry-pick": ("cherry-pick",)}[command], "main"
        )
    assert {H200: 3000, VIT: 9} == repository.sizes()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["rebase", "cherry-pick", "stash"])
def test_conflict_of_other_commands_loses_nothing(repository: Repository, command: str) -> None:
    """They stop with all sides in the index; a stash stays in the list."""
    repository.commit(locked(batch_size=3000))
    repository.git("checkout", "-q", "theirs")
    if command == "stash":
        update_lock(repository.lock, [locked(batch_size=3100)])
        repository.git("stash", "-q")
        repository.git("merge", "-q", "main")
        repository.git("stash", "pop", code=1)
        assert "stash@{0}" in repository.git("stash", "list")
    else:
        repository.commit(locked(batch_size=3100))
        repository.git(command, "main", code=1)
    values = [side[H200] for side in repository.sides()]
    assert (3328, [3000, 3100]) == (values[0], sorted(values[1:]))


@pytest.mark.slow
def test_damaged_side_is_a_conflict(repository: Repository) -> None:
    """A lock that no longer parses is never merged by chance; git keeps it beside ours."""
    repository.commit(locked(batch_size=3000))
    repository.git("checkout", "-q", "theirs")
    repository.lock.write_text("version = 1\n<<<<<<< HEAD\n")
    repository.git("commit", "-q", "-a", "-m", "damage")
    repository.git("checkout", "-q", "main")
    told = repository.git("merge", "theirs", code=1)
    assert "gpu-profile: .merge_file_" in told
    assert ":2: " in told
    assert {H200: 3000, VIT: 3328} == repository.sizes()


@pytest.mark.slow
def test_file_that_one_branch_deleted_is_gits_own_conflict(repository: Repository) -> None:
    """Git does not ask the driver; it keeps the file that the other branch changed."""
    repository.git("rm", "-q", "profiles/gpu-profile.lock")
    repository.git("commit", "-q", "-m", "remove")
    repository.git("checkout", "-q", "theirs")
    repository.commit(locked(batch_size=3100))
    assert "CONFLICT (modify/delete)" in repository.git("merge", "main", code=1)
    assert {H200: 3100, VIT: 3328} == repository.sizes()


@pytest.mark.slow
def test_both_branches_add_the_file(repository: Repository) -> None:
    """Without a common lock git gives an empty base, and the cases of both are there."""
    for branch, profile in (("one", locked()), ("two", ON_A100)):
        repository.git("checkout", "-q", "--orphan", branch)
        repository.lock.unlink(missing_ok=True)
        repository.commit(profile)
    repository.git("merge", "-q", "--allow-unrelated-histories", "-m", "merge", "one")
    assert {OTHER: 3328, H200: 3328} == repository.sizes()
