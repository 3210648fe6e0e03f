"""Measures cases on a cluster: all at once, a lost one again and elsewhere, each answer checked."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.devices.device import NoSuchDeviceError
from harness.errors import HarnessError, MachineError
from harness.fleet import answers
from harness.fleet.executor import Answered, Began, Lost, Task
from harness.fleet.nodes import fitting, listed, wanted
from harness.fleet.unfinished import Unfinished, Waiting
from harness.progress.events import Event, tell
from harness.units import format_seconds
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.fleet.executor import Executor, Node
    from harness.fleet.job import Job
    from harness.lockfile.profiles import Lock
    from harness.matrix.case import Case
    from harness.matrix.settings import GpuSettings
    from harness.measurement import Measurement

_log = logging.getLogger("harness")

_MOST_LOSSES = 2
_AHEAD = 2
"""How many cases wait in the cluster for each GPU: none is idle while the tests of a case run."""
_LOOK_SECONDS = 5.0
"""How often nodes are looked for that have joined or are gone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a case."""

    found: Measurement | HarnessError
    files: bytes | None = None


class Fleet:
    """The cases of a run on a cluster.

    Args:
        executor: the cluster; `close` closes it.
        wait_seconds: how long a case waits for a node while none of them works for this run.
        clock: tells the seconds.

    """

    def __init__(
        self,
        executor: Executor,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = executor.name
        self._executor = executor
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, str] = {}
        self._open: dict[str, Unfinished] = {}
        self._waiting: dict[tuple[str, ...], Waiting] = {}
        self._working: Counter[str] = Counter()
        self._fitting: dict[tuple[str, int, GpuSettings], list[Node]] = {}
        self._done: dict[str, Outcome] = {}
        self._ended: list[str] = []
        self._lock: Lock | None = None
        self._looked = -_LOOK_SECONDS
        self._look()

    def nodes_for(self, case: Case) -> list[Node]:
        """Return the nodes that can run a case. Raises NoSuchDeviceError where there is none."""
        found = self._fitting_for(case)
        if not found:
            raise NoSuchDeviceError(
                f"needs {wanted(case)}: {self.name} has {listed(self._nodes.values())}"
            )
        return found

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning for nodes that are alive and cannot be used."""
        refused = [node for node in self._nodes.values() if node.refusal is not None]
        if not refused:
            return ()
        name = self._name(refused[0].id)
        more = f", nor {len(refused) - 1} more" if refused[1:] else ""
        return (f"{name} of {self.name} is not used{more}: {refused[0].refusal}",)

    def start(self, cases: Sequence[Case], lock: Lock, job: Job) -> None:
        """Give all cases to the cluster, the most urgent first; each has nodes that can run it."""
        self._lock = lock
        self._executor.begin(job)
        for case in cases:
            self._open[case.id] = one = Unfinished(case, since=self._clock())
            self._submit(one)

    def outcome(self, case: Case) -> Outcome | None:
        """Return the end of a case; None while it has none."""
        return self._done.get(case.id)

    def place_of(self, case: Case) -> str | None:
        """Return the node that a case runs on; None where it does not run."""
        one = self._open.get(case.id)
        return None if one is None or one.runs_on is None else self._name(one.runs_on)

    def take(self, case: Case) -> Outcome:
        """Return the end of a case, once: those of thousands take memory."""
        return self._done.pop(case.id)

    @property
    def is_idle(self) -> bool:
        """Whether every case that was started has ended."""
        return not self._open

    def wait(self, seconds: float) -> list[str]:
        """Wait for something to happen; return the ids of the cases that have ended by it."""
        self._ended.clear()
        event = self._executor.next(min(seconds, _LOOK_SECONDS))
        if event is not None:
            self._take(event)
        if self._clock() - self._looked >= _LOOK_SECONDS:
            try:
                self._give_to_those_that_are_here(have_changed=self._look())
            except HarnessError as error:  # the cluster is gone, and with it all that has not ended
                for one in tuple(self._open.values()):
                    self._end(one, Outcome(MachineError(f"{one.case.id}: {error}")))
        return list(self._ended)

    def take_what_is_here(self) -> None:
        """Take all that has happened, and wait for nothing more."""
        while (event := self._executor.next(0.0)) is not None:
            self._take(event)

    def wait_for(self, case: Case) -> Outcome:
        """Return the end of a case that was started; wait for it."""
        while (outcome := self.outcome(case)) is None:
            assert case.id in self._open, f"{case.id} was not started"
            self.wait(_LOOK_SECONDS)
        return outcome

    def close(self) -> None:
        """End all tasks, and leave the cluster."""
        self._open.clear()
        self._executor.close()

    def _take(self, event: Began | Answered | Lost) -> None:
        one = self._open.get(event.case_id)
        if one is None:
            return
        one.since = self._clock()
        if isinstance(event, Began):
            waited_for = self._waiting.get(one.nodes)
            self._leave(one)
            if waited_for is not None:
                self._fill(waited_for)
            one.runs_on = event.node
            self._working[event.node] += 1
            tell(Event(one.case.id, "begin", f"on {self._name(event.node)}"))
            _log.info("%s: on %s", one.case.id, self._name(event.node))
        elif isinstance(event, Lost):
            self._lose(one, event)
        else:
            self._answer(one, event)

    def _answer(self, one: Unfinished, event: Answered) -> None:
        name = self._name(event.node)
        try:
            found = answers.read(event.answer, one.case, name)
        except answers.UnreadableAnswerError as error:
            found = MachineError(f"{one.case.id}: the answer of {name} cannot be used: {error}")
        if isinstance(found, NoSuchDeviceError):
            one.mismatches.append(f"{name} {found}")
            one.avoided.add(event.node)
            if fitting(one.case, self._others(one)):
                _log.warning("%s: %s: %s; tried elsewhere", one.case.id, name, found)
                self._submit(one)
                return
            found = MachineError(
                f"{one.case.id} cannot be measured: no node has what {self.name} said of it: "
                + "; ".join(one.mismatches)
            )
        if isinstance(found, HarnessError):
            self._end(one, Outcome(found, event.files))
            return
        notes = tuple(f"{lost}; measured again on {name}" for lost in one.losses)
        node = self._nodes.get(event.node)
        if node is not None and node.differences:
            notes += (f"measured on {name}, which has {'; '.join(map(cut, node.differences))}",)
        if event.files is None:
            notes += (f"its logs and plots were lost with {name}",)
        found = replace(found, warnings=(*found.warnings, *notes))
        self._end(one, Outcome(found, event.files))

    def _lose(self, one: Unfinished, event: Lost) -> None:
        node = event.node or one.runs_on
        where = "its node" if node is None else self._name(node)
        one.losses.append(f"{where} was lost ({cut(event.reason)})")
        if len(one.losses) >= _MOST_LOSSES:
            error = MachineError(
                f"{one.case.id} cannot be measured: {', and then '.join(one.losses)}. It is tried "
                "twice: see the memory and the logs of these nodes"
            )
            self._end(one, Outcome(error))
            return
        _log.warning("%s: %s; it is measured again", one.case.id, one.losses[-1])
        if node is not None:
            one.avoided.add(node)
        self._submit(one)

    def _submit(self, one: Unfinished) -> None:
        """Let a case wait for nodes that can run it; without any it waits for one to join."""
        self._leave(one)
        able = self._able(one)
        one.nodes = tuple(node.id for node in able)
        group = self._waiting.get(one.nodes)
        if group is None:
            most = _AHEAD * sum(len(node.gpus) or math.ceil(node.num_cpus) for node in able)
            group = self._waiting[one.nodes] = Waiting(one.nodes, most)
        group.held[one.case.id] = one
        group.oldest = min(group.oldest, one.since)
        self._fill(group)

    def _fill(self, group: Waiting) -> None:
        """Give the cluster as many cases as it can soon begin; of thousands it would keep count."""
        while group.held and len(group.given) < group.most:
            name = next(iter(group.held))
            group.given[name] = one = group.held.pop(name)
            self._give(one)

    def _give(self, one: Unfinished) -> None:
        able = [self._nodes[node] for node in one.nodes if node in self._nodes]
        assert self._lock is not None, "the fleet has started"
        case = one.case
        is_cpu = case.device.accelerator == "cpu"
        declared = all(case.gpu in node.labels for node in able)
        self._executor.submit(
            Task(
                case,
                tuple(self._lock.of_case(case.id)),
                num_gpus=0 if is_cpu else case.num_ranks,
                num_cpus=case.num_ranks if is_cpu else 0,
                label=case.gpu if declared else None,
                nodes=one.nodes,
            )
        )

    def _able(self, one: Unfinished) -> list[Node]:
        if not one.avoided:
            return self._fitting_for(one.case)
        # A process may be lost where the node is not: then that node is better than none.
        return fitting(one.case, self._others(one)) or (
            [] if one.mismatches else self._fitting_for(one.case)
        )

    def _fitting_for(self, case: Case) -> list[Node]:
        """Return the nodes that can run a case; thousands of cases ask for the same GPU."""
        key = (case.gpu, case.num_ranks, case.device)
        if key not in self._fitting:
            self._fitting[key] = fitting(case, self._nodes.values())
        return self._fitting[key]

    def _leave(self, one: Unfinished) -> None:
        """Take a case from the node that it runs on, or from those that wait."""
        if one.runs_on is not None:
            self._working[one.runs_on] -= 1
            one.runs_on = None
        group = self._waiting.get(one.nodes)
        if group is None:
            return
        was_here = group.given.pop(one.case.id, None) or group.held.pop(one.case.id, None)
        if was_here is not None:
            one.since = max(one.since, group.worked)
        if not group.given and not group.held:
            del self._waiting[one.nodes]

    def _others(self, one: Unfinished) -> list[Node]:
        return [node for node in self._nodes.values() if node.id not in one.avoided]

    def _look(self) -> bool:
        """See which nodes have joined and which are gone; return whether any has."""
        self._looked = self._clock()
        before, self._nodes = self._nodes, {node.id: node for node in self._executor.nodes()}
        self._names |= {node.id: node.name for node in self._nodes.values()}
        if before == self._nodes:
            return False
        self._fitting.clear()
        return True

    def _give_to_those_that_are_here(self, *, have_changed: bool) -> None:
        """Give cases whose nodes are gone to others; end those that have waited for too long."""
        now = self._clock()
        for group in tuple(self._waiting.values()):
            here = [node for node in group.nodes if node in self._nodes]
            if any(self._working[node] > 0 for node in here):
                group.worked = now
            if have_changed:
                self._give_elsewhere(group, is_gone=not here)
        for group in tuple(self._waiting.values()):
            if now - max(group.oldest, group.worked) > self._wait_seconds:
                self._end_those_that_have_waited(group, now)

    def _give_elsewhere(self, group: Waiting, *, is_gone: bool) -> None:
        """Let cases wait for nodes that have joined; those that are given stay, if nodes do."""
        for one in tuple(group.given.values()) if is_gone else ():
            self._executor.cancel(one.case.id)
            self._submit(one)
        for one in tuple(group.held.values()):
            if tuple(node.id for node in self._able(one)) != one.nodes:
                self._submit(one)

    def _end_those_that_have_waited(self, group: Waiting, now: float) -> None:
        for one in group.cases:
            waited = now - max(one.since, group.worked)
            if waited > self._wait_seconds:
                self._executor.cancel(one.case.id)
                self._end(one, Outcome(MachineError(self._why_not(one, waited))))
        group.oldest = min((one.since for one in group.cases), default=now)

    def _why_not(self, one: Unfinished, waited: float) -> str:
        before = "".join(f"{lost}; " for lost in one.losses)
        free = "was free" if one.nodes else "was there"
        return (
            f"{one.case.id} needs {wanted(one.case)}: {before}no node that has it {free} for "
            f"{format_seconds(waited)}; {self.name} has {listed(self._nodes.values())}. Wait "
            "longer with --gpu-profile-wait"
        )

    def _end(self, one: Unfinished, outcome: Outcome) -> None:
        self._leave(one)
        del self._open[one.case.id]
        self._done[one.case.id] = outcome
        self._ended.append(one.case.id)

    def _name(self, node: str) -> str:
        return f"node {cut(self._names.get(node, node))}"
