"""Asks the zygotes of all ranks for one probe at once, and ends the ranks that are left waiting.

Each rank has a zygote of its own, which imports torch and builds the workload once. A probe is one
request to all of them, with a port where they meet. A thread listens to each.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.probes.ranks.joint import RankEnding, has_own_reason, is_whole, joined
from harness.probes.ranks.meeting import reserved_port
from harness.probes.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.probes.dead_processes import Ending
    from harness.protocol.case import CaseSpec, RankPlace, WorkloadSpec
    from harness.protocol.lr import TellSteps
    from harness.protocol.messages import Ready, Request

_ALONE = frozenset({"describe", "rates", "lr_strategy"})
# A module reads the mesh of this strategy while it is set up.
_WITH_MESH = "ModelParallelStrategy"
# Seconds that other ranks have to tell of their own trouble once one has failed by itself.
_SHORT_SECONDS = 2.0
# The same once one has failed because another one is gone: that one tells why, as a rule.
_LONG_SECONDS = 30.0
# Files that each rank writes for itself.
_FILES = ("snapshot", "history", "file")
# Seconds between two tries to end the waits of threads when the run is interrupted.
_PAUSE = 0.2


class RankGroup:
    """The zygotes of a case's ranks, asked as one: it has the methods of a `ZygoteClient`.

    The logs of rank 0 have the names that those of one process have.
    """

    def __init__(self, directory: Path, num_ranks: int) -> None:
        self.num_ranks = num_ranks
        self._clients = [
            ZygoteClient(directory, log_of_rank(Path("zygote.log"), rank).name)
            for rank in range(num_ranks)
        ]
        self._workload: WorkloadSpec | None = None

    def start(self, case: CaseSpec, environment: Mapping[str, str]) -> Ready:
        """Start all zygotes and wait until they have built the workload; as `ZygoteClient.start`.

        Raises the error of the first rank that has one.
        """
        self._workload = case["workload"]
        with reserved_port() as port, self._threads() as (pool, started):
            for rank, client in enumerate(self._clients):
                placed: CaseSpec = {**case, "place": self._place(rank, port)}
                started.append(pool.submit(client.start, placed, environment))
            wait(started, return_when=FIRST_COMPLETED)
            for future in started:
                future.result()
        ready: Ready = started[0].result()
        return ready

    def ask(
        self, request: Request, log: Path, timeout: float, tell_steps: TellSteps | None = None
    ) -> tuple[Ending, str | None]:
        """Run one probe on all ranks; arguments and errors are those of `ZygoteClient.ask`.

        Returns how it ended: its ending has the rank that it is about.
        """
        spec: Any = request["workload"] or self._workload
        if is_for_one(request, spec):
            return self._clients[0].ask(request, log, timeout, tell_steps)
        for client in self._clients:
            client.allow_waits()
        with reserved_port() as port, self._threads() as (pool, asked):
            for rank, client in enumerate(self._clients):
                own = self._request_of(request, rank, port)
                tell = None if rank else tell_steps
                asked.append(pool.submit(client.ask, own, log_of_rank(log, rank), timeout, tell))
            ended = self._await_all(asked, log)
        found = joined(ended, request["task"])
        _keep_files_of(found.rank or 0, request, self.num_ranks)
        afresh = next((one.afresh for one in ended if one.afresh is not None), None)
        return found, afresh

    def close(self) -> None:
        """End all zygotes and everything that they started."""
        errors = []
        for client in self._clients:
            try:
                client.close()
            except BaseException as error:  # noqa: BLE001 - the others are to be closed, too
                errors.append(error)
        if errors:
            raise errors[0]

    def _await_all(self, asked: Sequence[Future[Any]], log: Path) -> list[RankEnding]:
        """Wait until all ranks have ended, and end those that are left waiting for one.

        Returns their endings, the first in time first.
        """
        ended: list[RankEnding] = []
        waiting = set(asked)
        deadline: float | None = None
        interrupted: set[int] = set()
        while waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, waiting = wait(waiting, timeout=left, return_when=FIRST_COMPLETED)
            for future in done:
                rank = asked.index(future)
                ending, afresh = future.result()
                cut_off = rank in interrupted and ending.result is None
                one = RankEnding(rank, ending, str(log_of_rank(log, rank)), afresh, cut_off)
                ended.append(one)
                if not is_whole(one):
                    seconds = _SHORT_SECONDS if has_own_reason(one) else _LONG_SECONDS
                    wanted = time.monotonic() + seconds
                    deadline = wanted if deadline is None else min(deadline, wanted)
            if waiting and deadline is not None and time.monotonic() >= deadline:
                interrupted |= {asked.index(future) for future in waiting}
                for rank in interrupted:
                    self._clients[rank].interrupt()
                deadline = None if interrupted else deadline
        return ended

    @contextmanager
    def _threads(self) -> Iterator[tuple[ThreadPoolExecutor, list[Future[Any]]]]:
        """Give threads that listen to zygotes; if the block raises, their waits end."""
        futures: list[Future[Any]] = []
        with ThreadPoolExecutor(self.num_ranks, thread_name_prefix="rank") as pool:
            try:
                yield pool, futures
            except BaseException:
                while wait(futures, timeout=_PAUSE).not_done:
                    for client in self._clients:
                        client.interrupt()
                raise

    def _place(self, rank: int, port: int) -> RankPlace:
        return {"rank": rank, "num_ranks": self.num_ranks, "port": port}

    def _request_of(self, request: Request, rank: int, port: int) -> Request:
        """Return the request of one rank, with its place, and with files of its own."""
        own: dict[str, Any] = dict(request)
        own["bound"] = {**request["bound"], "place": self._place(rank, port)}
        for name in _FILES:
            if own.get(name) is not None:
                own[name] = str(log_of_rank(Path(own[name]), rank))
        return cast("Request", own)


def is_for_one(request: Request, spec: WorkloadSpec) -> bool:
    """Return whether a request to the ranks of a workload is one to a process without ranks.

    What a training makes may meet the other ranks as soon as it is made.
    """
    strategy = request["trainer"].get("strategy")
    needs_mesh = isinstance(strategy, dict) and strategy["class_path"].endswith(_WITH_MESH)
    return request["task"] in _ALONE and spec.get("training") is None and not needs_mesh


def log_of(ending: Ending, log: Path) -> str:
    """Return the path of the log that an ending is about, of a probe with the log `log`."""
    return str(log_of_rank(log, ending.rank or 0))


def log_of_rank(log: Path, rank: int) -> Path:
    """Return the path of a rank's own file; that of rank 0 is the file itself."""
    return log if not rank else log.with_name(f"{log.stem}-rank{rank}{log.suffix}")


def _keep_files_of(rank: int, request: Request, num_ranks: int) -> None:
    """Give the files of one rank the names that were asked for, and remove those of the others."""
    for name in _FILES:
        asked: Any = request.get(name)
        if asked is None:
            continue
        path = Path(asked)
        if rank and log_of_rank(path, rank).exists():
            log_of_rank(path, rank).replace(path)
        for other in range(1, num_ranks):
            log_of_rank(path, other).unlink(missing_ok=True)
