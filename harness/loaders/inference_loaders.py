"""Makes a Trainer validate, test or predict alone on full batches of the workload's own loader."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.loaders.passes import samples_in_pass
from harness.loaders.replaced_loaders import combined, iterated_as, replace_for_trainer
from harness.loaders.validation_loaders import FullFirstBatch, overridden
from harness.workload import attributes

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.workload.build import Workload

STEPS = {"validate": "validation_step", "test": "test_step", "predict": "predict_step"}
"""The hook of the module that each function of the Trainer calls."""
LOADERS = {"validate": "val_dataloader", "test": "test_dataloader", "predict": "predict_dataloader"}
"""The hook that makes its loader."""


class InferenceLoaders:
    """The loaders of one function of the Trainer, as the workload makes them."""

    def __init__(self, workload: Workload, function: str, batch_size: int) -> None:
        self.workload = workload
        self.function = function
        self.batch_size = batch_size
        self.made: list[Any] = []
        """The user's loaders, once the Trainer has asked for them."""

    def require(self) -> None:
        """Raise HarnessError where the workload lacks the step or the loader of the function."""
        workload, function = self.workload, self.function
        module, owner = workload.module, workload.loader_owner
        step, loader = STEPS[function], LOADERS[function]
        # Lightning's own predict_step calls the module.
        if function != "predict" and not overridden(workload, module, step):
            raise HarnessError(_missing(function, module, step))
        if not overridden(workload, owner, loader):
            raise HarnessError(_missing(function, owner, loader))

    def set_batch_size(self) -> None:
        """Set the batch size where the loader may read it: its own attribute, and the common one.

        Nothing trains, so the common one may be that of inference.
        """
        workload = self.workload
        own = attributes.set_inference_batch_size(
            workload.loader_owner, self.function, self.batch_size
        )
        with suppress(HarnessError) if own else nullcontext():
            attributes.set_batch_size(
                workload.module,
                workload.datamodule,
                self.batch_size,
                attr=workload.spec["batch_size_attr"],
            )

    def give_to(self, loop: Any) -> None:
        """Make a loop of the Trainer iterate over the loaders from their first full batch on."""
        workload = self.workload

        def make(original: Callable[[], Any]) -> Any:
            loaders = combined(workload.lightning, original(), "sequential")
            self.made = list(loaders.flattened)
            return iterated_as(loaders, insisting)

        def insisting(own: Any) -> Any:
            own.flattened = [
                FullFirstBatch(loader, self.batch_size, workload.count_samples, self.function)
                for loader in own.flattened
            ]
            return own

        replace_for_trainer(loop, workload.loader_owner, LOADERS[self.function], make)

    def samples_in_pass(self) -> int | None:
        """Return the samples of the shortest loader; None where that is not known of one."""
        numbers = [samples_in_pass(loader) for loader in self.made]
        known = [number for number in numbers if number is not None]
        return min(known, default=None) if len(known) == len(numbers) else None


def _missing(function: str, thing: Any, hook: str) -> str:
    return (
        f"search.inference asks for {function}, and {type(thing).__qualname__} has no {hook}: "
        f"add it, or leave {function} out of search.inference for this model"
    )
