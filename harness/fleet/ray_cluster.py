"""Runs tasks on a Ray cluster: the one that Ray itself finds, by RAY_ADDRESS or on this machine.

Ray is imported inside functions: it is the extra `ray`. What the nodes have is asked of NVML there,
in a task on each: Ray's own label of an accelerator (`A100`) does not tell its memory.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.device_identity import DeviceIdentity
from harness.errors import MachineError
from harness.fleet import answers
from harness.fleet.executor import Answered, Began, Lost, Node
from harness.fleet.ray_connection import Head, connect, first_line, imported
from harness.fleet.survey import differences, survey, unlike, versions_here, why_not
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.fleet.executor import Event, Task
    from harness.fleet.job import Job

_NODE_ID = "ray.io/node-id"
# A node starts a process for the first task, after it has unpacked the project.
_SURVEY_SECONDS = 60.0
_EXCLUDED = (".git", ".venv", "venv", "__pycache__")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NOT_CUSTOM = ("CPU", "GPU", "memory", "object_store_memory")


class RayCluster:
    """A Ray cluster to which this process is connected, until `close`.

    Args:
        root: the folder of the project, which Ray copies to the nodes.
        excluded: folders in it that stay here.

    Raises HarnessError where Ray is not installed, no cluster is there, or the project is too
    large.

    """

    name = "the Ray cluster"

    def __init__(self, root: Path, excluded: Sequence[str] = ()) -> None:
        self._ray = ray = imported()
        connect(ray, root, (*_EXCLUDED, *excluded))
        self._head = Head(ray)
        self._is_open = True
        self._here = versions_here()
        self._surveys: dict[str, Any] = {}
        self._known: dict[str, dict[str, Any] | str] = {}
        self._running: dict[str, _Running] = {}
        self._ready: deque[_Running] = deque()
        self._job: Any = None
        # Nested functions travel as they are: a node may lack this package.
        self._survey = ray.remote(max_retries=1, num_cpus=0)(survey())
        self._measure = ray.remote(max_retries=0, num_returns="streaming")(_measure())
        self._alive = self._nodes_of_ray()
        self._ask(self._alive, _SURVEY_SECONDS)

    def nodes(self) -> Sequence[Node]:
        """Return the nodes that are alive and have told what they have.

        Raises MachineError when the head of the cluster is gone.
        """
        if self._head.answers():  # it may come back: until then the nodes are as they were
            self._alive = self._nodes_of_ray()
            self._ask(self._alive, 0.0)
        return [
            self._node(one, self._known[one["NodeID"]])
            for one in self._alive
            if one["NodeID"] in self._known
        ]

    def begin(self, job: Job) -> None:
        """Put the job where all nodes find it."""
        self._job = self._ray.put(job)

    def submit(self, task: Task) -> None:
        """Start the task of a case; Ray gives it to one of its nodes when one is free."""
        resources = {} if task.label is None else {task.label: max(1, task.case.num_ranks)}
        stream = self._measure.options(
            num_gpus=task.num_gpus,
            num_cpus=task.num_cpus,
            resources=resources,
            label_selector={_NODE_ID: f"in({','.join(task.nodes)})"},
            name=f"gpu-profile {task.case.id}",
        ).remote(task.case, task.profiles, self._job)
        self._running[task.case.id] = _Running(task.case.id, stream)

    def next(self, seconds: float) -> Event | None:
        """Return what the next message of a task says."""
        until = time.monotonic() + seconds
        while self._running:
            if not self._ready and not self._wait(max(0.0, until - time.monotonic())):
                return None
            one = self._ready.popleft()
            # It may have been cancelled meanwhile.
            if self._running.get(one.case_id) is one and (event := self._event(one)) is not None:
                return event
        time.sleep(max(0.0, until - time.monotonic()))
        return None

    def _wait(self, seconds: float) -> bool:
        """Wait for a message, and find all tasks that have one; return whether there is any."""
        streams = {one.stream: one for one in self._running.values()}
        some, _ = self._ray.wait([*streams], timeout=seconds, fetch_local=False)
        if some:
            # Each call looks at all tasks: with thousands of them not one call for each message.
            some, _ = self._ray.wait(
                [*streams], num_returns=len(streams), timeout=0, fetch_local=False
            )
        self._ready.extend(streams[stream] for stream in some)
        return bool(self._ready)

    def cancel(self, case_id: str) -> None:
        """End the task of a case."""
        one = self._running.pop(case_id, None)
        if one is not None and not self._head.is_lost:
            with suppress(Exception):  # it may have ended, and its node be gone
                self._ray.cancel(one.stream, force=True)

    def close(self) -> None:
        """End all tasks, and leave the cluster."""
        if not self._is_open:
            return
        self._is_open = False
        for name in tuple(self._running):
            self.cancel(name)
        # Without the head this may take its time: Ray does it at the end of the process, when the
        # results are written.
        if not self._head.is_lost:
            with suppress(Exception):  # a cluster that is gone costs no result
                self._ray.shutdown()

    def _event(self, one: _Running) -> Event | None:
        """Take one message of a task; None where it tells nothing new."""
        errors = self._ray.exceptions
        try:
            message = self._ray.get(next(one.stream))
        except StopIteration:
            return self._ended(one, "it ended without an answer")
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:
            # A mistake, which another node would repeat.
            if one.answer is None:
                # Ray colours the text, and ends it with the reason.
                told = _COLOURS.sub("", str(error)).strip() or type(error).__name__
                text = f"{one.case_id} cannot be measured: {told.splitlines()[-1]}\n{told}"
                one.answer = answers.of_error(MachineError(text), {})
            return self._ended(one, "")
        except errors.RayError as error:
            return self._ended(one, first_line(error))
        if one.node is None:
            one.node = str(message)
            return Began(one.case_id, one.node)
        if one.answer is None:
            one.answer = bytes(message)
            return None
        one.files = bytes(message)
        return self._ended(one, "")

    def _ended(self, one: _Running, reason: str) -> Event:
        del self._running[one.case_id]
        if one.answer is None:
            return Lost(one.case_id, one.node, reason)
        return Answered(one.case_id, one.node or "", one.answer, one.files)

    def _nodes_of_ray(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _ask(self, nodes: Sequence[dict[str, Any]], seconds: float) -> None:
        """Ask the nodes that are new what they have; wait for the answers at most so long."""
        for node in nodes:
            name = node["NodeID"]
            # The head of a cluster often has no CPUs, so that nothing runs there.
            if name not in self._known and name not in self._surveys and _works(node):
                self._surveys[name] = self._survey.options(
                    label_selector={_NODE_ID: name}, name="gpu-profile: what a node has"
                ).remote()
        until = time.monotonic() + seconds
        alive = {node["NodeID"] for node in nodes}
        while self._surveys:
            refs = {ref: name for name, ref in self._surveys.items()}
            ready, _ = self._ray.wait(
                [*refs], timeout=max(0.0, until - time.monotonic()), fetch_local=True
            )
            if not ready:
                return
            name = refs[ready[0]]
            del self._surveys[name]
            try:
                self._known[name] = json.loads(self._ray.get(ready[0]))
            except self._ray.exceptions.RayError as error:
                if name in alive:
                    self._known[name] = first_line(error)

    def _node(self, one: dict[str, Any], told: dict[str, Any] | str) -> Node:
        resources = one["Resources"]
        custom = frozenset(
            name for name in resources if name not in _NOT_CUSTOM and ":" not in name
        )
        name = f"{one['NodeManagerHostname']} ({one['NodeManagerAddress']})"
        short = f"{name} {one['NodeID'][:8]}"
        cpus = float(resources.get("CPU", 0))
        if isinstance(told, str):
            return Node(one["NodeID"], short, (), cpus, custom, refusal=cut(told))
        gpus = tuple(DeviceIdentity(str(n), int(b)) for n, b in told["gpus"])
        versions = {str(k): str(v) for k, v in told["versions"].items()}
        num_gpus = int(resources.get("GPU", 0))
        gpus = gpus[:num_gpus]
        refusal = why_not(versions, self._here) or unlike(gpus)
        if refusal is None and num_gpus and told["trouble"] is not None:
            refusal = cut(told["trouble"])
        return Node(
            one["NodeID"],
            short,
            gpus,
            cpus,
            custom,
            refusal,
            differences(versions, self._here),
        )


class _Running:
    """A task that has not ended."""

    def __init__(self, case_id: str, stream: Any) -> None:
        self.case_id = case_id
        self.stream = stream
        self.node: str | None = None
        self.answer: bytes | None = None
        self.files: bytes | None = None


def _measure() -> Any:
    """Return the function of a task, which yields the id of its node, an answer and files."""

    def measure(case: Any, profiles: Any, job: Any) -> Iterator[Any]:
        import ray  # noqa: PLC0415 - on the node

        from harness.fleet import ray_node  # noqa: PLC0415 - on the node

        yield ray.get_runtime_context().get_node_id()
        yield from ray_node.measure(case, profiles, job)

    return measure


def _works(node: dict[str, Any]) -> bool:
    resources = node["Resources"]
    return any(resources.get(name, 0) > 0 for name in ("CPU", "GPU"))
