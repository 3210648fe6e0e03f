"""Gives each of xdist's workers one test at a time, when a device for it is free.

xdist's own schedulers hand out tests ahead: a worker begins a test only when it knows the next one.
A case that waits in the queue of a worker waits for that worker, whatever GPU is free. Here a
worker gets a test and a *placeholder* behind it: every second test that it is sent does not run
(`harness.run.distributing`). So nothing waits in a queue, and a worker that dies takes one case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xdist.scheduler import LoadScheduling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdist.workermanage import WorkerController


class OneAtATime(LoadScheduling):  # type: ignore[misc] # xdist leaves it untyped
    """A scheduler of pytest-xdist.

    Args:
        config: pytest's.
        log: xdist's.
        plan: told once which tests there are; returns the places in this list of those that shall
            run, the most urgent first.
        choose: told which tests wait and which run, returns the place in the list of the waiting
            that starts now; None: each of them waits until a running one has ended.

    """

    collection: list[str] | None

    def __init__(
        self,
        config: Any,
        log: Any,
        plan: Callable[[Sequence[str]], list[int]],
        choose: Callable[[Iterable[str], Sequence[str]], int | None],
    ) -> None:
        super().__init__(config, log)
        self._plan = plan
        self._choose = choose
        # Workers that hold a placeholder, and those that will tell its end before their test's.
        self._with_placeholder: set[WorkerController] = set()
        self._telling: set[WorkerController] = set()

    def schedule(self) -> None:
        """Send the first tests, once all workers have collected the same."""
        if self.collection is None and self._check_nodes_have_same_collection():
            self.collection = next(iter(self.node2collection.values()))
            self.pending[:] = self._plan(self.collection)
        self._fill()

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Note the end of a test, or of a placeholder."""
        del item_index, duration
        if node in self._telling:
            self._telling.discard(node)
        elif self.node2pending[node]:
            self.node2pending[node].clear()
            self._fill()

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        """Send tests to all that have none: one that has ended may have been waited for."""
        del node, duration
        self._fill()

    def remove_node(self, node: WorkerController) -> str | None:
        """Remove a worker; return the test that it ran if it has crashed."""
        self._with_placeholder.discard(node)
        self._telling.discard(node)
        crashed: str | None = super().remove_node(node)
        self._fill()
        return crashed

    def _fill(self) -> None:
        if self.collection is None:
            return
        for node, tests in self.node2pending.items():
            if tests or node.shutting_down or node not in self.node2collection:
                continue
            # Not as a list: the first of thousands is often the one.
            waiting = map(self.collection.__getitem__, self.pending)
            chosen = self._choose(waiting, self._running())
            if chosen is None:
                return
            self._send(node, self.pending.pop(chosen))

    def _send(self, node: WorkerController, index: int) -> None:
        self.node2pending[node].append(index)
        if node in self._with_placeholder:
            self._with_placeholder.discard(node)
            self._telling.add(node)
        sent = [index]
        # Behind the last test xdist shuts the workers down, which starts it as well.
        if self.pending:
            self._with_placeholder.add(node)
            sent.append(self.pending[0])
        node.send_runtest_some(sent)

    def _running(self) -> list[str]:
        assert self.collection is not None
        return [self.collection[index] for tests in self.node2pending.values() for index in tests]
