"""Builds a case's workload from class paths: a LightningModule and a LightningDataModule.

Runs only in the zygote and its probes. Imports torch, and Lightning when it builds.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from harness.errors import HarnessError
from harness.workload import defaults
from harness.workload.wrappers import wrap_dataset, wrap_module

if TYPE_CHECKING:
    from types import ModuleType

    from harness.protocol import ObjectSpec, WorkloadSpec


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
    module = instantiate(spec["module"])
    data = instantiate(spec["data"]) if spec["data"] else None
    if not isinstance(module, torch.nn.Module):
        raise HarnessError(
            f"module {spec['module']['class_path']} gave {_a(module)}; a LightningModule or an "
            "nn.Module is needed"
        )
    lightning = _lightning_of(module, data)
    wrapped = module
    if data is None and not isinstance(module, lightning.LightningModule):
        raise HarnessError(
            f"module {spec['module']['class_path']} is no LightningModule, and has no data of its "
            "own: give the model `data`, a LightningDataModule or a torch Dataset"
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
    datamodule = data
    if isinstance(data, Dataset):
        datamodule = wrap_dataset(lightning, data)
    elif data is not None and not isinstance(data, lightning.LightningDataModule):
        raise HarnessError(
            f"data {_named(spec)} gave {_a(data)}; a LightningDataModule of {lightning.__name__} "
            "(the module's package) or a torch Dataset is needed"
        )
    for change in spec.get("changes", ()):
        from harness.workload.changes import apply  # noqa: PLC0415 - see its docstring

        apply(change, wrapped)
    return Workload(spec, lightning, wrapped, datamodule, module, data)


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


def _named(spec: WorkloadSpec) -> str:
    assert spec["data"] is not None, "only data that was named was built"
    return spec["data"]["class_path"]
