"""What doctor says of memory, compiler and environment variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from doctor import findings, not_ok
from hostile_words import HOSTILE, assert_harmless
from projects import make_files

from harness.doctor import machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.doctor.findings import Finding, Project


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take every variable that doctor tells out of the environment."""
    for name in machine.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_clean_environment_is_ok(unset: pytest.MonkeyPatch) -> None:
    """Without such variables there is nothing to tell."""
    assert ["no variable is set that changes results"] == [
        one.found for one in findings(machine.environment)
    ]


def test_variables_that_change_results_are_notes(unset: pytest.MonkeyPatch) -> None:
    """Each has its value, what it changes, and how it is unset."""
    unset.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    expected = (
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True: it is part of the recipe: other values "
        "make the lock stale -> `unset PYTORCH_CUDA_ALLOC_CONF`, unless it is meant"
    )
    assert [("note", expected)] == not_ok(machine.environment)


def test_variable_that_forbids_a_run_is_wrong(unset: pytest.MonkeyPatch) -> None:
    """Without torch's caching allocator nothing bounds a probe: a run refuses it, too."""
    unset.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")
    ((level, text),) = not_ok(machine.environment)
    assert "wrong" == level
    assert "unset it" in text


def test_value_of_a_variable_is_harmless(unset: pytest.MonkeyPatch) -> None:
    """What another program has set steers no terminal."""
    unset.setenv("PYTEST_ADDOPTS", HOSTILE.replace("\x00", ""))
    ((_, text),) = not_ok(machine.environment)
    assert_harmless(text)


def test_compiler_that_is_missing_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only simulated GPUs need one, so nothing is wrong."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    level, text = not_ok(machine.compiler)[0]
    assert "note" == level
    assert "apt-get install gcc libc6-dev" in text


def test_compiler_that_compiles_nothing_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler without the C library's headers is found out by a small program."""
    program = (
        make_files(tmp_path, {"cc": "#!/bin/sh\necho stdio.h: not found >&2\nexit 1\n"}) / "cc"
    )
    program.chmod(0o755)
    monkeypatch.setenv("CC", str(program))
    level, text = not_ok(machine.compiler)[0]
    assert "note" == level
    assert f"{program} compiles no program: stdio.h: not found -> install" in text


def test_little_memory_is_told_with_what_limits_it(tmp_path: Path) -> None:
    """In a container its own limit counts, not the host's memory."""
    root = make_files(
        tmp_path,
        {
            "proc/meminfo": "MemAvailable: 33554432 kB\n",
            "proc/self/cgroup": "0::/job\n",
            "sys/fs/cgroup/job/memory.max": "1073741824\n",
            "sys/fs/cgroup/job/memory.current": "536870912\n",
        },
    )

    def check(project: Project) -> Iterator[Finding]:
        return machine.memory(project, root)

    ((level, text),) = [one for one in not_ok(check) if "cgroup" in one[1]]
    assert "note" == level
    assert f"the cgroup {root}/sys/fs/cgroup/job (limit 1.0 GiB) has 512.0 MiB of memory" in text
