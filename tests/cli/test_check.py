"""The verb `check` lists missing, stale, orphaned and broken cases, without a device."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command_line import CASE, Output, configure, of_case
from measurements import CPU as CPU_512
from zoo import Net, Numbers

from harness.cli.command_line import main
from harness.identity.fingerprint import describe_data, describe_module, fingerprint
from harness.identity.recipe import recipe
from harness.lockfile.write import update_lock
from harness.matrix.cases import load_matrix

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project


def lock_one_workload_thrice(project: Project, builds: Path) -> None:
    """Lock three of four cases of one workload.

    One is up to date, one has another recipe, and one has another fingerprint. The lockfile also
    holds a profile of a former budget and one of a former case.
    """
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("resolution: [1]", "resolution: [1, 2, 3, 4]")
    matrix.write_text(text.replace("zoo.Net", "counted.Net"), encoding="utf-8")
    (project.path / "profiles" / "counted.py").write_text(
        f"from zoo import Net\nopen({str(builds)!r}, 'a').write('built ')\n", encoding="utf-8"
    )
    case = load_matrix(matrix, search_path=(str(matrix.parent),))[0]
    # A setting of a module, whose name needs quotes in the lockfile, and one of the allocator.
    made = recipe(
        case, {"cudnn.benchmark": True, "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
    )
    workload = describe_module(Net()) | describe_data(Numbers())
    fresh = of_case(
        recipe=made.digest,
        settings=made.settings,
        workload=workload,
        fingerprint=fingerprint(workload),
    )
    smaller = made.settings | {"gpu.budget": 1 << 20}
    update_lock(
        project.lock,
        [
            fresh,
            replace(
                fresh, axes=fresh.axes | {"resolution": 2}, recipe="sha256:r1", settings=smaller
            ),
            replace(fresh, axes=fresh.axes | {"resolution": 3}, fingerprint="sha256:f1"),
            of_case(device=CPU_512),
            of_case("gone"),
        ],
    )


def test_check_tells_what_is_missing_stale_and_orphaned(
    project: Project, lock: Path, tmp_path: Path, capsys: Output
) -> None:
    """`check` needs no device, builds the workload of several cases once, and exits with 1."""
    builds = tmp_path / "builds"
    lock_one_workload_thrice(project, builds)
    assert 1 == main(["check"])
    expected = """\
ok        net-cpu-48MiB-1
stale     net-cpu-48MiB-2   locked with another recipe: gpu.budget 1048576 -> 50331648
stale     net-cpu-48MiB-3   locked with another workload: by a version of gpu-profile that \
recorded it differently
missing   net-cpu-48MiB-4   never locked
orphaned  gone-cpu-48MiB-1  not in the matrix
orphaned  net-cpu-48MiB-1   locked on cpu, 512.0 MiB, which its GPU label no longer matches: \
remove the block
1 of 4 cases are locked and up to date in profiles/gpu-profile.lock
lock what is missing or stale with: pytest --gpu-profile --gpu-profile-update
remove what is not in the matrix with: gpu-profile prune
"""
    assert expected == capsys.readouterr().out
    assert "built " == builds.read_text(encoding="utf-8")


def test_check_without_a_lock_misses_every_case(
    project: Project, lock: Path, capsys: Output
) -> None:
    """Without a lockfile every case is missing."""
    lock.unlink()
    assert 1 == main(["check"])
    assert [
        f"missing   {CASE}  never locked",
        "0 of 1 cases are locked and up to date in the missing profiles/gpu-profile.lock",
        "lock what is missing or stale with: pytest --gpu-profile --gpu-profile-update",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("new_zygotes")
def test_check_tells_a_workload_that_cannot_be_built(
    project: Project, lock: Path, capsys: Output
) -> None:
    """A case is broken if its process dies in building; the message names the command to try."""
    (project.path / "src").mkdir()
    (project.path / "src" / "torch.py").write_text("import os\nos._exit(3)\n", encoding="utf-8")
    configure(project, "pythonpath = src")
    how = f"gpu-profile probe {CASE} --batch-size 1"
    assert 1 == main(["check"])
    assert [
        f"broken    {CASE}  the process that builds the workload exited with code 3; see: {how}",
        "0 of 1 cases are locked and up to date in profiles/gpu-profile.lock",
    ] == capsys.readouterr().out.splitlines()
