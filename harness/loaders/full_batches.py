"""Iterates over a loader for ever, and leaves out every batch that is not full."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset

from harness.errors import HarnessError, NoFullBatchError
from harness.loaders.batch_counts import (
    BatchCounter,
    WrongBatchSizeError,
    content,
    counted,
    stated_batch_size,
)
from harness.loaders.counted_batches import CountedBatches, collates_as_torch, length_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.loaders.counted_batches import Uncounted

# The length of an endless loader. It is finite because schedulers compute with it, and no probe
# gets that far.
LENGTH = 1_000_000
# After so many smaller batches without a full one it is checked that the loader obeys, ...
_DOUBTFUL = 64
# ... and after so many the data are said to hold no full batch: a stream may have no end.
_HOPELESS = 10_000
COUNT_SAMPLES = (
    "If the batch holds as many samples as asked for, and this cannot be seen in it, add a method "
    "`count_samples(batch)` to the data module, or to the module without one"
)


class FullBatches:
    """Repeats a loader for ever and leaves out the batches that are smaller than `batch_size`.

    Smaller ones come at the end of a pass, of each worker's part of a stream, and of each bucket.
    Raises NoFullBatchError when a whole pass has no full batch, and WrongBatchSizeError when a
    batch is larger, or when the loader turns out to ignore the size.

    endless: else a pass ends with the loader, and its smaller batches are left in.
    count_samples: the user's hook.
    require_obedience: raises WrongBatchSizeError if the loader gives a batch of that many samples
    whatever the batch size is.
    likely_attributes: names, in a sentence, the attributes that hold a loader's batch size.
    renew: makes the loader again, after one that can be iterated only once.
    """

    def __init__(
        self,
        loader: Any,
        batch_size: int,
        *,
        endless: bool = True,
        count_samples: Callable[[Any], int] | None = None,
        require_obedience: Callable[[int], None] | None = None,
        likely_attributes: Callable[[int], str] | None = None,
        renew: Callable[[], Any] | None = None,
        uncounted: Uncounted = nullcontext,
    ) -> None:
        self.loader = loader
        self.batch_size = batch_size
        self.endless = endless
        self.count_samples = count_samples
        self.require_obedience = require_obedience
        self.likely_attributes = likely_attributes
        self.renew = renew
        self.batches = CountedBatches(loader, uncounted)

    def __iter__(self) -> Iterator[Any]:
        any_full = renewed = False
        while True:
            tally = _Tally(self)
            for items, batch in self.batches:
                if tally.is_full(batch, items) or not self.endless:
                    any_full = any_full or tally.found_full
                    yield batch
                elif tally.hopeless:
                    break
            if tally.num_batches == 0 and any_full:
                self._make_again(renewed=renewed)
            elif not tally.found_full:
                if tally.num_batches > 1:
                    self.doubt(tally.largest)
                raise NoFullBatchError(f"the training data hold no full batch of {self.batch_size}")
            if not self.endless:
                return
            renewed = tally.num_batches == 0

    def doubt(self, largest: int) -> None:
        """Raise WrongBatchSizeError if the loader ignores the size; see `require_obedience`."""
        obeys = collates_as_torch(self.loader) and (
            stated_batch_size(self.loader) == self.batch_size
        )
        if not obeys and self.require_obedience is not None:
            self.require_obedience(largest)

    def _make_again(self, *, renewed: bool) -> None:
        """Replace a loader that is used up: a generator, for example."""
        used_up = self.loader
        self.loader = None if renewed or self.renew is None else self.renew()
        if self.loader is None or self.loader is used_up:
            raise HarnessError(
                f"the training loader, of type {type(used_up).__qualname__}, can be iterated only "
                "once and ended before the probe had its steps: return a new one from each call of "
                "`train_dataloader`, or an object that can be iterated again"
            )
        self.batches = CountedBatches(self.loader)


class _Tally:
    """What one pass over a loader has shown so far."""

    def __init__(self, batches: FullBatches) -> None:
        self.batches = batches
        self.stated = stated_batch_size(batches.loader)
        self.counter = BatchCounter(batches.batch_size, self.stated, batches.count_samples)
        self.length = length_of_pass(batches.loader)
        self.num_batches = 0
        self.largest = 0
        self.found_full = False

    def is_full(self, batch: Any, items: int | None) -> bool:
        """Return whether the next batch is full; raise WrongBatchSizeError for a wrong one."""
        self.num_batches += 1
        asked = self.batches.batch_size
        last = None if self.length is None else self.num_batches >= self.length
        fill, found = self.counter(batch, items, last=last)
        if fill == "full":
            self.found_full = True
            return True
        if fill == "larger" or (found == self.stated and found != asked):
            # What the loader states needs no other way of counting.
            advice = COUNT_SAMPLES
            if found is not None and found == self.stated:
                likely = self.batches.likely_attributes
                advice = "" if likely is None else likely(found)
            raise wrong_training_batch(found, asked, advice)
        self.largest = max(self.largest, found or 0)
        if self.num_batches == _DOUBTFUL and not self.found_full:
            self.batches.doubt(self.largest)
        return False

    @property
    def hopeless(self) -> bool:
        """Whether so many batches came without a full one that none will."""
        return self.num_batches >= _HOPELESS and not self.found_full


class SizedFullBatches(FullBatches):
    """Full batches of a loader with a length, for which Lightning fetches no batch ahead."""

    def __len__(self) -> int:
        return LENGTH if self.endless else len(self.loader)


class WorstCaseBatches:
    """Gives worst-case batches for ever, from the data module's `worst_case_batch(batch_size)`."""

    def __init__(
        self,
        worst_case_batch: Callable[[int], Any],
        batch_size: int,
        count_samples: Callable[[Any], int] | None = None,
    ) -> None:
        self.worst_case_batch = worst_case_batch
        self.batch_size = batch_size
        self.count_samples = count_samples
        self.length = LENGTH

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.length):
            batch = self.worst_case_batch(self.batch_size)
            found = self._contradiction(batch)
            if found is not None:
                raise WrongBatchSizeError(
                    f"worst_case_batch({self.batch_size}) gave {found} samples. {COUNT_SAMPLES}"
                )
            yield batch

    def _contradiction(self, batch: Any) -> int | None:
        """Return another number of samples that the batch plainly has; None where it may be right.

        The hook is believed where the batch does not tell: crops and concatenated sequences have
        more rows than samples.
        """
        if self.count_samples is not None:
            found = counted(self.count_samples, batch)
            return None if found == self.batch_size else found
        shown = content(batch)
        number = shown.other_than(self.batch_size)
        if number is None or shown.may_hold(self.batch_size):
            return None
        plain = shown.stated is not None or len(set(shown.dimensions)) == 1
        return number if plain and number % self.batch_size else None


def full_batches(loader: Any, batch_size: int, **more: Any) -> FullBatches:
    """Return the endless full batches of a loader, with a length where the loader has one."""
    kind = FullBatches if length_of(loader) is None else SizedFullBatches
    return kind(loader, batch_size, **more)


def wrong_training_batch(found: int | None, asked: int, advice: str) -> WrongBatchSizeError:
    """Return the error for a training loader that does not have the batch size that was set."""
    line = (
        f"the training loader gave a batch of {found} samples when the batch size was set to "
        f"{asked}: its batch size must come from the attribute that is set (`batch_size` on the "
        "module, its hparams, the data module or its hparams; another one can be named with "
        "`batch_size_attr`)"
    )
    return WrongBatchSizeError(f"{line}. {advice}" if advice else line)


def length_of_pass(loader: Any) -> int | None:
    """Return the number of batches in a pass where their items are not counted; None if unknown.

    A single batch is not told from the last one of several, and counts as unknown.
    """
    if collates_as_torch(loader) or isinstance(getattr(loader, "dataset", None), IterableDataset):
        return None
    length = length_of(loader)
    return length if length is not None and length > 1 else None
