"""Builds a case's workload from class paths: a LightningModule and a LightningDataModule.

Runs only in the zygote and its probes. Imports torch, and Lightning when it builds.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import HarnessError, NotOfferedError
from harness.workload import defaults
from harness.workload.keras_models import BACKEND, is_keras, on_device, why_missing
from harness.workload.wrappers import as_dataset, wrap_dataset, wrap_module

if TYPE_CHECKING:
    from types import ModuleType

    from harness.protocol.case import ObjectSpec, WorkloadSpec
    from harness.workload.configured import Configured

_CONFIGURED = "harness.workload.configured"
# A function may return a module together with its data.
_PAIR = 2


@dataclass(frozen=True)
class Workload:
    """A case's module and data, ready for a Trainer of the module's own Lightning package."""

    spec: WorkloadSpec
    """The workload as the matrix describes it."""
    lightning: ModuleType
    """`lightning.pytorch` or `pytorch_lightning`."""
    module: Any
    """The LightningModule."""
    datamodule: Any
    """The LightningDataModule, or None when the module has loaders of its own."""
    user_module: Any
    """The object that the user's class path made: `module` itself, or the model inside of it."""
    user_data: Any
    """The object that the user's class path for data made; None without one."""

    @property
    def loader_owner(self) -> Any:
        """The object that has the loaders: the data module, or the module without one."""
        return self.module if self.datamodule is None else self.datamodule

    @property
    def configured(self) -> Configured | None:
        """What it takes from configurations of the project, as far as it is made; None for none."""
        module = sys.modules.get(_CONFIGURED)
        return None if module is None else module.noted()

    @property
    def synthetic(self) -> bool:
        """Whether nothing can be learned from the data."""
        return bool(getattr(self.user_data, "synthetic", False))

    @property
    def worst_case_batch(self) -> Any:
        """The data module's hook `worst_case_batch(batch_size)`, or None."""
        return getattr(self.user_data, "worst_case_batch", None)

    @property
    def count_samples(self) -> Any:
        """The hook `count_samples(batch)` of the data, or else of the module; None without it."""
        of_data = getattr(self.user_data, "count_samples", None)
        return getattr(self.user_module, "count_samples", None) if of_data is None else of_data


def build(spec: WorkloadSpec) -> Workload:
    """Build the workload of a case on the CPU.

    Raises HarnessError when a class path names something that cannot be trained, and
    NotOfferedError when it does not offer a change of the spec. An exception of the user's own
    constructors passes through.
    """
    if (noted := sys.modules.get(_CONFIGURED)) is not None:
        noted.begin()
    if (training := spec.get("training")) is not None:
        return _build_training(spec, training)
    assert spec["module"] is not None, "a workload has a module or a training"
    module, its_data = _module_of(_instantiate_module(spec["module"]))
    data = _data_of(instantiate(spec["data"])) if spec["data"] else its_data
    if not isinstance(module, torch.nn.Module):
        hint = ""
        if is_keras(module):
            hint = f"; a Keras model is one with {BACKEND}=torch in the environment"
        raise HarnessError(
            f"module {spec['module']['class_path']} gave {_a(module)}; a LightningModule or an "
            f"nn.Module is needed{hint}"
        )
    lightning = _lightning_of(module, data)
    wrapped = module
    if data is None and not isinstance(module, lightning.LightningModule):
        raise HarnessError(
            f"module {spec['module']['class_path']} is no LightningModule, and has no data of its "
            "own: give the model `data`, a LightningDataModule or a data set"
        )
    if not isinstance(module, lightning.LightningModule):
        loss = instantiate(spec["loss"] or defaults.LOSS)
        optimizer = spec["optimizer"] or defaults.OPTIMIZER
        wrapped = wrap_module(
            lightning,
            module,
            loss,
            locate(optimizer["class_path"]),
            arguments(optimizer["init_args"]),
            loss_given=spec["loss"] is not None,
        )
    elif spec["loss"] or spec["optimizer"]:
        raise HarnessError(
            f"{spec['module']['class_path']} is a LightningModule, which has a loss and an "
            "optimizer of its own: remove `loss` and `optimizer` from the model"
        )
    datamodule = _datamodule(spec, data, lightning)
    for change in spec.get("changes", ()):
        from harness.workload.changes import apply  # noqa: PLC0415 - see its docstring

        apply(change, wrapped)
    return Workload(spec, lightning, wrapped, datamodule, module, data)


def _module_of(made: Any) -> tuple[Any, Any]:
    """Return the module, and the data that a function may return beside it."""
    return made if isinstance(made, tuple) and len(made) == _PAIR else (made, None)


def _data_of(made: Any) -> Any:
    """Return the data; of a function that makes a module, too, they are the second."""
    with_module = isinstance(made, tuple) and len(made) == _PAIR
    return made[1] if with_module and isinstance(made[0], torch.nn.Module) else made


