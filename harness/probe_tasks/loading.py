"""Times the training loader alone and the training step alone, by turns, in one process.

The step trains on one batch again and again, with its transfer to the device. The loader is the
user's own, with a number of workers that is asked for. Their start, and the batches that they load
ahead, are left out.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from harness.errors import HarnessError
from harness.loaders.full_batches import full_batches
from harness.loaders.replaced_loaders import combined, iterated_as, replace_for_trainer
from harness.memory_bounds import make_bound
from harness.probe_tasks.trainer import FitWatch, make_callback, make_trainer, seed_everything
from harness.probe_trainer.fit_failures import explain_fit
from harness.workload import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.protocol.lr import LoadingResult
    from harness.protocol.messages import Failure, LoadingRequest, TellPhase
    from harness.workload.build import Workload

# A turn takes at least so many batches, and so many seconds: less is the noise of the clock and of
# the scheduler.
_BATCHES = 4
_SECONDS = 0.2
# A worker's batches come in bursts, so that a turn takes several of each worker.
_PER_WORKER = 2


class LoadingWatch(FitWatch):
    """Hooks of a callback that times steps, and lets the loader have its turn between them."""

    def __init__(self, workload: Workload, request: LoadingRequest, tell: TellPhase) -> None:
        super().__init__()
        self.workload = workload
        self.request = request
        self.tell = tell
        self.loader: Any = None
        self.step_seconds: list[float] = []
        self.load_seconds: list[float] = []
        self._batches = 0
        self._warm = False
        self._since = 0.0

    def on_train_start(self, *_: Any) -> None:
        self.loader = loader_with_workers(
            self.workload, self.request["batch_size"], self.request["num_workers"]
        )
        self.tell("forward")
        self._since = _now()

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self._batches += 1
        # A step of several micro-batches is timed as a whole.
        if self._batches % trainer.accumulate_grad_batches or self._batches < _BATCHES:
            return
        elapsed = _now() - self._since
        if self._warm and elapsed < _SECONDS:
            return
        if self._warm:
            self.step_seconds.append(elapsed / self._batches)
            self.tell("data")
            self.load_seconds.append(_load(self.loader))
            self.tell("forward")
        self._warm = True  # the first turn pays for kernels and caches that are chosen once
        trainer.should_stop = len(self.step_seconds) == self.request["rounds"]
        self._batches = 0
        self._since = _now()


def _load(loader: Any) -> float:
    """Return the seconds that the loader takes for a batch, once its workers are busy."""
    batches = iter(loader)
    ahead = loader.num_workers * (loader.prefetch_factor or 0)
    for _ in range(ahead + 1):
        next(batches)
    least, number, since = max(_BATCHES, _PER_WORKER * loader.num_workers), 0, time.perf_counter()
    while True:
        next(batches)
        number += 1
        elapsed = time.perf_counter() - since
        if number >= least and elapsed >= _SECONDS:
            return elapsed / number


def _now() -> float:
    """Return the time when all that was asked of the device is done."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.cuda.synchronize()
    return time.perf_counter()


def loading(
    workload: Workload, request: LoadingRequest, tell: TellPhase
) -> LoadingResult | Failure:
    """Time step and loader; return the seconds of a batch, a refusal, or the failure."""
    tell("setup")
    seed_everything()
    bound = make_bound(request["bound"])
    watch: Any = None
    refusal: str | None = None
    try:
        bound.start()
        bound.lift()  # the batch is known to fit; loader and step together need not
        watch = make_callback(workload.lightning, LoadingWatch, workload, request, tell)
        trainer = make_trainer(workload, bound, request["trainer"], callbacks=[watch])
        attributes.set_batch_size(
            workload.module,
            workload.datamodule,
            request["batch_size"],
            attr=workload.spec["batch_size_attr"],
        )
        _train_on_one_batch(trainer, workload, request["batch_size"])
        trainer.fit(workload.module, datamodule=workload.datamodule)
    except BaseException as error:  # noqa: BLE001 - whatever ends the user's training is the answer
        raised = (watch and watch.error) or error
        if not isinstance(raised, WorkersNotSetError):
            return explain_fit(error, workload, watch, tell, request["bound"]["accelerator"])
        refusal = str(raised)
    return {
        "outcome": "fits",
        "refusal": refusal,
        "step_seconds": watch.step_seconds,
        "load_seconds": watch.load_seconds,
    }


