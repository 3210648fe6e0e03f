"""Carries objects of a user's process to its probes: models, data, functions, classes.

Runs in the user's process, which saves an object, and in the zygote and its probes, which load it.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import torch

from harness.workload.keras_models import on_device


def save(thing: Any, path: str, pickle_module: Any) -> None:
    """Write an object with all it holds; what its parts' modules define is left out by pickle."""
    torch.save(thing, path, pickle_module=pickle_module, pickle_protocol=pickle.DEFAULT_PROTOCOL)


def load(path: str, *, keras: bool = False) -> Any:
    """Return the object that `save` wrote, its tensors on the CPU.

    The file is the caller's own, made a moment ago; it is code as much as data.

    keras: whether it is a model of Keras, whose import would otherwise be pickle's, too late to
    choose a device.
    """
    if keras:
        import_module("keras")
    with on_device("cpu"):
        return torch.load(path, map_location="cpu", weights_only=False)
