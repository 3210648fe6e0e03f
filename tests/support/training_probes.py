"""Training probes in this process, with a memory bound that only records."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from projects import workload

from harness.probe_tasks import timing, train
from harness.workload.build import build

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    import pytest

    from harness.protocol.case import WorkloadSpec
    from harness.protocol.messages import Phase, TrainRequest


class Recorded:
    """A bound without a limit: it gives the peaks of a test and records the calls."""

    trainer_arguments: Mapping[str, Any] = {"accelerator": "cpu", "devices": 1}
    limit_bytes = 1_000_000_000
    place = None

    def __init__(self, peaks: Iterator[int], held: Iterable[int] = ()) -> None:
        self.peaks = peaks
        self.held = iter(held)
        self.holds = 0
        self.too_much: str | None = None
        self.last = next(peaks, 0)
        self.asked: list[Any] = []

    def start(self) -> None:
        """Record the call."""
        self.asked.append("start")

    def engage(self, module: Any) -> None:
        """Record the module's class."""
        self.asked.append(type(module).__name__)

    def engage_before_wrapping(self, trainer: Any) -> None:
        """Do nothing: this is one process."""

    def uncounted(self) -> AbstractContextManager[None]:
        """Return an empty block."""
        return nullcontext()

    def rescale(self, share: float) -> None:
        """Record the share."""
        self.asked.append(share)

    def peak_bytes(self) -> int:
        """Return the peak of this step; the last one is repeated for ever."""
        return self.last

    def excess(self) -> str | None:
        """Return what the test says."""
        return self.too_much

    def held_bytes(self) -> int:
        """Return what is held next, at the end of a step; repeat the last for ever."""
        self.last = next(self.peaks, self.last)
        self.holds = next(self.held, self.holds)
        return self.holds

    def begin_validation(self) -> None:
        """Record the call."""
        self.asked.append("validation")

    def validation_peak_bytes(self) -> int:
        """Return a peak that differs from all others."""
        return 77

    def warmed_up(self) -> None:
        """Record the call."""
        self.asked.append("warm")

    def facts(self) -> dict[str, int]:
        """Return facts about the allocator."""
        return {"alloc_retries": 5}

    def record(self, *, stacks: bool) -> None:
        """Record the call."""
        self.asked.append("record with stacks" if stacks else "record")

    def write_history(self, path: str) -> None:
        """Record the call and the path."""
        self.asked.append(f"history {path}")

    def dump(self, path: str) -> None:
        """Record the call and the path."""
        self.asked.append(f"dump {path}")

    def crowded_out(self, _free_bytes: int | None, _reserved_bytes: int) -> None:
        """Return None: nobody else uses it."""

    def lift(self) -> None:
        """Record the call."""
        self.asked.append("lift")


class Probing:
    """Runs probes; keeps the bound and the phases of the last one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.bound = Recorded(iter(()))
        self.phases: list[Phase] = []

    def __call__(
        self,
        module: str = "",
        data: str = "zoo.Numbers",
        *,
        spec: WorkloadSpec | None = None,
        peaks: tuple[int, ...] = (1000,),
        held: Iterable[int] = (),
        module_args: Mapping[str, Any] | None = None,
        data_args: Mapping[str, Any] | None = None,
        **request: Any,
    ) -> dict[str, Any]:
        """Run one training probe."""
        self.bound, self.phases = Recorded(iter(peaks), held), []
        self.monkeypatch.setattr(train, "make_bound", lambda _: self.bound)
        asked = {
            "bound": {"accelerator": "cpu"},
            "trainer": {},
            "batch_size": 8,
            "steps": 3,
            "epoch_steps": 0,
            "settle": True,
            "validation_steps": 1,
            "validation_batch_size": None,
            "validation_share": 1.0,
            "micro_batches": None,
            "snapshot": None,
            "history": None,
        }
        args = {"module_args": module_args or {}, "data_args": data_args or {}}
        spec = spec or workload(module, data, **args)
        whole = cast("TrainRequest", asked | request)
        run = timing.time_steps if "timed_seconds" in whole else train.train
        return {**run(build(spec), whole, self.phases.append)}
