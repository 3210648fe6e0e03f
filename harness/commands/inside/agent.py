"""Looks into one process of a program: bounds it, counts its steps, and ends it after enough."""

from __future__ import annotations

import atexit
import hashlib
import json
import multiprocessing
import multiprocessing.util
import os
import sys
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.inside.bounding import Bounding
from harness.commands.inside.failures import FailureWatch
from harness.commands.inside.ranks import rank_of_this_process
from harness.commands.inside.reports import REQUEST, path_of, write
from harness.failures.crowding import blamed

if TYPE_CHECKING:
    from harness.commands.inside.failures import Noted

# A peak is steady if it grows by at most this share of the limit from one step to the next, or by
# at most this many bytes, or if so many steps more do not reach the limit: as in other probes.
_STEADY, _STEADY_BYTES, _MORE_STEPS = 1e-3, 256 << 10, 8
# Failures for lack of memory after which a program that tries again and again is ended.
_MOST_FAILURES = 3


def begin(torch: Any, folder: str) -> None:
    """Look into this process from now on; torch has just been imported."""
    if "GPU_PROFILE_NO_IMPORTS_FROM" in os.environ:
        from harness.workload.import_guard import guard  # noqa: PLC0415 - few programs have it

        guard()
    asked = json.loads((Path(folder) / REQUEST).read_text(encoding="utf-8"))
    Agent(torch, Path(folder), asked).install()


