"""Machines on which nothing can be profiled on a GPU, told by what Linux shows of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_NVIDIA, _INTEL = "0x10de", "0x8086"
# GB10's, which DGX Spark and its kin are built on: NVIDIA's kernel takes these for them.
_GB10_DEVICES = range(0x2E00, 0x2E40)
# Where Intel's processors have their integrated GPU.
_INTEL_INTEGRATED = "0000:00:02.0"
_SHARED = (
    "shares the host's memory and takes more of it instead of running out: no batch size is the largest one. "
    "Profile on a GPU with memory of its own, or on the CPU with a budget"
)


def refusal(root: Path = Path("/"), platform: str = sys.platform) -> str | None:
    """Return why no GPU of this machine can be profiled; None where it has one that could be.

    Grace Hopper is none of these: CUDA's allocations come from the GPU's own HBM and fail when it is full; only
    managed memory, and malloc's, spreads over both.
    """
    if platform != "linux":
        return f"GPUs are profiled on Linux with NVIDIA's driver, and this is {platform}: profile on the CPU with a budget"
    return wsl(root) or _tegra(root) or _of_another_maker(root)


def wsl(root: Path = Path("/")) -> str | None:
    """Return why nothing can be profiled under Windows' Subsystem for Linux; None elsewhere.

    Windows' display driver model owns the memory there, and pages it out to the host's: more fits than the GPU holds.
    """
    release = _text(root / "proc/sys/kernel/osrelease")
    if "microsoft" not in release.lower() and not (root / "dev/dxg").exists():
        return None
    return (
        "this is Windows' Subsystem for Linux, whose driver moves GPU memory to the host's instead of running out: "
        "batch sizes found here would be wrong. Profile under Linux itself, or on the CPU with a budget"
    )


def shared_memory(name: str) -> str | None:
    """Return why the GPU of this product name cannot be profiled, if its memory is the host's; None otherwise."""
    integrated = re.search(r"\b(GB10|Tegra|Xavier|Orin|Thor|nvgpu)\b", name)
    return why_shared(name) if integrated else None


def why_shared(name: str) -> str:
    """Return why a GPU without memory of its own cannot be profiled."""
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
        # Base class 3: display controllers, those without a display included.
        if _text(path / "class").startswith("0x03")
    }
    nvidias = [device for vendor, device in devices.values() if vendor == _NVIDIA]
    if nvidias:
        return (
            why_shared("NVIDIA GB10") if all(int(device, 16) in _GB10_DEVICES for device in nvidias) else None
        )
    only = "only NVIDIA's are supported. Profile on the CPU with a budget"
    if (root / "dev/kfd").exists() or (root / "sys/class/kfd").exists():
        return f"this machine's GPU is AMD's: {only}"
    if any(vendor == _INTEL and place != _INTEL_INTEGRATED for place, (vendor, _) in devices.items()):
        return f"this machine's GPU is Intel's: {only}"
    return "this machine has no NVIDIA GPU on its PCI bus: profile where there is one, or on the CPU with a budget"


def _text(path: Path) -> str:
    """Return what the kernel says; nothing where it does not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
