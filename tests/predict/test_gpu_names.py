"""The table of GPUs: the names that people write, what a matrix means, and simulated GPUs of it."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.predict.gpus import GPUS, MIB, by_label, by_name, simulated
from harness.simulated.world import SimulatedGpu

NAMES = {
    "RTX-3090": ["RTX 3090", "rtx3090", "3090", "GeForce RTX 3090", "RTX 3090 24GB"],
    "RTX-3090-Ti": ["NVIDIA GeForce RTX 3090 Ti", "3090ti"],
    "RTX-4060-Ti-16GB": ["4060 Ti 16G"],
    "RTX-3060": ["RTX 3060 12GB"],
    "RTX-6000-Ada": ["6000 Ada", "NVIDIA RTX 6000 Ada Generation"],
    "RTX-A6000": ["A6000"],
    "RTX-PRO-6000": ["RTX Pro 6000", "RTX PRO 6000 Blackwell"],
    "T4": ["Tesla T4", "T4 16GB"],
    "V100-32GB": ["V100 32GB"],
    "A100-80GB": ["A100 80GB", "a100-80g", "A100-SXM4-80GB", "A100 SXM 80GB"],
    "A100-PCIE-40GB": ["A100 40GB PCIe"],
    "A10": ["nvidia a10"],
    "L4": ["L4 24 GB", "l4-24gb"],
    "H100": ["H100 SXM", "h100-sxm5", "H100 80GB", "H100 80GB HBM3"],
    "H100-NVL": ["H100 NVL 94GB"],
}
SEVERAL = {
    "V100": ["V100-16GB", "V100-32GB"],
    "A100": ["A100-40GB", "A100-PCIE-40GB", "A100-80GB", "A100-PCIE-80GB"],
    "A100 PCIe": ["A100-PCIE-40GB", "A100-PCIE-80GB"],
    "RTX 6000": ["Quadro-RTX-6000", "RTX-6000-Ada", "RTX-PRO-6000", "RTX-PRO-6000-Server"],
    "RTX 4060 Ti": ["RTX-4060-Ti-8GB", "RTX-4060-Ti-16GB"],
}


@pytest.mark.parametrize(
    ("label", "name"), [(label, name) for label, names in NAMES.items() for name in names]
)
def test_names_as_people_write_them(label: str, name: str) -> None:
    """Vendor, series, case, blanks, dashes and a memory that fits do not matter."""
    assert label == by_label(name).label


def test_labels_and_product_names_are_names() -> None:
    """Each row is found by its label, and by NVML's name where no other row has it."""
    names = [gpu.name for gpu in GPUS]
    for gpu in GPUS:
        assert gpu == by_label(gpu.label)
        if names.count(gpu.name) == 1:
            assert gpu == by_label(gpu.name)


@pytest.mark.parametrize("name", SEVERAL)
def test_name_of_several_gpus_is_refused(name: str) -> None:
    """The message lists the labels to choose from."""
    with pytest.raises(HarnessError) as caught:
        by_label(name)
    labels = ", ".join(SEVERAL[name])
    assert f"{name} is the name of several GPUs: give one of {labels}" == str(caught.value)


def test_unknown_name_tells_the_nearest() -> None:
    """A mistyped name is answered with those that are like it."""
    with pytest.raises(HarnessError, match=r"^unknown GPU RTX 3099\. Did you mean RTX-3090 or "):
        by_label("RTX 3099")


@pytest.mark.parametrize("name", ["", "GPU", "NVIDIA", "RTX"])
def test_name_that_says_nothing_is_unknown(name: str) -> None:
    """Words that tell no GPU from another one find none."""
    with pytest.raises(HarnessError, match=r"^unknown GPU "):
        by_label(name)


def test_simulated_gpu_is_the_products() -> None:
    """Name, both totals, compute capability and SMs come from the table."""
    assert SimulatedGpu(
        "NVIDIA L4", 22558 * MIB, (8, 9), sm_count=58, nvml_bytes=23034 * MIB
    ) == simulated(by_label("L4"))


def test_simulated_gpu_has_the_memory_that_is_given() -> None:
    """It is that of CUDA and of NVML; what cuDNN asks for can be given, too."""
    assert SimulatedGpu(
        "NVIDIA L4", 4096 * MIB, (8, 9), sm_count=58, workspace_bytes=MIB
    ) == simulated(by_label("L4"), 4096 * MIB, workspace_bytes=MIB)


def test_gpu_of_a_matrix_is_found() -> None:
    """The GPU matches the glob and the memory; of several, it is the one with the least memory."""
    assert ["H200", "A100-80GB", "A100-PCIE-40GB"] == [
        gpu.label
        for gpu in (
            by_name("NVIDIA H200"),
            by_name("NVIDIA A100-SXM4*", 81920 * MIB),
            by_name("NVIDIA A100*"),
        )
    ]


def test_gpu_that_is_not_in_the_table_is_taken_by_its_memory() -> None:
    """A GPU with a memory in the matrix need not be in the table; a note gives the assumptions."""
    gpu = by_name("NVIDIA RTX A2000", 12282 * MIB)
    assert (12282, int(12282 * MIB * 0.983), (8, 0), 108) == (
        gpu.nvml_mib,
        gpu.total_bytes,
        gpu.capability,
        gpu.sm_count,
    )
    assert (
        "only the memory of NVIDIA RTX A2000 is known: the prediction assumes an Ampere GPU, and "
        "that torch sees 98.3% of its memory"
    ) == gpu.note
    with pytest.raises(HarnessError, match="NVIDIA H200"):
        by_name("NVIDIA H200", 24 * 1024 * MIB)


def test_instance_has_its_own_memory_and_its_gpus_capability() -> None:
    """An instance in MIG mode is in no table: its total is NVML's, the rest is its GPU's."""
    gpu = by_name("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9856 * MIB)
    assert (9856, int(9856 * MIB * 0.983), (9, 0), 16) == (
        gpu.nvml_mib,
        gpu.total_bytes,
        gpu.capability,
        gpu.sm_count,
    )
    assert "the memory that torch sees on NVIDIA H100 80GB HBM3 MIG 1g.10gb" in str(gpu.note)


def test_instance_of_any_gpu_is_assumed_to_be_an_amperes() -> None:
    """Where the name leaves its GPU open, the assumption is that of any unknown GPU."""
    gpu = by_name("*MIG 1g.10gb", 9856 * MIB)
    assert ((8, 0), "the matrix") == (gpu.capability, gpu.source)


def test_unknown_gpu_names_those_that_are_known() -> None:
    """An unknown label or name is an error that lists the known ones."""
    for find in (by_label, by_name):
        with pytest.raises(HarnessError, match="GTX 970") as caught:
            find("GTX 970")
        assert "H200" in str(caught.value)


def test_name_of_several_products_tells_them_apart() -> None:
    """The whole names of those that may be meant are told, and no others."""
    with pytest.raises(HarnessError) as caught:
        by_name("NVIDIA H100")
    told = "Did you mean NVIDIA H100 80GB HBM3 or NVIDIA H100 PCIe or NVIDIA H100 NVL? Give"
    assert [True, False] == [told in str(caught.value), "H200" in str(caught.value)]


def test_torch_sees_less_than_nvml() -> None:
    """Every entry has less memory for torch than for NVML, by less than 3%."""
    shares = [gpu.total_bytes / (gpu.nvml_mib * MIB) for gpu in GPUS]
    assert len(GPUS) == len({gpu.label for gpu in GPUS})
    assert 0.97 < min(shares) <= max(shares) < 1.0
