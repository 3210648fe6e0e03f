"""Machines on which no GPU can be profiled, each as a tree of the files that Linux shows there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.devices.nvml.unsupported_machines import refusal, shared_memory, wsl

if TYPE_CHECKING:
    from pathlib import Path

H200, GB10, A770, IRIS = (
    {"vendor": vendor, "device": device, "class": "0x030200"}
    for vendor, device in (
        ("0x10de", "0x2335"),
        ("0x10de", "0x2e12"),
        ("0x8086", "0x56a0"),
        ("0x8086", "0x9a49"),
    )
)
NETWORK_CARD = {"vendor": "0x10de", "device": "0x1234", "class": "0x020000"}


def machine(
    root: Path, files: dict[str, str] | None = None, pci: dict[str, dict[str, str]] | None = None
) -> Path:
    """Write a machine's tree: files by path, PCI devices by place."""
    devices = {
        f"sys/bus/pci/devices/{place}/{name}": f"{value}\n"
        for place, device in (pci or {}).items()
        for name, value in device.items()
    }
    for path, content in {
        "proc/sys/kernel/osrelease": "6.8.0-60-generic\n",
        **devices,
        **(files or {}),
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return root


def test_a_machine_with_an_nvidia_gpu_is_not_refused(tmp_path: Path) -> None:
    """An NVIDIA GPU beside the processor's own is not refused, with or without a loaded driver."""
    assert refusal(machine(tmp_path, pci={"0000:00:02.0": IRIS, "0000:07:00.0": H200})) is None


@pytest.mark.parametrize(
    "files",
    [
        {"proc/sys/kernel/osrelease": "5.15.167.4-microsoft-standard-WSL2\n"},
        {"proc/sys/kernel/osrelease": "6.6.0-of-my-own\n", "dev/dxg": ""},
    ],
)
def test_wsl_pages_gpu_memory_out(tmp_path: Path, files: dict[str, str]) -> None:
    """WSL is recognized by its kernel's name, or by Windows' GPU device under a custom kernel."""
    root = machine(tmp_path, files)
    reason = wsl(root)
    assert reason is not None
    assert reason.startswith(
        "this is Windows' Subsystem for Linux, whose driver moves GPU memory to the host's"
    )
    assert reason == refusal(root)


def test_other_linux_is_not_wsl(tmp_path: Path) -> None:
    """An ordinary kernel, and a sandbox that hides the kernel's name, are not WSL."""
    assert wsl(machine(tmp_path)) is None
    assert wsl(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (
            {
                "proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0000\0nvidia,tegra234\0",
                "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            },
            "NVIDIA Jetson AGX Orin Developer Kit",
        ),
        ({"etc/nv_tegra_release": "# R36 (release)\n"}, "NVIDIA Jetson"),
    ],
)
def test_jetson_shares_the_hosts_memory(tmp_path: Path, files: dict[str, str], name: str) -> None:
    """Jetson is recognized by the device tree, or by the release file of NVIDIA's Linux."""
    assert f"{name} shares the host's memory and pages instead of running out" in str(
        refusal(machine(tmp_path, files))
    )


def test_gb10_shares_the_hosts_memory(tmp_path: Path) -> None:
    """DGX Spark and its kin are recognized on the PCI bus, unless they have a second GPU."""
    assert str(refusal(machine(tmp_path, pci={"000f:01:00.0": GB10}))).startswith(
        "NVIDIA GB10 shares the host's memory"
    )
    assert refusal(machine(tmp_path, pci={"0000:01:00.0": H200})) is None


@pytest.mark.parametrize(
    ("files", "pci", "reason"),
    [
        ({"dev/kfd": ""}, {}, "this machine's GPU is AMD's: only NVIDIA's are supported"),
        (
            {"sys/class/kfd/kfd/dev": "1:1"},
            {},
            "this machine's GPU is AMD's: only NVIDIA's are supported",
        ),
        ({}, {"0000:03:00.0": A770}, "this machine's GPU is Intel's: only NVIDIA's are supported"),
        ({}, {"0000:00:02.0": IRIS}, "this machine has no NVIDIA GPU on its PCI bus"),
        ({}, {"0000:00:05.0": NETWORK_CARD}, "this machine has no NVIDIA GPU on its PCI bus"),
        ({}, {}, "this machine has no NVIDIA GPU on its PCI bus"),
    ],
)
def test_gpus_of_other_makers_and_none(
    tmp_path: Path, files: dict[str, str], pci: dict[str, dict[str, str]], reason: str
) -> None:
    """AMD's compute driver and Intel's cards are named; a processor's own GPU counts as none."""
    assert str(refusal(machine(tmp_path, files, pci))).startswith(reason)


def test_only_linux(tmp_path: Path) -> None:
    """Another system than Linux is refused by its name, whatever its files are."""
    assert "this is darwin" in str(
        refusal(machine(tmp_path, pci={"0000:07:00.0": H200}), platform="darwin")
    )


@pytest.mark.parametrize(
    ("name", "shared"),
    [
        ("NVIDIA GB10", True),
        ("Orin (nvgpu)", True),
        ("NVIDIA Thor", True),
        ("NVIDIA GH200 480GB", False),
        ("NVIDIA GB200", False),
        ("NVIDIA H200", False),
        ("GRID A100D-40C", False),
    ],
)
def test_product_names_of_shared_memory(name: str, shared: bool) -> None:
    """Integrated GPUs are recognized by name; Grace Hopper, Grace Blackwell and GRID are not."""
    assert shared == (shared_memory(name) is not None)
