"""Trains a Keras 3 model on the torch backend as the `nn.Module` that it is.

Two things differ from torch's own modules. Keras tells a layer the mode by an argument of the call,
`training`, and not by `train()`: without it dropout and batch normalization would rest. And Keras
puts variables and inputs on a device of its own choice, the GPU wherever there is one.

Imports no Keras: a workload that has Keras models has imported it.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from traceback import walk_tb
from typing import Any

BACKEND = "KERAS_BACKEND"
_OTHERS = ("jax", "openvino", "tensorflow")  # the backends that an import of Keras may ask for


def why_missing(error: ModuleNotFoundError) -> str | None:
    """Return why a workload with a Keras model cannot be imported; None for any other reason."""
    missing = (error.name or "").partition(".")[0]
    if missing == "keras":
        return "Keras is not installed: `pip install 'pytest-gpu-profile[keras]'`"
    frames = (frame.f_globals.get("__name__") or "" for frame, _ in walk_tb(error.__traceback__))
    if missing in _OTHERS and any(name.partition(".")[0] == "keras" for name in frames):
        return f"Keras asks for {missing}: set {BACKEND}=torch in the environment of pytest"
    return None


def is_keras(thing: Any) -> bool:
    """Return whether an object is a model or a layer of Keras, on any backend."""
    return any(base.__module__.partition(".")[0] == "keras" for base in type(thing).__mro__)


def on_device(device: str) -> AbstractContextManager[Any]:
    """Return a context in which Keras, if it is imported, uses this device."""
    keras = sys.modules.get("keras")
    # While Keras itself is imported, and on other backends, there is nothing to choose.
    if keras is None or not hasattr(keras, "device") or keras.backend.backend() != "torch":
        return nullcontext()
    scope: AbstractContextManager[Any] = keras.device(device)
    return scope


class KerasCall:
    """Calls a Keras model in the mode and on the device in which torch has it."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.forward = model.call
        """Its arguments are the model's; those of Keras's own `forward` say nothing."""

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return bool(self.model.training)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Return the model's output."""
        device = next((one.device for one in self.model.parameters()), None)
        with on_device("cpu" if device is None else str(device)):
            return self.model(*arguments, training=self.training, **named)
