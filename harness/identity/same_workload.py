"""Tells whether two descriptions are of one workload, by more than the fingerprint covers.

The fingerprint leaves out what locks did not record at first. Such values are compared where the
lock has them, so that no older lock becomes stale by their absence; a quantized base is the one
exception. Imports nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.case_names import Scalar

# Each of them is left out of a description where there is nothing to tell: no parameter is frozen,
# all of them are plain, or the constructor makes them all.
_BESIDE = ("num_trainable", "configured")
# The values that a workload takes from a configuration of the project.
_CONFIGURATION = "configuration"


class Described(Protocol):
    """A measurement, a locked profile, or what a probe has described."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint."""

    @property
    def workload(self) -> Mapping[str, Scalar]:
        """The readable description."""


def same_workload(locked: Described, now: Described) -> bool:
    """Return whether a lock describes the workload of now."""
    if locked.fingerprint != now.fingerprint or _quantized(locked) != _quantized(now):
        return False
    if _configuration(locked) != _configuration(now):
        return False
    return not any(
        name in locked.workload and locked.workload[name] != now.workload.get(name)
        for name in _BESIDE
    )


def _quantized(described: Described) -> Scalar | None:
    # Its bytes are other ones, so a lock that does not tell it is of another workload.
    return described.workload.get("quantized")


def _configuration(described: Described) -> dict[str, Scalar]:
    values = described.workload
    return {name: one for name, one in values.items() if name.startswith(_CONFIGURATION)}


def describe_beside(module: Any) -> dict[str, Scalar]:
    """Describe what the fingerprint does not cover: how much is trained, and what is quantized.

    A quantized parameter is recognised by the class that keeps it, as those of bitsandbytes
    (`Params4bit`) and torchao (`Int8Tensor`).
    """
    found: dict[str, Scalar] = {}
    parameters = [one for _, one in module.named_parameters()]
    trained = [one for one in parameters if getattr(one, "requires_grad", True)]
    if len(trained) < len(parameters):
        found["num_trainable"] = sum(map(num_elements, trained))
    kinds = [kind for one in parameters if (kind := type(one).__name__) not in _PLAIN]
    if kinds:
        counted = {kind: kinds.count(kind) for kind in sorted({*kinds})}
        found["quantized"] = ", ".join(f"{number} {kind}" for kind, number in counted.items())
    return found


_PLAIN = ("Parameter", "UninitializedParameter", "Tensor")


def num_elements(parameter: Any) -> int:
    """Return the number of elements of a parameter; 0 for one of a lazy module."""
    try:
        return int(parameter.numel())
    except (RuntimeError, ValueError):  # it has no shape before the first batch
        return 0
