"""Makes a Trainer train on full batches of the probe's size, without end."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.errors import NoFullBatchError
from harness.loaders.batch_counts import content, counted, stated_batch_size
from harness.loaders.counted_batches import CountedBatches, length_of
from harness.loaders.full_batches import (
    COUNT_SAMPLES,
    FullBatches,
    WorstCaseBatches,
    full_batches,
    wrong_training_batch,
)
from harness.loaders.passes import samples_in_pass
from harness.loaders.replaced_loaders import combined, iterated_as, replace_for_trainer
from harness.workload import attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from harness.loaders.counted_batches import Uncounted
    from harness.loaders.worst_batches import WorstBatches
    from harness.workload.build import Workload

# torch's RandomSampler raises this for an empty data set. Without shuffling, the loader of an empty
# data set just has no batches.
_NO_SAMPLES = "num_samples should be a positive integer value, but got num_samples=0"
# How a Trainer combines several loaders.
MODE = "max_size_cycle"
# So many batches show whether a loader obeys: the first ones may be partial.
_SHOWN = 8


def train_on_full_batches(
    trainer: Any,
    workload: Workload,
    batch_size: int,
    *,
    worst_case: bool = True,
    endless: bool = True,
    uncounted: Uncounted = nullcontext,
    worst: WorstBatches | None = None,
) -> None:
    """Make `trainer` train on full batches without end; the user's loaders stay what they are.

    The other arguments are those of `full_loaders`.
    """
    make = full_loaders(
        workload,
        batch_size,
        worst_case=worst_case,
        endless=endless,
        uncounted=uncounted,
        worst=worst,
    )
    replace_for_trainer(trainer.fit_loop, workload.loader_owner, "train_dataloader", make)


def full_loaders(
    workload: Workload,
    batch_size: int,
    *,
    worst_case: bool = True,
    endless: bool = True,
    uncounted: Uncounted = nullcontext,
    worst: WorstBatches | None = None,
) -> Callable[[Callable[[], Any]], Any]:
    """Return a function that takes the hook `train_dataloader`, and returns what a Trainer gets.

    These are the user's loaders, which the Trainer iterates as full batches without end.

    If there are several loaders (a list, a dict), each is repeated with the batch size that it
    states, or with `batch_size` if it states none.

    worst_case: train on the data module's `worst_case_batch`, if it has one.
    endless: else each pass ends as the user's does, with its partial batches.
    uncounted: makes a block whose allocations are no part of the case's memory: what a hook or a
    sampler builds once.
    worst: the batches of each loader to train on, where the case asks for the worst.
    """
    lightning = workload.lightning
    hook = workload.worst_case_batch if worst_case else None

    def make(original: Callable[[], Any]) -> Any:
        if hook is not None:
            hooked = WorstCaseBatches(hook, batch_size, workload.count_samples)
            if not endless:
                told = _length(combined(lightning, _made(original), MODE))
                hooked.length = told or hooked.length
            return _worst_case(lightning, original, hooked)
        with uncounted():
            loaders = combined(lightning, _made(original), MODE)
        obedience = _Obedience(workload, original, batch_size)
        several = len(loaders.flattened) > 1
        begun: set[int] = set()

        def full(position: int, loader: Any) -> Any:
            # Each pass replaces what the one before has built.
            block = nullcontext if position in begun else uncounted
            begun.add(position)
            found = worst.loaders.get(position) if worst is not None else None
            if found is None:
                return own_batches(position, block, loader)
            own = partial(own_batches, position, block)
            return found.in_place_of(loader, own, endless=endless)

        def own_batches(position: int, block: Uncounted, loader: Any) -> FullBatches:
            if several:
                size = stated_batch_size(loader) or batch_size
                return full_batches(
                    loader,
                    size,
                    endless=endless,
                    renew=obedience.renew(position),
                    uncounted=block,
                )
            return full_batches(
                loader,
                batch_size,
                endless=endless,
                count_samples=workload.count_samples,
                require_obedience=obedience.require,
                likely_attributes=obedience.likely,
                renew=obedience.renew(position),
                uncounted=block,
            )

        def iterated(own: Any) -> Any:
            own.flattened = [full(*pair) for pair in enumerate(own.flattened)]
            own.limits = None
            return own

        if several:
            obedience.require_of_several(loaders.flattened)
        return iterated_as(loaders, iterated)

    return make


def describe_training_loader(workload: Workload) -> tuple[int | None, int]:
    """Return the samples in a pass over the training data, and the number of workers that load it.

    The batch size is to be 1. The samples are None where they are not known.
    """
    try:
        loaders = combined(workload.lightning, workload.loader_owner.train_dataloader(), MODE)
        workers = sum(getattr(loader, "num_workers", 0) or 0 for loader in loaders.flattened)
    except Exception:  # noqa: BLE001 - a hook may refuse this batch size; the probes will tell
        return None, 0
    num_samples = None
    # Where an item is several samples, their number does not follow from that of the items.
    if len(loaders.flattened) == 1 and workload.count_samples is None:
        (loader,) = loaders.flattened
        if stated_batch_size(loader) == 1:
            num_samples = samples_in_pass(loader)
    return num_samples, workers


class _Obedience:
    """Finds out whether the training loader obeys the batch size that is set."""

    def __init__(self, workload: Workload, original: Callable[[], Any], batch_size: int) -> None:
        self.workload = workload
        self.original = original
        self.batch_size = batch_size

    def require(self, found: int) -> None:
        """Raise WrongBatchSizeError if a batch holds `found` samples also where fewer are asked.

        A single batch tells nothing: a bucket or a worker's part of a stream may end with it.
        """
        if found < 1:
            return
        if found > 1:
            loaders = self._made_with(found // 2)
            if loaders is None or not any(map(self._shows(found), loaders)):
                return
        raise wrong_training_batch(found, self.batch_size, COUNT_SAMPLES)

    def require_of_several(self, loaders: list[Any]) -> None:
        """Raise WrongBatchSizeError if several loaders state sizes that never change."""
        sizes = [stated_batch_size(loader) for loader in loaders]
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes) or self.batch_size in (*known, sum(known)):
            return
        others = self._made_with(2 * self.batch_size)
        if others is not None and sizes == [stated_batch_size(loader) for loader in others]:
            raise wrong_training_batch(known[0], self.batch_size, self.likely(known[0]))

    def likely(self, found: int) -> str:
        """Return a sentence with the attributes that hold the size of the loader's batches."""
        names = attributes.likely_batch_sizes(self.workload.module, self.workload.datamodule, found)
        if not names:
            return ""
        return f"{attributes.shown(names)} is {found}: set `batch_size_attr: {next(iter(names))}`"

    def renew(self, position: int) -> Callable[[], Any]:
        """Return a function that makes a loader again."""
        return lambda: combined(self.workload.lightning, _made(self.original), MODE).flattened[
            position
        ]

    def _made_with(self, batch_size: int) -> list[Any] | None:
        """Return the loaders of another batch size; None where the hook refuses that size."""
        workload, attr = self.workload, self.workload.spec["batch_size_attr"]
        parts = (workload.module, workload.datamodule)
        attributes.set_batch_size(*parts, batch_size, attr=attr)
        try:
            loaders: list[Any] = combined(workload.lightning, self.original(), MODE).flattened
        except Exception:  # noqa: BLE001 - whatever it raises, it has read the size
            return None
        finally:
            attributes.set_batch_size(*parts, self.batch_size, attr=attr)
        return loaders

    def _shows(self, found: int) -> Callable[[Any], bool]:
        """Return a function that tells whether one of a loader's first batches holds `found`."""
        hook = self.workload.count_samples

        def holds(items: int | None, batch: Any) -> bool:
            if hook is not None:
                return counted(hook, batch) == found
            return items == found if items is not None else found in content(batch).numbers

        return lambda loader: any(
            holds(items, batch) for items, batch in islice(CountedBatches(loader), _SHOWN)
        )


def _worst_case(lightning: ModuleType, original: Callable[[], Any], worst: WorstCaseBatches) -> Any:
    """Return the user's loaders, iterated as worst-case batches."""
    try:
        loaders = combined(lightning, original(), MODE)
    except Exception:  # noqa: BLE001 - the data may be missing: the hook's batches replace them
        return worst
    return iterated_as(loaders, lambda _: combined(lightning, worst, MODE))


def _length(loaders: Any) -> int | None:
    """Return the number of batches of the longest loader; None for a stream."""
    known = [length_of(loader) for loader in loaders.flattened]
    lengths = [length for length in known if length is not None]
    return max(lengths) if len(lengths) == len(known) else None


def _made(original: Callable[[], Any]) -> Any:
    """Call the hook; raise NoFullBatchError where its data are empty."""
    try:
        return original()
    except ValueError as error:
        if _NO_SAMPLES not in str(error):
            raise
        raise NoFullBatchError("the training data are empty") from error
