"""Recognizes machines on which no GPU can be profiled, by the files that Linux shows there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_NVIDIA, _INTEL = "0x10de", "0x8086"
# The PCI ids of GB10, the chip of DGX Spark and its kin, by NVIDIA's kernel.
_GB10_DEVICES = range(0x2E00, 0x2E40)
# The place of the integrated GPU of Intel's processors.
_INTEL_INTEGRATED = "0000:00:02.0"
_SHARED = (
    "shares the host's memory and pages instead of running out, so there is no largest batch to "
    "find. Profile on a GPU with memory of its own, or on the CPU with a budget"
)


def refusal(root: Path = Path("/"), platform: str = sys.platform) -> str | None:
    """Return the reason why no GPU of this machine can be profiled; None where one may be.

    Grace Hopper is not refused: CUDA allocates from the GPU's own HBM and fails when it is full.
    Only managed memory and malloc's spread over both memories.
    """
    if platform != "linux":
        return (
            f"GPUs can be profiled only on Linux with NVIDIA's driver, and this is {platform}: "
            "profile on the CPU with a budget"
        )
    return wsl(root) or _tegra(root) or _of_another_maker(root)


def is_no_fault(message: str, root: Path = Path("/")) -> bool:
    """Return whether the message of an error tells what this machine is, and nothing to repair."""
    reason = refusal(root)
    return _SHARED in message or (reason is not None and reason in message)


def wsl(root: Path = Path("/")) -> str | None:
    """Return the reason why Windows' Subsystem for Linux cannot profile a GPU; None elsewhere.

    Windows' display driver model owns the GPU's memory there and pages it out to the host's, so
    that more fits than the GPU holds.
    """
    release = _text(root / "proc/sys/kernel/osrelease")
    if "microsoft" not in release.lower() and not (root / "dev/dxg").exists():
        return None
    return (
        "this is Windows' Subsystem for Linux, whose driver moves GPU memory to the host's instead "
        "of running out: batch sizes found here would be wrong. Profile under Linux itself, or on "
        "the CPU with a budget"
    )


def shared_memory(name: str) -> str | None:
    """Return the reason why a GPU of this name cannot be profiled, if it shares the host's memory.

    None otherwise.
    """
    integrated = re.search(r"\b(GB10|Tegra|Xavier|Orin|Thor|nvgpu)\b", name)
    return why_shared(name) if integrated else None


def why_shared(name: str) -> str:
    """Return the reason why a GPU without memory of its own cannot be profiled."""
    return f"{name} {_SHARED}"


def _tegra(root: Path) -> str | None:
    compatible = _text(root / "proc/device-tree/compatible")
    if "nvidia,tegra" not in compatible and not (root / "etc/nv_tegra_release").exists():
        return None
    model = _text(root / "proc/device-tree/model").strip("\0\n")
    return why_shared(model or "NVIDIA Jetson")


def _of_another_maker(root: Path) -> str | None:
    devices = {
        path.name: (_text(path / "vendor").strip(), _text(path / "device").strip())
        for path in sorted((root / "sys/bus/pci/devices").glob("*"))
        # Base class 3 is display controllers, also those without a display.
        if _text(path / "class").startswith("0x03")
    }
    nvidias = [device for vendor, device in devices.values() if vendor == _NVIDIA]
    if nvidias:
        return (
            why_shared("NVIDIA GB10")
            if all(int(device, 16) in _GB10_DEVICES for device in nvidias)
            else None
        )
    only = "only NVIDIA's are supported. Profile on the CPU with a budget"
    if (root / "dev/kfd").exists() or (root / "sys/class/kfd").exists():
        return f"this machine's GPU is AMD's: {only}"
    if any(
        vendor == _INTEL and place != _INTEL_INTEGRATED for place, (vendor, _) in devices.items()
    ):
        return f"this machine's GPU is Intel's: {only}"
    return (
        "this machine has no NVIDIA GPU on its PCI bus: profile on a machine that has one, or on "
        "the CPU with a budget"
    )


def _text(path: Path) -> str:
    """Return the text of one of the kernel's files; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
