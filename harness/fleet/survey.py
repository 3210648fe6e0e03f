"""Asks a node what it has: its GPUs by NVML, and the versions of what a measurement rests on."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PACKAGES = ("pytest-gpu-profile", "torch", "lightning")


def survey() -> Callable[[], str]:
    """Return the function that a node runs, as a closure: the node may lack this package."""
    packages = _PACKAGES

    def ask() -> str:
        import json  # noqa: PLC0415 - on the node
        import os  # noqa: PLC0415
        import platform  # noqa: PLC0415
        from importlib import metadata  # noqa: PLC0415

        versions = {"python": platform.python_version()}
        for name in packages:
            try:
                versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
        gpus = []
        # A task without GPUs sees none; this one only looks.
        hidden = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        try:
            from harness.devices.nvml.gpus import visible_gpus  # noqa: PLC0415

            gpus = [(one.identity.name, one.memory_bytes) for one in visible_gpus()]
        except Exception:  # noqa: BLE001 - no GPU, or no package, which `versions` tells
            gpus = []
        finally:
            if hidden is not None:
                os.environ["CUDA_VISIBLE_DEVICES"] = hidden
        return json.dumps({"versions": versions, "gpus": gpus})

    return ask


def versions_here() -> dict[str, str]:
    """Return the versions of the packages that are installed here, by name."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def why_not(there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """Return why a node cannot measure for this run, or None."""
    package = _PACKAGES[0]
    if package not in there:
        return f"{package} is not installed there"
    if there[package] != here.get(package):
        return f"{package} {there[package]} there, {here.get(package)} here"
    return "torch is not installed there" if "torch" not in there else None


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Return what has another version on a node that can measure: `torch 2.12.0, not 2.13.0`."""
    return tuple(
        f"{name} {there[name]}, not {here[name]}"
        for name in _PACKAGES[1:]
        if name in there and name in here and there[name] != here[name]
    )