class Agent:
    """Watches one process.

    asked: the batch size, the bound, the steps after which the process is ended, and the files that
    are wanted.
    """

    def __init__(self, torch: Any, folder: Path, asked: dict[str, Any]) -> None:
        self._torch = torch
        self._folder = folder
        self._asked = asked
        self._failures = FailureWatch(
            torch, asked["bound"]["accelerator"], self._ran_out, self._before_backward
        )
        self._forget()

    def _forget(self) -> None:
        """Begin anew, as a process does that was forked from one that is watched."""
        asked = self._asked
        self._pid = os.getpid()
        self._bounding = Bounding(
            self._torch,
            asked["bound"],
            asked["batch_size"],
            self._bounded,
            self._in_trouble,
            in_ranks=asked["num_ranks"] > 1,
        )
        self._steps: dict[int, int] = {}
        self._in_step = False
        self._peaks: list[int] = []
        self._facts: dict[str, Any] = {}
        self._parameters: list[Any] = []
        self._optimizers: list[str] = []
        self._most_samples: int | None = None
        self._oom: Noted | None = None
        self._num_ooms = 0
        self._trouble: str | None = None
        self._is_stopped = False

    def install(self) -> None:
        """Take hold of what tells of a training."""
        torch = self._torch
        from torch.optim import optimizer  # noqa: PLC0415 - the program has imported it
        from torch.utils import data  # noqa: PLC0415

        self._failures.install()
        optimizer.register_optimizer_step_pre_hook(self._before_step)
        optimizer.register_optimizer_step_post_hook(self._after_step)
        self._wrap_init(torch.optim.Optimizer)
        self._wrap_iter(data.DataLoader)
        self._bounding.install(self._watch_root)
        os.register_at_fork(after_in_child=self._forked)
        if multiprocessing.parent_process() is None:
            atexit.register(self._end)
        else:  # what multiprocessing has started ends without atexit
            multiprocessing.util.Finalize(None, self._end, exitpriority=0)
        self._report()

    def _forked(self) -> None:
        # A loader's worker trains nothing, and has no limit; another child makes an optimizer.
        self._bounding.uninstall()
        self._forget()
        self._bounding.install(self._watch_root)

    def _wrap_init(self, optimizer: Any) -> None:
        made = optimizer.__init__

        def __init__(mine: Any, *values: Any, **named: Any) -> None:  # noqa: N807 - takes its place
            made(mine, *values, **named)
            if self._bounding.is_beginning:
                return
            self._bounding.has_optimizer = True
            self._note_parameters(mine)

        __init__.__wrapped__ = made  # type: ignore[attr-defined] # as functools.wraps sets it
        optimizer.__init__ = __init__

    def _wrap_iter(self, loader: Any) -> None:
        iterate = loader.__iter__

        def __iter__(mine: Any) -> Any:  # noqa: N807 - takes its place
            self._loads(mine)
            if not mine.num_workers or self._bounding.is_beginning:
                return iterate(mine)
            # The stacks of the threads that feed the workers are no part of the case.
            with self._bounding.bound.uncounted():
                return iterate(mine)

        loader.__iter__ = __iter__

    def _loads(self, loader: Any) -> None:
        """Note the samples that a loader has, and begin the limit before its first batch."""
        if self._bounding.has_optimizer:
            self._bounding.begin_on_host()
        sampler = getattr(loader, "batch_sampler", None)
        size = getattr(sampler, "batch_size", None) or loader.batch_size
        with suppress(TypeError, NotImplementedError, AttributeError):  # a stream has no length
            if size == self._asked["batch_size"]:
                number = len(getattr(sampler, "sampler", None) or loader.dataset)
                self._most_samples = max(self._most_samples or 0, number)

    def _watch_root(self, module: Any) -> None:
        """See what the first module raises that is called, even if the program catches it."""
        if getattr(module, "_compiled_call_impl", None) is not None:
            return  # a hook would be compiled with it

        def after(*_: Any) -> None:
            self._failures.look()

        with suppress(TypeError):  # an older torch calls no hook then
            module.register_forward_hook(after, always_call=True)

    def _note_parameters(self, optimizer: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                shape: Any = "not initialised"
                with suppress(RuntimeError):
                    shape = [int(length) for length in parameter.shape]
                self._parameters.append([shape, str(parameter.dtype)])
        self._optimizers.append(f"{type(optimizer).__module__}.{type(optimizer).__qualname__}")
        self._facts["workload"] = workload(self._parameters, self._optimizers)

    def _bounded(self) -> None:
        asked = self._asked
        if self._bounding.spec["accelerator"] == "cuda" and (asked["history"] or asked["snapshot"]):
            self._bounding.bound.record(stacks=asked["snapshot"] is not None)

    def _in_trouble(self, reason: str) -> None:
        self._trouble = reason
        self._leave(1)

    def _before_backward(self) -> None:
        if self._bounding.is_set:
            self._bounding.bound.peak_bytes()  # notes the size, for a record that says less

    def _before_step(self, *_: Any) -> None:
        if self._bounding.is_beginning:
            return
        # A loop without modules and loaders is known by its first step alone.
        self._bounding.begin_on_host()
        self._in_step = True

    def _after_step(self, optimizer: Any, *_: Any) -> None:
        if self._bounding.is_beginning:
            return
        self._in_step = False
        found = getattr(optimizer, "found_inf", None)
        if found is not None and float(found):
            return  # a fused optimizer skips a step by itself
        self._steps[id(optimizer)] = self._steps.get(id(optimizer), 0) + 1
        steps = max(self._steps.values())
        self._bounding.find_device()
        bound = self._bounding.bound
        if steps > len(self._peaks) and self._oom is None:
            self._peaks.append(bound.peak_bytes())
            if steps == 1:
                bound.warmed_up()
        if steps >= self._asked["stop_after"] or self._oom is not None:
            self._is_stopped = self._oom is None
            self._leave(0)
        self._report()

    def _ran_out(self, noted: Noted) -> None:
        """Note that memory ran out; whatever the program makes of it, this batch does not fit."""
        if not self._bounding.is_set and noted.failure["outcome"] == "oom":
            return  # nothing of the case's: a worker of a loader has no limit
        self._num_ooms += 1
        if self._oom is None:
            self._oom = noted
            bound = self._bounding.bound
            if self._asked["snapshot"]:
                with suppress(Exception):  # CUDA may have failed for good
                    bound.dump(self._own_file(self._asked["snapshot"]))
            noted.failure = blamed(noted.failure, bound, noted.memory)
            self._peaks.append(bound.peak_bytes())
            bound.lift()
            self._report()
        if self._num_ooms > _MOST_FAILURES:
            self._leave(1)

    def _leave(self, code: int) -> None:
        """End this process at once: nothing that the program does from here on is asked for."""
        self._end()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code)

    def _end(self) -> None:
        if os.getpid() != self._pid:
            return
        self._failures.last_words()
        bound = self._bounding.bound
        if self._bounding.is_set and self._oom is None:
            self._peaks.append(bound.peak_bytes())
            with suppress(Exception):
                self._facts["excess"] = bound.excess()
            if self._asked["history"] and self._steps:
                # A replay is only where to look: without it the search goes by peaks.
                with suppress(Exception):
                    bound.write_history(self._own_file(self._asked["history"]))
        self._facts["ended"] = True
        self._report()

    def _own_file(self, path: str) -> str:
        """Return the path of a file that is asked for; each of several ranks has one."""
        if self._asked["num_ranks"] == 1:
            return path
        return str(path_of(Path(path), self._pid))

    def _report(self) -> None:
        bound, torch, ending = self._bounding.bound, self._torch, self._failures.ending
        with suppress(Exception):
            self._facts["memory"] = bound.facts()
        versions = {"torch": torch.__version__.partition("+")[0]}
        if torch.version.cuda:
            versions["cuda"] = torch.version.cuda
        content = {
            **self._facts,
            "pid": self._pid,
            "rank": rank_of_this_process(torch),
            "steps": max(self._steps.values(), default=0),
            "peak": max(self._peaks, default=0),
            "limit": bound.limit_bytes,
            "is_set": self._bounding.is_set,
            "growing": self._grows(),
            "stopped": self._is_stopped,
            "samples": self._most_samples,
            "trouble": self._trouble,
            "in_step": self._in_step,
            "versions": versions,
            "oom": None if self._oom is None else _told(self._oom),
            "failure": None if ending is None else _told(ending),
        }
        write(self._folder, f"{self._pid}.json", content)

    def _grows(self) -> bool:
        """Return whether the peak still grew at the last step, so that more of them may not fit."""
        number, limit = max(self._steps.values(), default=0), self._bounding.bound.limit_bytes
        if number < 2:  # noqa: PLR2004 - growth is that between two
            return False
        before, peak = self._peaks[number - 2 : number]
        growth = peak - before
        return growth > max(_STEADY * limit, _STEADY_BYTES) and _MORE_STEPS * growth > limit - peak


def workload(parameters: list[Any], optimizers: list[str]) -> dict[str, Any]:
    """Return what is known of a program's workload, as a fingerprint digests it."""
    told = json.dumps([sorted(parameters, key=str), sorted(optimizers)])
    return {
        "optimizer": ", ".join(sorted(optimizers)),
        "num_parameters": sum(prod(shape) for shape, _ in parameters if isinstance(shape, list)),
        "num_tensors": len(parameters),
        "parameters": "sha256:" + hashlib.sha256(told.encode()).hexdigest(),
    }


def _told(noted: Noted) -> dict[str, Any]:
    return {**noted.failure, "phase": noted.phase}