def with_data(workload: Workload, data: ObjectSpec, collate_fn: ObjectSpec | None) -> Workload:
    """Return the workload with other data, which are built here; the module is the same.

    Raises as `build` does.
    """
    spec: WorkloadSpec = {**workload.spec, "data": data, "collate_fn": collate_fn}
    made = _data_of(instantiate(data))
    datamodule = _datamodule(spec, made, workload.lightning)
    return replace(workload, spec=spec, datamodule=datamodule, user_data=made)


def _build_training(spec: WorkloadSpec, training: ObjectSpec) -> Workload:
    """Return the workload of a step function, which is made where its device is known."""
    if spec.get("changes"):
        raise NotOfferedError("the module of a training is not changed: it is made too late")
    from harness.workload.step_training import wrap_training  # noqa: PLC0415 - the others' memory

    lightning = importlib.import_module("lightning.pytorch")
    make = locate(training["class_path"])
    init_args = arguments(training["init_args"] or {})
    wrapped = wrap_training(lightning, functools.partial(make, **init_args), training["class_path"])
    return Workload(spec, lightning, wrapped, None, wrapped, None)


def _instantiate_module(spec: ObjectSpec) -> Any:
    """Make the module, with the variables of Keras on the CPU, as torch's are."""
    try:
        make = locate(spec["class_path"])  # may import Keras
        with on_device("cpu"):
            return make(**arguments(spec.get("init_args") or {}))
    except ModuleNotFoundError as error:
        why = why_missing(error)
        if why is None:
            raise
        raise HarnessError(f"module {spec['class_path']}: {why}") from error


def _datamodule(spec: WorkloadSpec, data: Any, lightning: ModuleType) -> Any:
    """Return the user's data module, or one for the user's data set; None without data."""
    collate_spec = spec.get("collate_fn")
    if data is None or isinstance(data, lightning.LightningDataModule):
        if collate_spec:
            holder = spec["module" if data is None else "data"] or spec["module"]
            assert holder is not None, "a workload without a module has no data"
            raise HarnessError(
                f"{holder['class_path']} has loaders of its own, which collate as they do: remove "
                "`collate_fn` from the model"
            )
        return data
    data_spec = spec["data"]
    holder = data_spec or spec["module"]
    assert holder is not None, "a workload without a module has no data"
    dataset = as_dataset(data, lambda: instantiate(data_spec) if data_spec else data)
    if dataset is None:
        raise HarnessError(
            f"data {holder['class_path']} gave {_a(data)}; a LightningDataModule of "
            f"{lightning.__name__} (the module's package) or a data set is needed: a torch "
            "Dataset, a list, or another object with indices and a length, or one to iterate over"
        )
    return wrap_dataset(lightning, dataset, _collate_fn(collate_spec) if collate_spec else None)


def _collate_fn(spec: ObjectSpec) -> Any:
    """Return the function that collates: a function itself, or an object of a class."""
    target, args = locate(spec["class_path"]), arguments(spec["init_args"])
    if isinstance(target, type):
        target, args = target(**args), {}
    if not callable(target):
        raise HarnessError(
            f"collate_fn {spec['class_path']} gave {_a(target)}, which cannot be called with a "
            "list of samples"
        )
    return functools.partial(target, **args) if args else target


def instantiate(spec: ObjectSpec | Mapping[str, Any]) -> Any:
    """Call the object that `class_path` names with `init_args`; nested specs are built first.

    The convention is LightningCLI's.
    """
    return locate(spec["class_path"])(**arguments(spec.get("init_args") or {}))


def arguments(init_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with every nested spec replaced by the object that it describes."""
    return {name: _resolve(value) for name, value in init_args.items()}


def locate(class_path: str) -> Any:
    """Import the callable that a dotted path names: a function, a class, or a method of a class.

    Raises HarnessError when the module does not exist, or has no such name.
    """
    parts = class_path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # A shorter path is tried only if this very module does not exist. If it exists and
            # misses a dependency, its own error must be seen.
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise
            continue
        for name in parts[cut:]:
            if not hasattr(found, name):
                raise HarnessError(f"cannot import {class_path}: {module_name} has no {name!r}")
            found = getattr(found, name)
        return found
    raise HarnessError(f"cannot import {class_path}: no module named {parts[0]!r} on {sys.path}")


def _resolve(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "class_path" in value and set(value) <= {"class_path", "init_args"}:
            return instantiate(value)
        return {key: _resolve(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_resolve(item) for item in value]
    return value


def _lightning_of(module: Any, data: Any) -> ModuleType:
    """Return the Lightning package of the user's classes; `lightning.pytorch` if they are plain."""
    for thing in (module, data):
        for base in type(thing).__mro__:
            if base.__module__.startswith("pytorch_lightning."):
                return importlib.import_module("pytorch_lightning")
            if base.__module__.startswith("lightning.pytorch."):
                return importlib.import_module("lightning.pytorch")
    return importlib.import_module("lightning.pytorch")


def _a(thing: Any) -> str:
    return f"an object of type {type(thing).__module__}.{type(thing).__qualname__}"
