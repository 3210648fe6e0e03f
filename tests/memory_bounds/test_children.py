"""The processes that a probe starts are not bounded by its memory limit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from projects import MIB, workload

if TYPE_CHECKING:
    from pathlib import Path

    from projects import StartRunner

LIMITED = """
import multiprocessing, os, resource, subprocess, sys
from harness.memory_bounds.children import free_children

def limit():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]

def unlimited(*_):
    sys.exit(0 if limit() == resource.RLIM_INFINITY else 1)

if __name__ == "__main__":
    free_children()
    free_children()
    size = 1 << 34
    resource.setrlimit(resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))
    code = "import sys, resource; sys.exit(resource.getrlimit(resource.RLIMIT_DATA)[0] != -1)"
    program = [sys.executable, "-c", code]

    def started_by(way):
        if way == "fork":
            pid = os.fork()
            if pid == 0:
                unlimited()
            return os.waitpid(pid, 0)[1]
        if way == "posix_spawn":
            return os.waitpid(os.posix_spawn(program[0], program, os.environ), 0)[1]
        if way == "system":
            return os.system(f"{program[0]} -c '{code}'")
        if way == "popen":
            return os.popen(f"{program[0]} -c '{code}'").close() or 0
        if way == "run":
            return subprocess.run(program).returncode
        if way == "run without closing":
            return subprocess.run(program, close_fds=False).returncode
        if way == "run with preexec":
            return subprocess.run(program, preexec_fn=os.getpid).returncode
        process = multiprocessing.get_context(way).Process(target=unlimited)
        process.start()
        process.join()
        return process.exitcode

    code_of_way = started_by(sys.argv[1])
    assert limit() == size, "the parent's own limit has changed"
    failing = os.system("exit 3")
    assert failing == 3 << 8, failing
    sys.exit(code_of_way)
"""


@pytest.mark.parametrize(
    "way",
    [
        "fork",
        "forkserver",
        "popen",
        "posix_spawn",
        "run",
        "run with preexec",
        "run without closing",
        "spawn",
        "system",
    ],
)
def test_child_is_not_limited(way: str, tmp_path: Path) -> None:
    """However Python starts it; the limit of its parent stays."""
    script = tmp_path / "limited.py"
    script.write_text(LIMITED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script, way],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert resource.RLIM_INFINITY == resource.getrlimit(resource.RLIMIT_DATA)[0]


@pytest.mark.parametrize(
    ("greedy", "outcome", "detail"), [(False, "fits", None), (True, "oom", "MemoryError")]
)
def test_probe_stays_bounded_beside_large_children(
    start: StartRunner, greedy: bool, outcome: str, detail: str | None
) -> None:
    """Workers of 100 MiB and a program of 200 MiB run under 64 MiB; the probe takes no such."""
    spec = workload(
        "children_zoo.Compiles", "children_zoo.DecodedNumbers", module_args={"greedy": greedy}
    )
    probe = start(spec).train(4, steps=2)
    assert (outcome, detail) == (probe.outcome, probe.detail)


def test_threads_that_serve_workers_are_no_memory_of_the_case(start: StartRunner) -> None:
    """Six workers have a thread each, whose stacks of 8 MiB would not fit."""
    runner = start(workload("zoo.Net", data_args={"num_workers": 6}), 24 * MIB)
    probe = runner.train(4, steps=2)
    assert ("fits", None) == (probe.outcome, probe.detail)
    assert (probe.peak_memory_bytes or 0) < 8 * MIB
