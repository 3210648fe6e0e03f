"""One zygote for the probes of many tests: importing torch and Lightning takes longer than they do.

A probe of such a runner builds its workload by itself, as it does after `ProbeRunner.turn_to`.
Tests of zygotes, of what a constructor does and of folders start a zygote of their own.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from projects import WORKLOADS, workload

from harness.devices.cpu import UNBOUNDED
from harness.probes.runner import ProbeRunner

if TYPE_CHECKING:
    from pathlib import Path


class OneZygote:
    """Starts its zygote when the first runner asks for it; a context manager, which ends it.

    Args:
        folder: for the zygote's log; also the working directory of probes.

    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._first: ProbeRunner | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def first(self) -> ProbeRunner:
        """Return the runner whose zygote the others share."""
        if self._first is None:
            self._first = self._stack.enter_context(
                ProbeRunner(
                    workload("zoo.Net"),
                    UNBOUNDED,
                    {},
                    self._folder / "logs",
                    working_directory=self._folder,
                    sys_path=[str(WORKLOADS), *sys.path],
                )
            )
        return self._first

    def runner(self, *arguments: Any, **options: Any) -> ProbeRunner:
        """Make a runner of any workload that the zygote's module path holds."""
        return _Sharing(self, *arguments, **options)


class _Sharing(ProbeRunner):
    def __init__(self, one: OneZygote, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._one = one

    def __enter__(self) -> Self:
        first = self._one.first()
        assert self.device.environment == first.device.environment, "of another device"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.versions = first.versions
        self._zygote = first._zygote
        self._built_afterwards = self._case["workload"]
        return self

    def close(self) -> None:
        """Leave the zygote to the next runner."""
