"""Gives a transformers.Trainer full batches without an end, of its own loader."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.loaders.batch_counts import WrongBatchSizeError, stated_batch_size
from harness.loaders.counted_batches import CountedBatches, collates_as_torch
from harness.loaders.full_batches import FullBatches
from harness.loaders.passes import samples_in_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.loaders.counted_batches import Uncounted

_WRONG = (
    "the training loader gave a batch of {} samples when the batch size was set to {}: its batch "
    "size must come from `args.per_device_train_batch_size`, as that of the Trainer's own "
    "get_train_dataloader() does. If the batch holds as many samples as asked for, and this cannot "
    "be seen in it, give the Trainer a method `count_samples(batch)`"
)


def full_batches_of(
    trainer: Any, make: Callable[[], Any], own: Any, *, endless: bool, uncounted: Uncounted
) -> FullBatches:
    """Return the full batches of a Trainer's training loader.

    make: makes the loader again.
    endless: else a pass ends with the loader, and its smaller batches are left in.

    Raises WrongBatchSizeError where the loader states a size that does not follow the one that is
    set. Trainers that generate take the samples of several batches at once: theirs follows it.
    """
    size = asked = trainer.args.per_device_train_batch_size
    stated = stated_batch_size(own)
    if stated is not None and stated != size:
        other = _made_with(trainer, make, 2 * size)
        if other is None or stated_batch_size(other) != 2 * stated:
            raise WrongBatchSizeError(_WRONG.format(stated, size))
        size = stated

    def require(found: int) -> None:
        if found < 1:
            return
        other = _made_with(trainer, make, max(1, found // 2))
        counts = () if other is None else islice(_PreparedBatches(other, uncounted), _SHOWN)
        if any(items == found for items, _ in counts):
            raise WrongBatchSizeError(_WRONG.format(found, asked))

    batches = FullBatches(
        own,
        size,
        endless=endless,
        count_samples=getattr(trainer, "count_samples", None),
        require_obedience=require,
    )
    batches.batches = _PreparedBatches(own, uncounted)
    return batches


# Accelerate's loader that only moves batches.
_PLAIN = "DataLoaderShard"
# So many batches show whether a loader obeys: the first ones may be partial.
_SHOWN = 8


def _made_with(trainer: Any, make: Callable[[], Any], batch_size: int) -> Any:
    """Return the loader of another batch size; None where the Trainer refuses that size."""
    args, before = trainer.args, trainer.args.per_device_train_batch_size
    args.per_device_train_batch_size = trainer._train_batch_size = batch_size  # noqa: SLF001 - no public way
    try:
        return make()
    except Exception:  # noqa: BLE001 - whatever it raises, it has read the size
        return None
    finally:
        args.per_device_train_batch_size = trainer._train_batch_size = before  # noqa: SLF001 - likewise


def samples_of(trainer: Any) -> int | None:
    """Return the samples in a pass over a Trainer's data; None where they are not known."""
    own = trainer.get_train_dataloader()
    samples = samples_in_pass(getattr(own, "base_dataloader", own))
    stated = stated_batch_size(own)
    if samples is None or stated is None or getattr(trainer, "count_samples", None) is not None:
        return None
    # Trainers that generate take the samples of several batches at once.
    size: int = trainer.args.per_device_train_batch_size
    return samples * size // stated


class _Like:
    """Has all that a loader has, but for its iteration and its length."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


class TrainingBatches(_Like):
    """The loader that a Trainer trains on. Its length is the one of a pass that it is told.

    strategy: of Lightning's Trainer; where somebody follows how it moves batches, these are
        fetched, and with that moved, by its hand.
    """

    def __init__(self, own: Any, batches: FullBatches, length: int | None, strategy: Any) -> None:
        super().__init__(own)
        self.batches = batches
        self.length = length
        self.move = vars(strategy).get("batch_to_device")

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("the loader has no length")
        return self.length

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.batches)
        if self.move is None:
            return self._rephrased(batches)
        return self._moved(self._rephrased(batches))

    def _rephrased(self, batches: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from batches
        except WrongBatchSizeError as error:
            if "batch_size_attr" not in str(error):
                raise
            found = str(error).partition(" samples")[0].rpartition(" ")[2]
            raise WrongBatchSizeError(_WRONG.format(found, self.batches.batch_size)) from None

    def _moved(self, batches: Iterator[Any]) -> Iterator[Any]:
        end = object()
        assert self.move is not None, "somebody follows the batches"
        while (batch := self.move(_Fetched(batches, end))) is not end:
            yield batch


class _Fetched:
    """Becomes the next batch when it is moved to a device."""

    def __init__(self, batches: Iterator[Any], end: object) -> None:
        self.batches = batches
        self.end = end

    def to(self, *_: Any, **__: Any) -> Any:
        return next(self.batches, self.end)


class FewBatches(_Like):
    """The first batches of a loader."""

    def __init__(self, own: Any, number: int) -> None:
        super().__init__(own)
        self.number = number

    def __len__(self) -> int:
        return min(self.number, len(self.own))

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.own), self.number)


class _PreparedBatches(CountedBatches):
    """Iterates over a loader, also one that Accelerate has prepared, and counts collated items."""

    def __init__(self, loader: Any, uncounted: Uncounted) -> None:
        super().__init__(loader, uncounted)
        base = vars(loader).get("base_dataloader")
        # Others of Accelerate's look into the batches themselves, as the one for streams does.
        plain = type(loader).__name__ == _PLAIN
        if base is None or not plain or not collates_as_torch(base):
            self._shell: Any = None
            return
        # The loader stays the user's; its copies share the data, the sampler and the settings.
        self._shell = object.__new__(type(loader))
        vars(self._shell).update(vars(loader))
        self._shell.base_dataloader = _Counting(base, uncounted)

    def __iter__(self) -> Iterator[tuple[int | None, Any]]:
        if self._shell is None:
            yield from super().__iter__()
            return
        yield from self._shell


class _Counting(_Like):
    """A loader of torch whose batches come with the number of their items."""

    def __init__(self, own: Any, uncounted: Uncounted) -> None:
        super().__init__(own)
        self.batches = CountedBatches(own, uncounted)

    def __iter__(self) -> Iterator[tuple[int | None, Any]]:
        return iter(self.batches)
