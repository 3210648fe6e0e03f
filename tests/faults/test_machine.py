"""Trouble with the machine: full disks, full shared memory, the kernel's out-of-memory killer.

Each test runs in a mount namespace of its own, with small file systems. Where namespaces are not
allowed, the tests are skipped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from faulty_runs import GPU, LOCK, namespaces_allowed, of, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.probes,
    pytest.mark.skipif(not namespaces_allowed(), reason="no mount namespaces on this machine"),
]


@pytest.mark.slow
def test_full_shared_memory_is_an_error_and_bounds_nothing(tmp_path: Path) -> None:
    """A batch that a worker cannot hand over is an error: no smaller batch is locked instead.

    This holds for a worker that raises, and for one that prints the reason and goes on while its
    loader waits for ever.
    """
    search = {"max_batch_size": 16, "probe_timeout": 6}
    models = {
        "raises": of("bad_zoo.BigNet", "bad_zoo.BigSamples", search=search),
        "hangs": of("bad_zoo.BigNet", "bad_zoo.LateBigSamples", search=search),
    }
    ran = run(tmp_path, models, prelude="mount -t tmpfs -o size=1m tmpfs /dev/shm")
    for model in models:
        shown = ran.shown(model)
        assert (
            "]: train batch 2 failed in data: the shared memory of this machine is used up: "
            in shown
        )
        assert "docker run --shm-size" in shown
        assert f"PROJECT/.gpu-profile/{model}-{GPU}-1/002-train-b2.log" in shown
        assert ("error", None) == (ran.verdict(model), ran.case(model)["bounded_by"])
    assert "timed out after 6 s" in ran.shown("hangs")
    assert (1, (), LOCK) == (ran.code, ran.leftovers, ran.lock)


@pytest.mark.slow
def test_killed_by_the_kernel_is_an_error(tmp_path: Path) -> None:
    """A SIGKILL of the kernel's out-of-memory killer is an error, in a probe and in building.

    The file replaces /proc/vmstat, where the kernel counts its kills; the signal is real.
    """
    counts = tmp_path / "vmstat"
    counts.write_text("oom_kill 7\n", encoding="ascii")
    models = {
        "probe": of("bad_zoo.KilledByTheKernel"),
        "built": of("bad_zoo.KilledByTheKernelInInit"),
    }
    ran = run(
        tmp_path,
        models,
        "-n2",
        prelude="mount --bind vmstat /proc/vmstat",
        environment={"STAND_IN_VMSTAT": str(counts)},
    )
    remedy = "the kernel killed a process for lack of memory: the host or its cgroup is full"
    for model, log in (("probe", "002-train-b2.log"), ("built", "zygote.log")):
        shown = ran.shown(model)
        assert remedy in shown
        assert f"PROJECT/.gpu-profile/{model}-{GPU}-1/{log}" in shown
        assert ("error", "error") == (ran.verdict(model), ran.case(model)["status"])
    assert "batch 2" in ran.shown("probe")
    assert (1, (), LOCK) == (ran.code, ran.leftovers, ran.lock)


@pytest.mark.slow
def test_full_disk_of_the_results_is_an_error_and_costs_no_lock(tmp_path: Path) -> None:
    """Cases measured before the disk was full are locked; the others are errors with a remedy."""
    models = {"net": of("zoo.Net"), "talks": of("bad_zoo.Talks")}
    ran = run(
        tmp_path,
        models,
        prelude="mkdir .gpu-profile; mount -t tmpfs -o size=72k tmpfs .gpu-profile",
    )
    assert "a disk of this machine is full: make room where the training" in ran.shown("talks")
    assert ("passed", "error") == (ran.verdict("net"), ran.verdict("talks"))
    told = ran.output.partition("gpu profiles ===")[2]
    assert re.search(r"\.gpu-profile\S*: .*No space left on device", told) is not None, told
    assert "Traceback" not in ran.output
    assert 'model = "net"' in ran.lock
    assert ran.lock.startswith("version = 1\n")
    assert (1, ()) == (ran.code, ran.leftovers)


def test_disk_that_is_full_from_the_start_is_an_error(tmp_path: Path) -> None:
    """If not even a log can be opened, the case is an error, and the run ends in order."""
    prelude = "mkdir .gpu-profile; mount -t tmpfs -o nr_inodes=1 tmpfs .gpu-profile"
    ran = run(tmp_path, {"net": of("zoo.Net")}, prelude=prelude)
    assert "No space left on device" in ran.shown("net")
    assert ("error", 1, (), LOCK) == (ran.verdict("net"), ran.code, ran.leftovers, ran.lock)


def test_full_disk_of_the_lock_leaves_it_as_it_was(tmp_path: Path) -> None:
    """A lockfile that cannot be written stays whole; the message names it, and the run fails."""
    lock = "profiles/gpu-profile.lock"
    prelude = (
        "cp -r profiles kept; mount -t tmpfs -o size=64k tmpfs profiles; cp kept/* profiles; "
        "head -c 100000 /dev/zero 2>/dev/null >profiles/full || true; "
        # The lockfile is copied out before the namespace ends with the run.
        f'trap "cp {lock} after" EXIT; "$@"; exit'
    )
    ran = run(tmp_path, {"net": of("zoo.Net")}, prelude=prelude)
    assert f"{lock}: cannot be written: No space left on device" in ran.output
    assert LOCK == (tmp_path / "after").read_text(encoding="utf-8")
    assert ("passed", 1, ()) == (ran.verdict("net"), ran.code, ran.leftovers)
