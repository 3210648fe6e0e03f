"""Asks a node what it has: its GPUs by NVML, and the versions of what a measurement rests on."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from harness.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.device_identity import DeviceIdentity

_PACKAGES = ("pytest-gpu-profile", "torch", "lightning")


def survey() -> Callable[[], str]:
    """Return the function that a node runs, as a closure: the node may lack this package."""
    packages = _PACKAGES
    visible = "CUDA_VISIBLE_DEVICES"

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
        trouble = None
        # A task without GPUs sees none; this one only looks.
        hidden = os.environ.pop(visible, None)
        try:
            from harness.devices.nvml.gpus import visible_gpus  # noqa: PLC0415
            from harness.fleet.survey import variables_of_ray  # noqa: PLC0415 - on the node

            gpus = visible_gpus()
            # Those that Ray has are the ones that its own process sees.
            if (given := variables_of_ray().get(visible)) is not None:
                os.environ[visible] = given
                try:
                    gpus = visible_gpus()
                except Exception as error:  # noqa: BLE001 - which GPU an index means is unknown
                    gpus, trouble = [], str(error)
        except Exception:  # noqa: BLE001 - no GPU, or no package, which `versions` tells
            gpus = []
        finally:
            os.environ.pop(visible, None)
            if hidden is not None:
                os.environ[visible] = hidden
        kinds = [(one.identity.name, one.memory_bytes) for one in gpus]
        return json.dumps({"versions": versions, "gpus": kinds, "trouble": trouble})

    return ask


def variables_of_ray() -> dict[str, str]:
    """Return the environment of the node's own Ray process, this one's parent; on a node.

    It is empty where it cannot be read, as on systems without `/proc`.
    """
    try:
        data = Path(f"/proc/{os.getppid()}/environ").read_bytes()
    except OSError:
        return {}
    return dict(one.partition("=")[::2] for one in os.fsdecode(data).split("\0"))


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


def unlike(gpus: Sequence[DeviceIdentity]) -> str | None:
    """Return why a node with these GPUs cannot measure, or None: a task may get any of them."""
    kinds = dict.fromkeys(f"{one.name} ({format_bytes(one.memory_bytes)})" for one in gpus)
    if len(kinds) <= 1:
        return None
    return (
        f"its GPUs differ ({', '.join(kinds)}), and Ray gives a task any of them: run `ray start` "
        "there once for each kind, under CUDA_VISIBLE_DEVICES with the UUIDs of its GPUs"
    )


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> tuple[str, ...]:
    """Return what has another version on a node that can measure: `torch 2.12.0, not 2.13.0`."""
    return tuple(
        f"{name} {there[name]}, not {here[name]}"
        for name in _PACKAGES[1:]
        if name in there and name in here and there[name] != here[name]
    )
