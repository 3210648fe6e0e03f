"""Tells memory that a training keeps more of after each step from noise.

The signal is what is held at the end of each step, not the peak: what a step frees again does not
show there. Outputs that are kept until the epoch ends, metrics with lists, and queues that fill
make it rise at every step.
"""

from __future__ import annotations

import gc
import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from harness.units import format_bytes

if TYPE_CHECKING:
    from harness.memory_bounds.memory_bound import MemoryBound
    from harness.protocol.messages import GrowthFacts

# A step that keeps nothing raises what malloc has given out by up to 22 KiB on the reference cases:
# Python's own tables. A last batch of validation may stay alive, but not two in a row.
_NOISE_BYTES = 32 << 10
# On a large GPU less than this share of the limit per step matters to nobody.
_NOISE_SHARE = 1e-5
# So many rises in a row are growth. Libraries allocate late in the first few steps.
_RISES = 4
# A batch of validation more than this shows two rises in a row.
_FEW = 2
# What is held without garbage is noted after this number of steps, and whenever it has doubled.
_FIRST_MARK = 8
# A step that keeps nothing leaves a few bytes behind, such as the numbers of counters.
_LEAST_SLOPE = 256.0
# A rise that falls below this share of those before it is a queue or a cache that is full.
_LASTING = 0.5

_Phase = Literal["training", "validation", "test", "predict"]


class Kept:
    """The memory that is held at the end of each step of training, or batch of inference."""

    def __init__(self, phase: _Phase, bound: MemoryBound) -> None:
        self.phase = phase
        self.bound = bound
        self.held: list[int] = []
        # Steps, and what was held after them without garbage.
        self._marks: list[tuple[int, int]] = []
        self.pass_steps: int | None = None
        """The steps of one pass over the data; None if it is endless, or of unknown length."""

    def add(self, *, whole_epochs: bool) -> None:
        """Note what is held now, at the end of a step.

        whole_epochs: also note, now and then, what is held without garbage. Collecting it is an
            intrusion, so it is left out where the end of the pass is in sight.
        """
        self.held.append(self.bound.held_bytes())
        steps = len(self.held)
        beyond = self.pass_steps is None or self.pass_steps > steps
        if whole_epochs and beyond and steps >= _FIRST_MARK and steps & (steps - 1) == 0:
            gc.collect()
            self._marks.append((steps, self.bound.held_bytes()))

    @property
    def suspicious(self) -> bool:
        """Whether every step so far has kept memory; one step alone shows nothing."""
        rises = self._rises(self.held)
        return bool(rises) and min(rises) >= self._noise

    @property
    def undecided(self) -> bool:
        """Whether further steps have to show if this is growth."""
        return self.suspicious and len(self.held) <= _RISES

    @property
    def grows(self) -> bool:
        """Whether enough steps have kept memory, also without what garbage collection frees."""
        if not self.suspicious or self.undecided:
            return False
        gc.collect()
        return self.bound.held_bytes() - self.held[0] >= self._least

    @property
    def complete(self) -> bool:
        """Whether a whole pass was seen."""
        return self.pass_steps is not None and len(self.held) >= self.pass_steps

    @property
    def per_step(self) -> int:
        """The bytes that a step of the first pass keeps; 0 where that is noise."""
        if self._lately:
            return int(self._lately)
        held = self._first_pass
        if len(held) < 2:  # noqa: PLR2004 - a rise is between two
            # Every pass is a single step: what grows over several of them is never given back.
            held = self.held
        if len(held) < 2 or held[-1] - held[0] < self._least:  # noqa: PLR2004 - see above
            return 0
        return (held[-1] - held[0]) // (len(held) - 1)

    @property
    def to_come(self) -> int:
        """The bytes that the rest of the pass will keep; 0 where the growth has ended."""
        if self.pass_steps is None or self.complete:
            return 0
        return int(self._lately * (self.pass_steps - len(self.held)))

    @property
    def given_back(self) -> bool | None:
        """Whether the end of the pass has freed what its steps kept.

        False: the next pass goes on keeping. None: that was not seen, or a cache is full.
        """
        if self.pass_steps is None or len(self.held) <= self.pass_steps or not self.per_step:
            return None
        first, following = self._first_pass, self.held[self.pass_steps :]
        if following[0] < first[-1]:
            return True
        goes_on = following[-1] - first[-1] >= _LASTING * self.per_step * len(following)
        return False if goes_on else None

    def facts(self) -> GrowthFacts | None:
        """Return the growth for the result of a probe; None where there is none."""
        if not self.per_step:
            return None
        return {
            "phase": self.phase,
            "bytes_per_step": self.per_step,
            "steps": len(self._first_pass),
            "pass_steps": self.pass_steps,
            "given_back": self.given_back,
        }

    @property
    def _lately(self) -> float:
        """The bytes that a step keeps by the last marks; 0 where growth has ended."""
        slopes = [
            (after - before) / (there - here)
            for (here, before), (there, after) in pairwise(self._marks)
        ]
        if not slopes or slopes[-1] < _LEAST_SLOPE or slopes[-1] < _LASTING * max(slopes):
            return 0.0
        return slopes[-1]

    @property
    def _least(self) -> float:
        """The least growth that is not noise; the noise of single steps does not add up."""
        return _RISES * self._noise

    @property
    def _first_pass(self) -> list[int]:
        return self.held if self.pass_steps is None else self.held[: self.pass_steps]

    @property
    def _noise(self) -> float:
        return max(_NOISE_BYTES, _NOISE_SHARE * self.bound.limit_bytes)

    @staticmethod
    def _rises(held: list[int]) -> list[int]:
        return [after - before for before, after in pairwise(held)]


