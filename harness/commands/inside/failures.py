"""Notes the memory that runs out in a program, also where the program catches the exception.

A program may print it and end without an error, or try again with a smaller batch. Python tells
nobody that an exception was caught. But who catches this one as a rule prints or logs something,
collects garbage or empties the cache before anything else, while the exception is being handled.
"""

from __future__ import annotations

import gc
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any

from harness.commands.inside.frames import phase_of, raised_in
from harness.failures.explain import explain
from harness.failures.out_of_memory import classify, device_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.failures.out_of_memory import DeviceMemory
    from harness.protocol.messages import Failure

    NoteOutOfMemory = Callable[["Noted"], None]

# What compilers try out, and give up when it takes too much, is no failure of the training.
_AUTOTUNING = ("/torch/_inductor/", "/triton/runtime/autotuner")
_OUT_OF_MEMORY = ("device", "host")


class Noted:
    """A failure, and the phase and the state of memory when it came up."""

    def __init__(self, failure: Failure, phase: str | None, memory: DeviceMemory) -> None:
        self.failure = failure
        self.phase = phase
        self.memory = memory

    @classmethod
    def of(cls, error: BaseException, accelerator: str) -> Noted:
        """Note an exception, whose frames still hold what they hold."""
        memory = device_memory()
        phase = phase_of(error)
        return cls(explain(error, memory, accelerator), phase, memory)


class FailureWatch:
    """Looks for memory that ran out, and for the exception that ends the program.

    tell: called with each failure that memory is the cause of.
    before_backward: called when a backward pass begins: activations are all there.
    """

    def __init__(
        self,
        torch: Any,
        accelerator: str,
        tell: NoteOutOfMemory,
        before_backward: Callable[[], None],
    ) -> None:
        self._torch = torch
        self._accelerator = accelerator
        self._tell = tell
        self._before_backward = before_backward
        self._looking = False
        self._last_seen: int | None = None
        self.ending: Noted | None = None
        """What has ended the program; None: nothing so far."""

    def install(self) -> None:
        """Look from now on."""
        gc.callbacks.append(self._at_collection)
        for stream in (sys.stdout, sys.stderr):
            self._watch_stream(stream)
        torch = self._torch
        torch.cuda.empty_cache = self._looking_first(torch.cuda.empty_cache)
        for owner in (torch.autograd, torch.autograd.graph):
            if hasattr(owner, "_engine_run_backward"):
                owner._engine_run_backward = self._around(owner._engine_run_backward)  # noqa: SLF001 - all backward passes go through it
        self._hook = sys.excepthook
        sys.excepthook = self._at_end

    def look(self) -> None:
        """Look at the exception that is being handled now, if there is one."""
        error = sys.exc_info()[1]
        if error is None or self._looking or id(error) == self._last_seen:
            return
        self._looking = True
        try:
            self._last_seen = id(error)
            self.consider(error)
        finally:
            self._looking = False

    def consider(self, error: BaseException) -> None:
        """Tell an exception that was raised if memory is its cause."""
        if classify(error, device_memory()) not in _OUT_OF_MEMORY:
            return
        if not raised_in(error, *_AUTOTUNING):
            self._tell(self._noted(error))

    def last_words(self) -> None:
        """Note what has ended the program where another hook has taken the place of ours."""
        error = getattr(sys, "last_value", None)
        if self.ending is None and isinstance(error, BaseException):
            self.ending = self._noted(error)

    def _noted(self, error: BaseException) -> Noted:
        return Noted.of(error, self._accelerator)

    def _at_collection(self, phase: str, _facts: dict[str, int]) -> None:
        if phase == "start":
            self.look()

    def _watch_stream(self, stream: Any) -> None:
        # A stream of another kind, as of a notebook, may not allow it.
        try:
            stream.write = self._looking_first(stream.write)
        except AttributeError:
            return

    def _looking_first(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*values: Any, **named: Any) -> Any:
            self.look()
            return function(*values, **named)

        return call

    def _around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that looks at what it raises."""

        # `phase_of` knows the name.
        def _engine_run_backward(*values: Any, **named: Any) -> Any:
            self._before_backward()
            try:
                return function(*values, **named)
            except Exception:
                self.look()
                raise

        return _engine_run_backward

    def _at_end(self, kind: Any, error: BaseException, trace: Any) -> None:
        self.consider(error)
        self.ending = self._noted(error)
        self._hook(kind, error, trace)
