"""Makes a case of the arguments of `harness.tune` and `harness.estimate`, as a matrix makes it."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.direct.objects import importable_path, is_maker, name_of
from harness.errors import HarnessError
from harness.matrix.without_file import OVERRIDES, as_label, make_cases, refuse_unknown
from harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.direct.gpu_argument import AskedGpu
    from harness.direct.objects import Objects
    from harness.matrix.case import Case

_ONE_SPEC = "a class path, a mapping of class_path and init_args, or a class or function"
# A function given for these is the thing itself; elsewhere it is called, and returns it.
_FUNCTIONS = ("loss", "collate_fn")


def direct_case(
    arguments: Mapping[str, Any],
    gpu: AskedGpu,
    objects: Objects,
    search_path: Sequence[str] = (),
) -> Case:
    """Return the case of these arguments, named as the keys of an entry below `models`.

    None stands for an argument that is not given. What is no plain data is left in `objects`, whose
    folder must be in the module path of probes.

    search_path: the folders in which modules are looked up before `sys.path`.

    Raises HarnessError for what cannot be used, each mistake behind the name of its argument.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    refuse_unknown(given)
    if not {*given} - {*OVERRIDES}:
        raise HarnessError(
            "nothing to train: give module= (and data=), or training=, each as an object, "
            f"{_ONE_SPEC}"
        )
    model = {name: _entry(name, value, objects) for name, value in given.items()}
    what = given.get("training", given.get("module", "model"))
    labels = (_label(what), gpu.label)
    folders = (str(objects.folder), *search_path)
    (case,) = make_cases(model, gpu.entry, labels=labels, search_path=folders)
    return case


def _label(thing: Any) -> str:
    """Return the label of a model: the name of its class or function."""
    if isinstance(thing, Mapping):
        thing = thing.get("class_path", "model")
    name = thing.rpartition(".")[2] if isinstance(thing, str) else name_of(thing)
    return as_label(name)


def _entry(name: str, value: Any, objects: Objects) -> Any:
    """Return what a matrix has below this key of a model."""
    if name == "training":
        return _spec(name, _refused_if_made(name, value, "step"), objects)
    if name == "optimizer":
        return _spec(name, _refused_if_made(name, value, "param_groups"), objects)
    if name == "collate_fn":
        return _spec(name, value, objects)
    if name in ("module", "data", "loss"):
        return _made(name, value, objects)
    if name in OVERRIDES and not isinstance(value, Mapping):
        raise HarnessError(f"{name}={visible(repr(value))[:60]}: a mapping of its keys is needed")
    return _plain(name, value, objects)


def _refused_if_made(name: str, value: Any, mark: str) -> Any:
    """Return what makes an object; refuse what is made already."""
    is_text = isinstance(value, str | Mapping)
    if not is_text and not is_maker(value) and (hasattr(value, mark) or not callable(value)):
        belongs = "its batch size" if name == "training" else "the parameters of its module"
        raise HarnessError(
            f"{name}: this object of type {type(value).__name__} is made already, with {belongs}; "
            f"hand over the class or the function that makes it: each probe makes {name} anew"
        )
    return value


def _spec(name: str, value: Any, objects: Objects) -> Any:
    """Return the class path, and arguments, of something that is called later."""
    if isinstance(value, str):
        return {"class_path": value}
    if isinstance(value, Mapping):
        return _mapping(name, value, objects)
    if isinstance(value, partial) and not value.args and importable_path(value.func) is not None:
        return {
            "class_path": objects.callable_path(name, value.func),
            "init_args": _plain(name, value.keywords, objects),
        }
    if not callable(value):
        raise HarnessError(f"{name}={visible(repr(value))[:60]}: {_ONE_SPEC} is needed")
    return {"class_path": objects.callable_path(name, value)}


def _made(name: str, value: Any, objects: Objects) -> Any:
    """Return the spec of what a probe has: what it makes, or a copy of an object of the caller."""
    if type(value).__name__ == "DataLoader" and hasattr(value, "collate_fn"):
        raise HarnessError(
            f"{name}: a DataLoader has its batch size already; hand over its data set, as "
            f"{name}=loader.dataset, with collate_fn=loader.collate_fn where that is your own"
        )
    made = is_maker(value)
    if made and name in _FUNCTIONS and not isinstance(_innermost(value), type):
        made = False
    if made or isinstance(value, str | Mapping):
        return _spec(name, value, objects)
    return {"class_path": objects.made_path(name, value)}


def _innermost(value: Any) -> Any:
    while isinstance(value, partial):
        value = value.func
    return value


def _plain(name: str, value: Any, objects: Objects) -> Any:
    """Return a setting or an argument as plain data, and each object in it as a spec."""
    if isinstance(value, Mapping):
        return _mapping(name, value, objects)
    if isinstance(value, list | tuple):
        return [_plain(name, item, objects) for item in value]
    if value is None or isinstance(value, str | numbers.Real | os.PathLike):
        return _scalar(value)
    if name == "lr_range.strategy" and callable(value):
        return {"class_path": objects.callable_path(name, value)}
    return {"class_path": objects.made_path(name, value)}


def _scalar(value: Any) -> Any:
    """Return a scalar as YAML knows it, one of NumPy, say, or a path."""
    if isinstance(value, str | os.PathLike):
        # What a script writes refers to no axis.
        return str(os.fspath(value)).replace("${", "$${")
    if value is None or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, numbers.Integral) else float(value)


def _mapping(name: str, value: Mapping[Any, Any], objects: Objects) -> dict[Any, Any]:
    """Return a mapping as plain data; a class or function at `class_path` is what is called."""
    return {
        key: objects.callable_path(name, item)
        if key == "class_path" and callable(item)
        else _plain(f"{name}.{key}", item, objects)
        for key, item in value.items()
    }
