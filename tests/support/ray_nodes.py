"""A Ray cluster of several nodes on this machine, in processes of its own.

As a program it is the process that starts and ends them: it prints the address, and obeys lines on
its standard input. As a module it has the tests' side. Tests import no Ray: what it does to a
process would outlive them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

_OBJECT_STORE = 80 << 20  # the least that Ray takes is 75 MiB


class RayNodes:
    """A running cluster; a context manager, which ends all of its processes.

    nodes: for each node but the head its CPUs, its GPUs and its custom resources, which are
        numbers, and variables of its environment, which are texts; nothing runs on the head.
    environment: of all processes of the cluster; None: that of this one.
    """

    def __init__(
        self, *nodes: Mapping[str, float | str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._environment = os.environ if environment is None else environment
        # The sockets' paths must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.variables = {
            "RAY_TMPDIR": str(self._folder),
            # Workers would otherwise wait for everything else that runs here.
            "RAY_worker_niceness": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DISABLE_IMPORT_WARNING": "1",
        }
        with (self._folder / "cluster.log").open("wb") as log:
            self._process = self._start(log)
        try:
            self.variables["RAY_ADDRESS"] = self._tell("start")
            for node in nodes:
                self.add(node)
        except BaseException:
            self.__exit__()
            raise

    def _start(self, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**self._environment, **self.variables},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the cluster, and remove its files; fail where one of its processes is left."""
        with self._process:
            self._pipe(self._process.stdin).close()
            self._process.wait(60)
        left = self._processes()
        for one in left:
            one.kill()
        psutil.wait_procs(left)
        shutil.rmtree(self._folder)
        assert [] == [one.pid for one in left]

    def add(self, node: Mapping[str, float | str]) -> str:
        """Start a node; return its id."""
        return self._tell(f"add {json.dumps(node)}")

    def kill(self, start_of_id: str) -> None:
        """Kill a node and all that runs there, as a power cut does."""
        self._tell(f"kill {start_of_id}")

    def kill_head(self) -> None:
        """Kill the process that knows the nodes, and without which Ray ends all others."""
        for one in self._processes():
            if "gcs_server" in one.cmdline()[0]:
                one.kill()

    def _tell(self, line: str) -> str:
        pipe = self._pipe(self._process.stdin)
        pipe.write(line + "\n")
        pipe.flush()
        answer = self._pipe(self._process.stdout).readline().strip()
        assert answer, (self._folder / "cluster.log").read_text()
        return answer

    def _processes(self) -> list[psutil.Process]:
        found = []
        for one in psutil.process_iter():
            try:
                if self._process.pid != one.pid and str(self._folder) in " ".join(one.cmdline()):
                    found.append(one)
            except psutil.Error:
                continue
        return found

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def main() -> None:
    """Start the cluster, and obey until the standard input ends."""
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - the tests' side imports no Ray

    # Ray prints to the standard output as well.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cluster = Cluster()
    nodes = {}
    numbers = count()
    common: dict[str, Any] = {"object_store_memory": _OBJECT_STORE, "include_dashboard": False}
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        if verb == "start":
            cluster.add_node(num_cpus=0, **common)
            answer = cluster.address
        elif verb == "add":
            given = json.loads(rest)
            variables = {name: given.pop(name) for name in [*given] if type(given[name]) is str}
            cpus, gpus = given.pop("CPU", 0), given.pop("GPU", 0)
            # A machine of its own: nodes of one folder overwrite each other's copy of the project.
            place: dict[str, Any] = {"runtime_env_dir_name": f"node-{next(numbers)}"}
            node = cluster.add_node(
                num_cpus=cpus, num_gpus=gpus, resources=given, env_vars=variables, **place, **common
            )
            nodes[node.node_id] = node
            answer = node.node_id
        else:
            (name,) = (one for one in nodes if one.startswith(rest))
            # Its workers with it: they would else end by themselves a moment later.
            cluster.remove_node(nodes.pop(name), allow_graceful=False)
            answer = "killed"
        answers.write(answer + "\n")
        answers.flush()
    cluster.shutdown()  # type: ignore[no-untyped-call] # Ray leaves it untyped


if __name__ == "__main__":
    main()
