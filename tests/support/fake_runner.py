"""Stands for a case's zygote and probes without any process: gives answers and keeps requests."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lr_curves import fall, train
from matrix_texts import load
from projects import MIB, WORKLOADS

from harness.devices.cpu import CpuDevice
from harness.lr_range.trials import can_stop
from harness.measurement import LrCurve, Probe
from harness.probes.answers import GroupRates, Sweep
from harness.probes.description import Description
from harness.probes.open_cases import Surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.devices.device import Device
    from harness.lr_range.rate_map import RateMap
    from harness.matrix.case import Case
    from harness.measurement import Outcome
    from harness.protocol.lr import TellSteps

MATRIX = """\
version: 1
matrix: {{model: [net], gpu: [cpu], resolution: [1]}}
models:
  net:
    module: {{class_path: zoo.{module}, init_args: {{width: 4096}}}}
    data: {{class_path: zoo.Numbers, init_args: {{num_samples: 4096}}}}
gpus:
  cpu: {{accelerator: cpu, budget: {budget}}}
search: {{{search}}}
lr_range: {{{lr}}}
preset: {preset}
bounds: {{{bounds}}}
"""


def make_case(
    tmp_path: Path,
    *,
    search: str = "",
    lr: str = "seeds: [0, 1]",
    bounds: str = "",
    budget: str = "64MiB",
    module: str = "Net",
    preset: str = "null",
) -> Case:
    """Make the case net-cpu-1."""
    text = MATRIX.format(
        search=search, lr=lr, bounds=bounds, budget=budget, module=module, preset=preset
    )
    return load(tmp_path, text)[0]


def surroundings(tmp_path: Path) -> Surroundings:
    """Return the surroundings of a run below `tmp_path`."""
    return Surroundings(tmp_path / "results", tmp_path / "work", (str(WORKLOADS), *sys.path))


def seed_curve(rates: Sequence[float], seed: int) -> list[float]:
    """Return the losses of a sweep that fall around 1e-2, with noise that depends on the seed."""
    return fall(rates, 1e-2, noise=0.002, seed=seed)


def seed_trial(rate: float, num_steps: int, seed: int) -> list[float]:
    """Return the losses of a trial that fall fastest at 1e-2, with noise of the seed's batches."""
    return train(rate, num_steps, best=1e-2, noise=0.002, seed=seed)