def _train_on_one_batch(trainer: Any, workload: Workload, batch_size: int) -> None:
    """Make a Trainer train on the first full batch, again and again."""
    lightning = workload.lightning

    def make(original: Callable[[], Any]) -> Any:
        def repeated(own: Any) -> Any:
            first = own.flattened[0]
            full = full_batches(first, batch_size, count_samples=workload.count_samples)
            own.flattened = [_Repeated(full), *own.flattened[1:]]
            own.limits = None
            return own

        return iterated_as(combined(lightning, original(), "max_size_cycle"), repeated)

    replace_for_trainer(trainer.fit_loop, workload.loader_owner, "train_dataloader", make)


class _Repeated:
    """Gives the first of some batches for ever."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.batches)
        batch = next(batches)
        while True:
            yield batch


class WorkersNotSetError(HarnessError):
    """The number of workers cannot be set, or would change what is trained on; says why."""


def loader_with_workers(workload: Workload, batch_size: int, num_workers: int) -> Any:
    """Set `num_workers` on the data module, and return its loader, which repeats its full batches.

    The data must be set up. Raises WorkersNotSetError where the loader has not so many workers.
    """
    owner = workload.loader_owner
    if workload.spec.get("training") is not None:
        raise WorkersNotSetError("a training loads its data itself, with workers of its own")
    places = attributes.set_num_workers(owner, num_workers)
    if not places:
        raise WorkersNotSetError(
            f"{type(owner).__name__} has no num_workers, as an attribute or in its hparams: add "
            "it, and hand it to the DataLoader"
        )
    loaders = combined(workload.lightning, owner.train_dataloader(), "max_size_cycle").flattened
    if len(loaders) != 1:
        raise WorkersNotSetError(
            f"there are {len(loaders)} training loaders, each with workers of its own"
        )
    (loader,) = loaders
    kind = type(loader).__qualname__
    if not isinstance(loader, DataLoader):
        raise WorkersNotSetError(f"the training loader, of type {kind}, is no DataLoader of torch")
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise WorkersNotSetError(f"the training loader, of type {kind}, has an __iter__ of its own")
    if isinstance(loader.dataset, IterableDataset):
        raise WorkersNotSetError(
            f"the training data, of type {type(loader.dataset).__qualname__}, are a stream: each "
            "worker goes through all of it, unless it shards itself, so that another number of "
            "workers may be another training"
        )
    if loader.num_workers != num_workers:
        raise WorkersNotSetError(
            f"the training loader keeps num_workers at {loader.num_workers} where {places[0]} is "
            f"{num_workers}: hand that to the DataLoader, in each call of train_dataloader"
        )
    return _repeated(loader, batch_size)


def _repeated(loader: DataLoader[Any], batch_size: int) -> Any:
    """Return the loader with a sampler that never ends: an epoch may be a few batches."""
    endless = copy.copy(loader)
    # torch refuses to set it on a loader that is made.
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    vars(endless)[name] = _Endless(getattr(loader, name), batch_size)
    return endless


class _Endless:
    """Repeats a sampler, without the batches that are smaller than the others."""

    def __init__(self, sampler: Any, batch_size: int) -> None:
        self.sampler = sampler
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[Any]:
        while True:
            count = 0
            for indices in self.sampler:
                if not isinstance(indices, (list, tuple)) or len(indices) >= self.batch_size:
                    count += 1
                    yield indices
            if not count:
                raise WorkersNotSetError(f"the data hold no full batch of {self.batch_size}")

    def __len__(self) -> int:
        return len(self.sampler)
