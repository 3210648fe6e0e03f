"""Runs a training that is no LightningModule in a probe's Trainer: each batch is one `step()`.

Lightning then only counts. The training makes its own batches, computes its own loss, and steps its
own optimizer; nothing moves its model, converts it, or changes its mode. It is made where Lightning
asks for optimizers: the device is known by then, and the memory is not limited yet.
"""

from __future__ import annotations

import gc
import inspect
import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from harness.errors import HarnessError, NoFullBatchError
from harness.workload.transformers_trainers import (
    is_trainer,
    made_for_probe,
    validates,
    without_effect,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_GIVEN = ("batch_size", "device")
_ENDED = (
    "step() raised StopIteration: the data of the training have ended. A probe takes some steps "
    "more than a pass may have: let step() begin anew"
)


class StepCounter(torch.optim.SGD):
    """Stands in for the optimizer of a training that shows none: its steps are counted."""

    def __init__(self) -> None:
        super().__init__([torch.nn.Parameter(torch.empty(0))], lr=0.0)


class _Batches:
    """Gives the size of a batch, again and again: the training makes the batch itself."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[int]:
        while True:
            yield self.batch_size


class _StepTraining:
    """Hooks of a LightningModule that trains by the `step()` of the user's object."""

    make: Callable[..., Any]
    given: tuple[str, ...]
    named: tuple[str, ...]
    class_path: str
    batch_size: int
    shows_optimizer: bool
    training_object: Any
    trainer: Any
    trained: dict[str, torch.nn.Module]
    """The models of a loop, once it has come to its first batch."""
    add_module: Callable[[str, Any], None]

    def count_samples(self, batch: int) -> int:
        return batch

    def configure_optimizers(self) -> Any:
        """Make the training; return its optimizer, or what counts its steps without one."""
        self.trained = {}
        known = {id(module) for module in living_modules()}
        made = self._made()
        self.training_object = made
        if self.is_trainer:
            # It makes its optimizer when it trains, and takes its steps itself.
            self.add_module("model", made.model)
            return StepCounter()
        if self.is_loop and "batch_size" in self.given:
            # It makes its models and optimizers when it trains.
            self.shows_optimizer = True
            return StepCounter()
        if not self.is_loop and not callable(getattr(made, "step", None)):
            kind = f"{type(made).__module__}.{type(made).__qualname__}"
            raise HarnessError(
                f"training {self.class_path} gave an object of type {kind}, which has no step() "
                "and is no transformers.Trainer: return one of these, an object whose step() "
                "takes one optimizer step and returns the loss, or a function that trains when it "
                "is called"
            )
        if missing := [name for name in _GIVEN if name not in self.given]:
            raise HarnessError(
                f"training {self.class_path} does not take {' and '.join(missing)}: a step "
                f"function is made with {' and '.join(_GIVEN)}, and with its init_args"
            )
        for name, module in _models(made, known).items():
            # Registered, it counts as the model of the case: its memory, its names.
            self.add_module(name.replace(".", "_"), module)
        given = getattr(made, "optimizer", None)
        self.shows_optimizer = given is not None
        optimizers = list(given) if isinstance(given, list | tuple) else [given]
        for optimizer in optimizers:
            if optimizer is not None and not hasattr(optimizer, "param_groups"):
                raise HarnessError(
                    f"the `optimizer` of the training {self.class_path} is "
                    f"{type(optimizer).__qualname__}: it needs a torch optimizer, or several as a "
                    "list; without one, leave it out"
                )
        return StepCounter() if given is None else optimizers

    def _made(self) -> Any:
        """Call the user's function with what it takes."""
        device = self.trainer.strategy.root_device
        offered = {"batch_size": self.batch_size, "device": device}
        seed = torch.initial_seed()
        with made_for_probe(self.batch_size, seed, on_cpu=device.type == "cpu"):
            try:
                return self.make(**{name: offered[name] for name in self.given})
            except TypeError as error:
                # A function that hands **arguments on to TrainingArguments takes neither.
                if not any(
                    f"unexpected keyword argument {name!r}" in str(error) for name in _GIVEN
                ):
                    raise
                self.given = tuple(name for name in self.given if name in self.named)
            return self.make(**{name: offered[name] for name in self.given})

    def train_dataloader(self) -> Any:
        return _Batches(self.batch_size)

    def training_step(self, _batch: int, _batch_idx: int) -> Any:
        try:
            with full_batches_of(self.batch_size):
                loss = self.training_object.step()
        except StopIteration as error:
            # Lightning would take it for the end of an epoch.
            raise HarnessError(_ENDED) from error
        if not self.shows_optimizer:
            self.trainer.optimizers[0].step()  # the counter
        return None if loss is None else {"loss": _number(loss)}

    def val_dataloader(self) -> Any:
        # One call validates as much as the training wants.
        return [self.batch_size] if self.validates else []

    def validation_step(self, _batch: int, _batch_idx: int) -> None:
        with torch.inference_mode(mode=False), torch.enable_grad():
            self.training_object.validate()

    def on_validation_model_eval(self) -> None:
        """Leave the mode to the training's `validate`."""

    def on_validation_model_train(self) -> None:
        """Leave the mode to the training's `validate`."""

    @property
    def is_trainer(self) -> bool:
        """Whether the training is a transformers.Trainer, which runs its own loop."""
        return is_trainer(self.training_object)

    @property
    def is_loop(self) -> bool:
        """Whether the training is a function that trains, with a loop of its own."""
        made = self.training_object
        stepped = callable(getattr(made, "step", None)) or isinstance(made, torch.nn.Module | type)
        return callable(made) and not stepped and not self.is_trainer

    @property
    def validates(self) -> bool:
        """Whether the training has validation; known once it is made."""
        if self.is_trainer:
            return validates(self.training_object)
        return callable(getattr(self.training_object, "validate", None))

    def notes(self) -> list[str]:
        """Return what the training is asked for and does not do, in words."""
        return without_effect(self.training_object) if self.is_trainer else []

    @property
    def num_samples(self) -> int | None:
        """The samples in a pass, where the training says it.

        Raises HarnessError where that is no number of samples.
        """
        number = getattr(self.training_object, "num_samples", None)
        if number is None:
            return None
        try:
            samples = operator.index(number)  # NumPy has whole numbers of its own
        except TypeError:
            samples = 0
        if samples < 1 or isinstance(number, bool):
            raise HarnessError(
                f"`num_samples` of the training {self.class_path} is {number!r}: it is a whole "
                "number from 1, or left out"
            )
        return samples

    @property
    def described(self) -> Any:
        """What has the parameters: the one model, or all of them by their names."""
        if self.is_loop:
            return torch.nn.ModuleDict(self.trained)
        models = list(self.children())  # type: ignore[attr-defined]  # of the LightningModule
        return models[0] if len(models) == 1 else self


def wrap_training(lightning: ModuleType, make: Callable[..., Any], class_path: str) -> Any:
    """Make a LightningModule that trains by what `make(batch_size, device)` returns.

    Raises HarnessError where it cannot be called. What it does not take by name it is not given;
    only a function that makes a transformers.Trainer may do without.
    """
    given, named = _given(make, class_path)
    wrapped = type("StepTraining", (_StepTraining, lightning.LightningModule), {})()
    wrapped.automatic_optimization = False
    wrapped.make, wrapped.class_path = make, class_path
    wrapped.given, wrapped.named = given, named
    wrapped.batch_size = 1
    wrapped.training_object = None
    wrapped.trained = {}
    return wrapped


def _given(make: Callable[..., Any], class_path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what the function may take of a batch size and a device, and what it takes by name."""
    if not callable(make):
        raise HarnessError(f"training {class_path} is no function and no class")
    try:
        parameters = inspect.signature(make).parameters.values()
    except (TypeError, ValueError):
        return _GIVEN, _GIVEN  # of a built-in nothing is known
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {one.name for one in parameters if one.kind in kinds}
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters)
    named = tuple(name for name in _GIVEN if name in names)
    return (_GIVEN if takes_all else named), named


@contextmanager
def full_batches_of(batch_size: int) -> Iterator[None]:
    """Refuse loaders of this batch size that hold no full batch, in the block.

    Their batch would be partial, or a loop that waits for a batch would never end.
    """
    begin = DataLoader.__iter__

    def begin_full(loader: DataLoader[Any]) -> Any:
        if loader.batch_size == batch_size and _num_samples(loader) < batch_size:
            raise NoFullBatchError(f"the training data hold no full batch of {batch_size}")
        return begin(loader)

    DataLoader.__iter__ = begin_full  # type: ignore[method-assign]  # for this process alone
    try:
        yield
    finally:
        DataLoader.__iter__ = begin  # type: ignore[method-assign]  # as it was


def _num_samples(loader: DataLoader[Any]) -> float:
    try:
        return len(loader.sampler)  # type: ignore[arg-type]  # some samplers have no length
    except TypeError:
        return math.inf


def _models(made: Any, known: set[int]) -> dict[str, torch.nn.Module]:
    """Return the modules of a training by name: its `model`, its attributes, or all new ones.

    known: the modules that were there before it was made.
    """
    model = getattr(made, "model", None)
    several = not isinstance(model, torch.nn.Module)
    named: Mapping[Any, Any] = {"": model}
    if several and isinstance(model, Mapping):
        named = model
    elif several and isinstance(model, list | tuple):
        named = dict(enumerate(model))
    found = _only_modules({f"model_{key}".strip("_"): value for key, value in named.items()})
    if not found and isinstance(made, torch.nn.Module):
        return {"model": made}
    found = found or _only_modules(dict(getattr(made, "__dict__", {})))
    if found:
        return found
    # A step that is a closure shows its model nowhere else.
    return new_modules(known)


def new_modules(known: set[int]) -> dict[str, torch.nn.Module]:
    """Return the outermost modules that are alive, apart from those with these ids, by a name."""
    new = [module for module in living_modules() if id(module) not in known]
    inner = {id(child) for module in new for child in module.modules() if child is not module}
    outer = [module for module in new if id(module) not in inner]
    return {f"{type(module).__name__}_{number}": module for number, module in enumerate(outer)}


def _only_modules(named: Mapping[str, Any]) -> dict[str, torch.nn.Module]:
    return {key: value for key, value in named.items() if isinstance(value, torch.nn.Module)}


def living_modules() -> list[torch.nn.Module]:
    """Return all modules that are alive."""
    # By type: some objects compute their `__class__`, and would run code.
    return [one for one in gc.get_objects() if issubclass(type(one), torch.nn.Module)]


def _number(loss: Any) -> torch.Tensor:
    """Return a loss, apart from its graph."""
    try:
        value = loss.detach() if isinstance(loss, torch.Tensor) else torch.as_tensor(float(loss))
    except (TypeError, ValueError) as error:
        raise HarnessError(
            f"step() returned {loss!r:.80}, a {type(loss).__name__}: it returns the loss, one "
            "number, or None"
        ) from error
    if value.numel() != 1:
        raise HarnessError(
            f"step() returned a tensor of shape {tuple(value.shape)}: it returns the loss, one "
            "number, or None"
        )
    return value.reshape(())