@dataclass
class Rehearsal:
    """Stands for a ProbeRunner whose workload takes memory in proportion to its batch."""

    budget: int = 64 * MIB
    per_sample: int = MIB
    validation_per_sample: int = MIB // 4
    base: int = 10 * MIB
    description: Description = field(
        default_factory=lambda: Description(
            {"module": "zoo.Net"}, "sha256:f1", 4096, 4096, True, False, 0
        )
    )
    curve: Callable[[Sequence[float], int], list[float]] = seed_curve
    """The losses of a sweep, by its rates and seed."""
    training: Callable[[float, int, int], list[float]] = seed_trial
    """The losses of a trial, by its rate, number of steps and seed; a ceiling ends it earlier."""
    raises_above: float = float("inf")
    """The learning rate above which a training raises in its fourth step."""
    failing_seeds: dict[int, str | Probe] = field(default_factory=dict)
    """Seeds whose sweep and trials are refused, or fail."""
    late_seeds: dict[int, int] = field(default_factory=dict)
    """Seeds whose trainings run out of time, and the steps that each has done by then."""
    attribute: str | None = None
    """The place of the learning rate."""
    rates_of: Callable[[float], tuple[float, ...]] = lambda value: (value,)
    """The optimizer's rates for a value of the attribute."""
    read: list[tuple[int, tuple[float, ...]]] = field(default_factory=list)
    """Batch size and values of each probe that reads rates."""
    seconds: list[float | None] = field(default_factory=list)
    """The seconds that each sweep and trial is given."""
    maps: list[RateMap | None] = field(default_factory=list)
    """The map that each sweep and trial is given."""
    whole_epochs: list[bool] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    """Whether each sweep goes on to its end."""
    trained: list[dict[str, Any]] = field(default_factory=list)
    """Arguments of each probe."""
    swept: list[tuple[int, int, int]] = field(default_factory=list)
    """Batch size, number of learning rates and seed of each sweep."""
    tried: list[tuple[int, int, int, float]] = field(default_factory=list)
    """Batch size, number of steps, seed and learning rate of each trial."""
    ceilings: list[float | None] = field(default_factory=list)
    """The ceiling of each trial."""
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "2.13.0"})
    torch_settings: dict[str, Any] = field(default_factory=dict)
    retries_from: int | None = None
    """The smallest batch size at which the allocator empties its cache."""
    speed: Callable[[int], float] = lambda _: 100.0
    """Samples/s of a batch size in a timed probe; 0 where it fails."""
    timed: list[int] = field(default_factory=list)
    """The batch size of each timed probe."""
    held: int | None = None
    """The bytes that a sample holds at the peak; None where nothing can be found out."""
    asked_holders: list[int] = field(default_factory=list)
    """The batch size of each probe that finds out what holds the memory."""
    lasts: int = 10_000
    """Steps after which a training runs out of memory, whatever its batch size."""
    afresh: str | None = None
    flaw: dict[str, Any] = field(default_factory=dict)
    """Further fields of every probe."""
    directory: Path = Path()
    reused_seconds: float = 0.0

    @property
    def device(self) -> Device:
        """The CPU, with the budget."""
        return CpuDevice(self.budget)

    @property
    def memory_limit_bytes(self) -> int:
        """The budget."""
        return self.budget

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was started."""

    def describe(self, *_: int) -> Description:
        """Return the description that was given."""
        return self.description

    def train(self, batch_size: int, **arguments: Any) -> Probe:
        """Return a probe that fits if training and validation are within their limits."""
        peak = self.base + self.per_sample * batch_size
        if "timed_seconds" in arguments:
            self.timed.append(batch_size)
            speed = self.speed(batch_size)
            outcome: Outcome = "fits" if speed else "oom"
            return Probe(batch_size, outcome, None, peak, samples_per_second=speed)
        self.trained.append({"batch_size": batch_size} | arguments)
        varied, kind, phase, fits = (
            batch_size,
            "train",
            "forward",
            peak <= self.budget and arguments["steps"] <= self.lasts,
        )
        if (validation := arguments.get("validation_batch_size")) is not None:
            needed = self.base + self.validation_per_sample * validation
            varied, kind, phase = validation, "validation", "validation"
            fits = fits and needed <= arguments["validation_share"] * self.budget
            peak = max(peak, needed)
        return Probe(
            varied,
            "fits" if fits else "oom",
            None if fits else phase,
            peak if fits else None,
            kind=kind,  # type: ignore[arg-type] # one of the two words
            detail=None if fits else "MemoryError",
            alloc_retries=7
            if self.retries_from is not None and batch_size >= self.retries_from
            else 0,
            samples=batch_size * min(arguments["steps"], self.lasts),
            steps=min(arguments["steps"], self.lasts),
            **self.flaw,
        )

    def holders(self, batch_size: int, **options: Any) -> Probe:
        """Write what `held` says of each batch size that is asked for."""
        self.asked_holders.append(batch_size)
        smaller = options.get("smaller")
        asked = {batch_size: str(options["file"])}
        if smaller is not None:
            asked[smaller["batch_size"]] = smaller["file"]
        for size, path in asked.items():
            if self.held is not None:
                Path(path).write_text(json.dumps(self._holders(size)), encoding="ascii")
        return Probe(batch_size, "fits", peak_memory_bytes=0)

    def _holders(self, batch_size: int) -> dict[str, Any]:
        assert self.held is not None, "asked where it is there"
        activations = batch_size * self.held
        return {
            "batch_size": batch_size,
            "peak_bytes": self.base + activations,
            "phase": "",
            "holders": [["parameter", "", "", self.base], ["activation", "head", "", activations]],
            "timeline": {"kinds": [], "start": [], "events": [], "phases": []},
        }

    def group_rates(self, batch_size: int, values: Sequence[float] = ()) -> GroupRates:
        """Return what `attribute` and `rates_of` say."""
        self.read.append((batch_size, tuple(values)))
        if self.attribute is None:
            return GroupRates(None)
        values = values or (1e-3, 2e-3)
        return GroupRates(self.attribute, tuple(values), tuple(map(self.rates_of, values)))

    def sweep(
        self,
        batch_size: int,
        learning_rates: Sequence[float],
        seed: int,
        rate_map: RateMap | None = None,
        *,
        trial: bool = False,
        whole: bool = False,
        ceiling: float | None = None,
        whole_epochs: bool = False,
        seconds: float | None = None,
        tell_steps: TellSteps | None = None,
    ) -> Sweep:
        """Return the curve of a sweep or a trial, or the seed's refusal or failure."""
        self.maps.append(rate_map)
        self.whole_epochs.append(whole_epochs)
        self.seconds.append(seconds)
        if seed in self.late_seeds and tell_steps is not None:
            tell_steps(self.late_seeds[seed])
            return Sweep(out_of_time=True)
        num_steps = len(learning_rates)
        if trial:
            assert {learning_rates[0]} == set(learning_rates), "a trial has one learning rate"
            self.tried.append((batch_size, num_steps, seed, learning_rates[0]))
            self.ceilings.append(ceiling)
        else:
            self.swept.append((batch_size, num_steps, seed))
            self.whole.append(whole)
        trouble = self.failing_seeds.get(seed)
        if isinstance(trouble, str):
            return Sweep(None, trouble, None)
        if trouble is not None:
            return Sweep(None, None, trouble)
        if trial:
            losses = self.training(learning_rates[0], num_steps, seed)
            ends = (end for end in range(1, num_steps) if can_stop(losses[:end], ceiling))
            losses = losses[: next(ends, num_steps)]
        else:
            losses = self.curve(learning_rates, seed)
        high = next(
            (at for at, rate in enumerate(learning_rates) if rate > self.raises_above), None
        )
        if high is None:
            rates = tuple(learning_rates[: len(losses)])
            return Sweep(LrCurve(seed, rates, tuple(losses)))
        end = max(high, 3)
        rates = tuple(learning_rates[:end])
        return Sweep(LrCurve(seed, rates, tuple(losses[:end])), raised="ValueError: not in [0, 1]")

    @property
    def seeds_tried(self) -> list[int]:
        """The seeds of the trials, in their order."""
        return list(dict.fromkeys(seed for _, _, seed, _ in self.tried))
