"""Devices as pytest's process sees them: which device a label means, and its properties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from projects import MIB

from harness.devices.cpu import CpuDevice
from harness.devices.cuda import CudaDevice
from harness.devices.device import NoSuchDeviceError
from harness.devices.finding import find_device
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.gpu import Gpu
from harness.errors import HarnessError
from harness.matrix.settings import GpuSettings
from harness.measurement import DeviceIdentity
from harness.memory_bounds import make_bound
from harness.memory_bounds.cuda import CudaBound
from harness.memory_bounds.host import HostBound

if TYPE_CHECKING:
    from collections.abc import Callable

GIB = 1 << 30
SMALL = Gpu("NVIDIA A100-SXM4-40GB", 40 * GIB, "GPU-a", "580.1")
LARGE = Gpu("NVIDIA A100-SXM4-80GB", 80 * GIB, "GPU-b", "580.1")
H200 = Gpu("NVIDIA H200", 150754820096, "GPU-c", "580.1")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes NVML show these GPUs."""

    def install(*gpus: Gpu) -> None:
        monkeypatch.setattr(nvml, "visible_gpus", lambda: list(gpus))

    return install


def found(gpu: GpuSettings, fraction: float = 0.9) -> CudaDevice:
    """Find a GPU of this machine."""
    device = find_device(gpu, fraction)
    assert isinstance(device, CudaDevice)
    return device


def test_cpu_is_its_budget() -> None:
    """The CPU is identified by its budget, is emulated, and its bound holds the budget in bytes."""
    device = find_device(GpuSettings(accelerator="cpu", budget=64 * MIB), 0.9)
    assert isinstance(device, CpuDevice)
    assert (DeviceIdentity("cpu", 64 * MIB), True) == (device.identity, device.emulated)
    bound = make_bound(device.bound)
    assert isinstance(bound, HostBound)
    assert 64 * MIB == bound.limit_bytes


def test_cpu_hides_gpus_and_fixes_its_threads() -> None:
    """A zygote on the CPU sees no GPU, computes on one thread, and its malloc frees at once."""
    environment = CpuDevice(64 * MIB).environment
    wanted = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "0"}
    assert wanted == {name: environment[name] for name in wanted}


def test_gpu_is_found_by_its_product_name(install: Callable[..., None]) -> None:
    """The whole name must match, and the device is that physical GPU, by its UUID."""
    install(SMALL, H200)
    device = found(GpuSettings(name="NVIDIA H200"))
    assert (H200.identity, False) == (device.identity, device.emulated)
    assert ("GPU-c", {"driver": "580.1"}) == (
        device.environment["CUDA_VISIBLE_DEVICES"],
        device.versions,
    )
    bound = make_bound(device.bound)
    assert isinstance(bound, CudaBound)
    assert (None, 0.9) == (bound.budget_bytes, bound.fraction)


def test_first_of_several_matches_is_taken(install: Callable[..., None]) -> None:
    """Where a glob matches several GPUs, the first visible one is the device."""
    install(H200, LARGE, SMALL)
    assert LARGE.identity == found(GpuSettings(name="NVIDIA A100*")).identity


@pytest.mark.parametrize(
    ("memory", "fits"), [(0.98, True), (1.03, True), (0.96, False), (1.05, False)]
)
def test_memory_tells_gpus_of_one_name_apart(
    install: Callable[..., None], memory: float, *, fits: bool
) -> None:
    """A memory matches within 3%."""
    install(SMALL, LARGE)
    wanted = GpuSettings(name="NVIDIA A100*", memory=int(80 * GIB * memory))
    if fits:
        assert LARGE.identity == found(wanted).identity
    else:
        with pytest.raises(
            NoSuchDeviceError, match=f"with {80 * memory:.1f} GiB: this machine has"
        ):
            find_device(wanted, 0.9)


def test_budget_makes_a_gpu_an_emulated_one(install: Callable[..., None]) -> None:
    """With a budget, the identity has the budget as memory, and the product's name."""
    install(H200)
    device = found(GpuSettings(name="NVIDIA H200", budget=24 * GIB), 0.5)
    assert (DeviceIdentity("NVIDIA H200", 24 * GIB), True) == (device.identity, device.emulated)
    assert {"accelerator": "cuda", "budget_bytes": 24 * GIB, "fraction": 0.5} == device.bound


def test_missing_gpu_names_those_that_are_here(install: Callable[..., None]) -> None:
    """The reason names the GPU that is wanted and those that are here; upper case matters."""
    install(SMALL, LARGE)
    with pytest.raises(NoSuchDeviceError) as raised:
        find_device(GpuSettings(name="nvidia a100*"), 0.9)
    assert (
        "needs nvidia a100*: this machine has NVIDIA A100-SXM4-40GB (40.0 GiB), "
        "NVIDIA A100-SXM4-80GB (80.0 GiB)" == str(raised.value)
    )


def test_no_visible_gpu_is_told(install: Callable[..., None]) -> None:
    """Without a visible GPU, the reason is that there is none."""
    install()
    with pytest.raises(NoSuchDeviceError, match="this machine has no visible GPU"):
        find_device(GpuSettings(name="NVIDIA H200"), 0.9)


def test_missing_driver_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NVML cannot be opened, its reason is the reason for the skip."""

    def fail() -> list[Gpu]:
        raise HarnessError("no GPU can be used here: NVML says Driver Not Loaded")

    monkeypatch.setattr(nvml, "visible_gpus", fail)
    with pytest.raises(
        NoSuchDeviceError, match="needs NVIDIA H200: no GPU can be used here: NVML says"
    ):
        find_device(GpuSettings(name="NVIDIA H200"), 0.9)


def test_allocator_settings_belong_to_the_recipe(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that configures torch's allocator is a memory setting of the device."""
    install(H200)
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_NO_CUDA_MEMORY_CACHING", raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    settings = found(GpuSettings(name="NVIDIA H200")).memory_settings
    assert {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"} == settings
