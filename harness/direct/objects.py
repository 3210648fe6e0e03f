"""Writes objects of the caller's process into a folder, from which probes import them.

The folder holds a module with a name for each of them, so that a case names it by a class path as
it names any other. Nothing of it stands in the recipe but this name.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import keyword
import pickle
import re
import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.workload.keras_models import is_keras

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "objects_of_the_caller"
"""The module that the probes import; a class path that begins so is found in no other process."""

_CLOUDPICKLE = "pip install 'pytest-gpu-profile[cloudpickle]'"
_MAIN = "__main__"
_INSTALLED = re.compile(r"/(site|dist)-packages/")
_HEAD = '''\
"""Loads the objects that a caller has handed over, in the processes that train them."""

from pathlib import Path

from harness.workload.carried import load

_FOLDER = Path(__file__).parent
'''


class Objects:
    """The objects that one case gets from its caller.

    Args:
        folder: where they are written; probes have it in their module path.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[str, int] = {}
        self._on_gpu: list[str] = []

    @property
    def on_gpu(self) -> tuple[str, ...]:
        """The arguments whose objects hold tensors on a GPU."""
        return tuple(dict.fromkeys(self._on_gpu))

    def callable_path(self, argument: str, thing: Any) -> str:
        """Return the class path by which probes get a class or function itself."""
        return importable_path(thing) or self._carry(argument, thing, "{name} = {load}")

    def made_path(self, argument: str, thing: Any) -> str:
        """Return the class path of a function that returns a fresh copy of an object."""
        return self._carry(argument, thing, "def {name}():\n    return {load}")

    def _carry(self, argument: str, thing: Any, code: str) -> str:
        """Write an object and a line that loads it, and return the class path of its name."""
        if _is_on_gpu(thing):
            self._on_gpu.append(argument)
        name = self._free_name(thing)
        file = self.folder / f"{name}.pt"
        _save(argument, thing, file)
        source = self.folder / f"{MODULE}.py"
        before = source.read_text(encoding="utf-8") if source.exists() else _HEAD
        keras = ", keras=True" if is_keras(thing) else ""
        load = f"load(str(_FOLDER / {file.name!r}){keras})"
        line = code.format(name=name, load=load)
        source.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
        return f"{MODULE}.{name}"

    def _free_name(self, thing: Any) -> str:
        name = name_of(thing)
        number = self._names[name] = self._names.get(name, 0) + 1
        return name if number == 1 else f"{name}_{number}"


def importable_path(thing: Any) -> str | None:
    """Return the class path by which any process imports a class or function; None without one.

    Of a library it is the shortest, which people write: `torch.nn.CrossEntropyLoss`. Of other
    modules it is that of the module that defines it.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == _MAIN:
        return None
    if _found(module, name) is not thing or not _is_on_disk(module):
        return None
    parts = module.split(".")
    if _INSTALLED.search(getattr(sys.modules[module], "__file__", None) or ""):
        shorter = (".".join(parts[:length]) for length in range(1, len(parts)))
        module = next((one for one in shorter if _found(one, name) is thing), module)
    return f"{module}.{name}"


def name_of(thing: Any) -> str:
    """Return a name for an object, as Python names: that of its class, or its own."""
    while isinstance(thing, partial):
        thing = thing.func
    own = getattr(thing, "__name__", None)
    name = own if isinstance(own, str) else type(thing).__name__
    name = re.sub(r"\W", "", name, flags=re.ASCII).lstrip("_0123456789")
    return f"{name}_" if keyword.iskeyword(name) else name or "unnamed"  # `lambda`


def is_maker(thing: Any) -> bool:
    """Return whether an object makes others when called: a class, a function or a partial."""
    return isinstance(thing, type | partial) or inspect.isroutine(thing)


def _found(module: str, name: str) -> Any:
    """Return what an imported module has under a name, dotted; None where it has none."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _is_on_disk(module: str) -> bool:
    """Return whether another process finds the module: a notebook may have made it by hand."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _is_on_gpu(thing: Any) -> bool:
    """Return whether a module, or a tensor, is on a GPU."""
    tensors = [thing]
    for kind in ("parameters", "buffers"):
        own = getattr(thing, kind, None)
        if not isinstance(thing, type) and "torch" in sys.modules and callable(own):
            try:
                tensors += own()
            except Exception:  # noqa: BLE001, S112 - a user's class may name anything so
                continue
    return any(getattr(getattr(one, "device", None), "type", None) == "cuda" for one in tensors)


def _save(argument: str, thing: Any, path: Path) -> None:
    """Write an object, also one whose class stands in the script or the notebook itself."""
    from harness.workload.carried import save  # noqa: PLC0415 - imports torch

    try:
        pickler = import_module("cloudpickle")
    except ModuleNotFoundError:
        pickler = pickle
        if here := sorted(_of_the_script(thing)):
            raise HarnessError(
                f"{argument}: {', '.join(here)} stands in the script itself, which the probes "
                "cannot import: move it to a module of its own, or install cloudpickle: "
                f"`{_CLOUDPICKLE}`"
            ) from None
    try:
        save(_without_trainer(thing), str(path), pickler)
    except Exception as error:  # an object may hold anything
        raise HarnessError(
            f"{argument}: {name_of(thing)} cannot be copied to the probes' processes: "
            f"{type(error).__name__}: {error}. Remove what cannot be pickled, such as open files, "
            "or hand over the class or a function that makes it"
        ) from error


def _of_the_script(thing: Any) -> set[str]:
    """Return the classes and functions of the script that an object is made of."""
    parts = [thing, *(thing.modules() if hasattr(type(thing), "modules") else ())]
    kinds = [one if is_maker(one) else type(one) for one in parts]
    return {name_of(kind) for kind in kinds if getattr(kind, "__module__", None) == _MAIN}


def _without_trainer(thing: Any) -> Any:
    """Return an object as it was before a Trainer had it: the Trainer holds the whole training."""
    if isinstance(thing, type) or "trainer" not in getattr(thing, "__dict__", ()):
        return thing
    copied = copy.copy(thing)
    copied.trainer = None
    return copied
