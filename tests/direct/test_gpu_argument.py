"""The argument `gpu` of `harness.tune` and `harness.estimate`."""

from __future__ import annotations

from typing import Any

import pytest

from harness.devices.nvml.gpu import Gpu
from harness.direct import gpu_argument
from harness.direct.gpu_argument import AskedGpu, asked_gpu, facts_of
from harness.errors import HarnessError

MIB = 1 << 20
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 << 30, "GPU-1", "580")
T4 = Gpu("Tesla T4", 15 << 30, "GPU-2", "580")


def show(monkeypatch: pytest.MonkeyPatch, *gpus: Gpu) -> None:
    """Let this machine have these GPUs."""
    monkeypatch.setattr(gpu_argument, "visible_gpus", lambda: list(gpus))


@pytest.mark.parametrize(
    ("gpu", "asked"),
    [
        ("cpu-48MiB", AskedGpu("cpu-48MiB", {"accelerator": "cpu", "budget": 48 * MIB})),
        ("h100", AskedGpu("h100", {"name": "NVIDIA H100 80GB HBM3"})),
        ("H100 SXM", AskedGpu("H100-SXM", {"name": "NVIDIA H100 80GB HBM3"})),
        (
            "h100-as-24GiB",
            AskedGpu("h100-as-24GiB", {"name": "NVIDIA H100 80GB HBM3", "budget": 24 << 30}),
        ),
        (
            {"name": "NVIDIA New", "memory": "24GiB"},
            AskedGpu("NVIDIA-New", {"name": "NVIDIA New", "memory": "24GiB"}),
        ),
        (
            {"accelerator": "cpu", "budget": "1GiB"},
            AskedGpu("cpu-1GiB", {"accelerator": "cpu", "budget": "1GiB"}),
        ),
    ],
)
def test_labels_and_mappings(gpu: Any, asked: AskedGpu) -> None:
    """Nothing of these need be here."""
    assert asked == asked_gpu(gpu)


@pytest.mark.parametrize(
    ("gpu", "uuid", "label"),
    [
        (None, None, "h100"),
        (1, "GPU-2", "t4"),
        ("cuda:1", "GPU-2", "t4"),
        ("cuda", "GPU-1", "h100"),
    ],
)
def test_gpus_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, gpu: Any, uuid: str | None, label: str
) -> None:
    """An index means one GPU alone; without one, those that are like the first are all meant."""
    show(monkeypatch, H100, T4)
    asked = asked_gpu(gpu)
    assert (label, uuid) == (asked.label, asked.uuid)


@pytest.mark.parametrize(
    ("gpu", "message"),
    [
        ("cpu", "gpu='cpu': the CPU needs a budget; gpu=\"cpu-1GiB\" trains on the CPU"),
        ("cpu-lots", "gpu='cpu-lots': \"lots\" is not allowed; a size such as 40GiB"),
        ("h101", "gpu: unknown GPU h101. Did you mean "),
        ("A100", "gpu: A100 is the name of several GPUs"),
        (1.5, "gpu=1.5 is not allowed; a label such as"),
        (True, "gpu=True is not allowed; a label such as"),
        (7, "gpu=7: there is no such GPU here; there are 0: NVIDIA H100 80GB HBM3, 1: Tesla T4"),
    ],
)
def test_bad_values_are_refused(monkeypatch: pytest.MonkeyPatch, gpu: Any, message: str) -> None:
    """The message shows the value and what is allowed."""
    show(monkeypatch, H100, T4)
    with pytest.raises(HarnessError) as refused:
        asked_gpu(gpu)
    assert str(refused.value).startswith(message)


def test_machine_without_a_gpu_names_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason comes first, then what does without a GPU."""
    show(monkeypatch)
    with pytest.raises(HarnessError, match=r'shows no GPU .* gpu="cpu-1GiB" trains on the CPU'):
        asked_gpu(None)


def test_estimates_are_for_gpus() -> None:
    """A case on the CPU is measured."""
    assert "H100" == facts_of(asked_gpu("h100")).label
    with pytest.raises(HarnessError, match=r"is measured, not predicted: harness\.tune does it"):
        facts_of(asked_gpu("cpu-1GiB"))