def found(training: Kept, validation: Kept, *, endless: bool, failed: bool) -> GrowthFacts | None:
    """Return the growth that a probe has found, in training or in validation.

    A probe whose data repeat for ever tells it only where a probe of whole epochs has to follow:
    after enough steps, or where memory ran out while each step kept some.
    """
    if not endless:
        both = [facts for kept in (training, validation) if (facts := kept.facts())]
        return max(both, key=_at_the_end, default=None)
    if training.suspicious and (failed or not training.undecided):
        return training.facts()
    partial = validation.suspicious and not validation.complete
    return validation.facts() if partial and len(validation.held) > _FEW else None


def _at_the_end(facts: GrowthFacts) -> int:
    return facts["bytes_per_step"] * (facts["pass_steps"] or facts["steps"])


def projected(training: Kept, validation: Kept, peak: int) -> tuple[int, str | None]:
    """Return the peak of a whole epoch with its validation, and in words what makes it higher.

    The words are None where the probe has seen the whole epoch, or nothing grows.
    """
    limit = format_bytes(training.bound.limit_bytes)
    highest, words = peak, None
    # What is held while validation runs says little about training's peak.
    for kept, base in ((training, peak), (validation, max(validation.held, default=0))):
        if kept.to_come and base + kept.to_come > highest:
            highest = base + kept.to_come
            what = "its epoch" if kept.phase == "training" else kept.phase
            unit = "steps" if kept.phase == "training" else "batches"
            words = (
                f"{what} would need {format_bytes(highest)} of {limit}: each of its "
                f"{kept.pass_steps} {unit} keeps {format_bytes(kept.per_step)} until its end"
            )
    return highest, words


def num_batches(loaders: Any) -> int | None:
    """Return the number of batches of all validation loaders; None for a stream."""
    if isinstance(loaders, dict):
        loaders = list(loaders.values())
    if not isinstance(loaders, (list, tuple)):
        loaders = [loaders]
    try:
        return sum(len(loader) for loader in loaders)
    except (TypeError, NotImplementedError):
        return None


def steps_of(batches: float, batches_per_step: float) -> int | None:
    """Return the optimizer steps of a pass; None for a stream of unknown length."""
    return math.ceil(batches / batches_per_step) if math.isfinite(batches) else None
