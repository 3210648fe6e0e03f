"""Opens NVML, the driver's management library, and turns its errors into this package's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.devices.nvml import unsupported_machines as unsupported
from harness.errors import HarnessError, MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Codes of nvmlReturn_t without a driver to talk to.
_NO_PERMISSION, _DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND, _VERSION_MISMATCH = 4, 9, 12, 18
# After these a GPU must be reset, or the machine rebooted, before anything can be measured on it.
_MACHINE = {
    15: "reset it (`nvidia-smi --gpu-reset`) or reboot; the kernel's log has the Xid",
    16: "reset it (`nvidia-smi --gpu-reset`) or reboot",
}
_REMEDIES = {
    _NO_PERMISSION: "let this user read and write /dev/nvidia*",
    _DRIVER_NOT_LOADED: "load the driver's kernel module (`modprobe nvidia`)",
    _LIBRARY_NOT_FOUND: "install NVIDIA's driver; a container gets it by `--gpus all`",
    _VERSION_MISMATCH: (
        "the driver was updated under its loaded kernel module (nvidia-smi: Driver/library version "
        "mismatch): reboot, or reload the module"
    ),
}
# NVML has no answer for this GPU, driver or user: not supported, no permission, not found, function
# not found, no data, no ECC in a virtual GPU, another version of a structure, deprecated.
_NOT_TOLD = (3, 4, 6, 13, 21, 22, 25, 26)


@contextmanager
def open_nvml(doing: str) -> Iterator[Any]:
    """Open NVML, yield its Python binding, and close it again.

    A block inside another one costs nothing. `doing` begins the message of every error.

    Raises HarnessError with NVML's reason and the remedy, and MachineError where the remedy is a
    reset.
    """
    try:
        import pynvml  # noqa: PLC0415 - it takes 14 ms, and not every run asks for GPUs
    except ImportError as error:
        raise HarnessError(
            f"nvidia-ml-py cannot be imported ({error}): install it to use GPUs"
        ) from error
    try:
        pynvml.nvmlInit()
        try:
            yield pynvml
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise _ours(doing, error) from error


def answer(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return NVML's answer; None where NVML has none for this GPU, driver or user."""
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        if error.value in _NOT_TOLD:
            return None
        raise


def _ours(doing: str, error: Any) -> HarnessError:
    said = f"{doing}: NVML says {error}"
    if error.value in _MACHINE:
        return MachineError(f"{said}; {_MACHINE[error.value]}")
    reason = (
        unsupported.refusal() if error.value in (_DRIVER_NOT_LOADED, _LIBRARY_NOT_FOUND) else None
    )
    return HarnessError(
        f"{said}; {reason or _REMEDIES.get(error.value, 'see what nvidia-smi says')}"
    )
