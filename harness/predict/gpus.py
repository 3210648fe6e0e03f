"""The facts about GPUs that predictions rely on: their memory and cuBLAS's workspace. Pure.

Memory is in MiB. `torch_mib` is `total_memory` of torch.cuda.get_device_properties, or the "total
capacity" of torch's out-of-memory message, as people have published them. It differs by up to 0.7%
between drivers; the table has the lower value. If none is published, it is derived from NVML's
total, and a note says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.errors import HarnessError
from harness.simulated.world import SimulatedGpu

MIB = 1 << 20
# Of NVML's total, what torch sees at least: 98.3% on a T4, 99.6% on an H200.
_DERIVED_SHARE = 0.983
# How far a published total may be from the one that a matrix gives, as for GPUs that are there.
_TOLERANCE = 0.03
# Compute capabilities with the large cuBLAS workspace (aten/src/ATen/cuda/CUDABlas.cpp,
# getChosenWorkspaceSize).
_LARGE_WORKSPACE = (9, 10, 12)
_LARGE_WORKSPACE_BYTES = 32 * MIB
_WORKSPACE_BYTES = 8_519_680
# Of a GPU that is not in the table: kernels for half precision, and the smaller workspace.
_ASSUMED_CAPABILITY = (8, 0)
_FROM_THE_MATRIX = "the matrix"
# NVML names an instance by its GPU and its profile: NVIDIA A100-SXM4-40GB MIG 1g.5gb.
_INSTANCE = " MIG "


@dataclass(frozen=True)
class GpuFacts:
    """One product."""

    label: str
    """The common name, as `--gpu` takes it."""
    name: str
    """NVML's product name."""
    nvml_mib: int
    torch_mib: int | None
    """None where nobody has published it."""
    capability: tuple[int, int]
    source: str

    @property
    def note(self) -> str | None:
        """The assumption about this GPU, as a note; None when its facts were published."""
        if self.source == _FROM_THE_MATRIX:
            return (
                f"only the memory of {self.name} is known: the prediction assumes an Ampere GPU, "
                "and that torch sees 98.3% of its memory"
            )
        if self.torch_mib is None:
            return (
                f"the memory that torch sees on {self.name} is not known: the prediction assumes "
                "98.3% of NVML's total"
            )
        return None

    @property
    def nvml_bytes(self) -> int:
        """NVML's total, which profiles are matched on."""
        return self.nvml_mib * MIB

    @property
    def total_bytes(self) -> int:
        """The memory that torch sees."""
        if self.torch_mib is None:
            return int(self.nvml_bytes * _DERIVED_SHARE)
        return self.torch_mib * MIB

    @property
    def workspace_bytes(self) -> int:
        """The bytes that cuBLAS allocates for each thread that multiplies matrices."""
        return (
            _LARGE_WORKSPACE_BYTES if self.capability[0] in _LARGE_WORKSPACE else _WORKSPACE_BYTES
        )


_PUBLISHED = "torch.cuda listings and out-of-memory messages in public issues"
_DERIVED = "NVML's total; no print of torch's found"
_INSTANCE_OF = "the total that NVML gives the instance, and its GPU's row"
GPUS = (
    GpuFacts("T4", "Tesla T4", 15360, 15102, (7, 5), "hpcaitech/Open-Sora#697"),
    GpuFacts("V100-16GB", "Tesla V100-SXM2-16GB", 16384, 16130, (7, 0), _PUBLISHED),
    GpuFacts("V100-32GB", "Tesla V100-SXM2-32GB", 32768, 32494, (7, 0), _PUBLISHED),
    GpuFacts("RTX-2080-Ti", "NVIDIA GeForce RTX 2080 Ti", 11264, 11009, (7, 5), _PUBLISHED),
    GpuFacts("RTX-3090", "NVIDIA GeForce RTX 3090", 24576, 24124, (8, 6), _PUBLISHED),
    GpuFacts("RTX-4090", "NVIDIA GeForce RTX 4090", 24564, 24209, (8, 9), "ali-vilab/VGen#104"),
    GpuFacts("RTX-5090", "NVIDIA GeForce RTX 5090", 32607, 32102, (12, 0), "TrajectoryCrafter#20"),
    GpuFacts("A10", "NVIDIA A10", 23028, 22599, (8, 6), _PUBLISHED),
    GpuFacts("A10G", "NVIDIA A10G", 23028, 22589, (8, 6), _PUBLISHED),
    GpuFacts("L4", "NVIDIA L4", 23034, 22558, (8, 9), _PUBLISHED),
    GpuFacts("L40S", "NVIDIA L40S", 46068, 45589, (8, 9), "Qwen3-VL#2097"),
    GpuFacts("A40", "NVIDIA A40", 46068, 45363, (8, 6), _PUBLISHED),
    GpuFacts("RTX-A6000", "NVIDIA RTX A6000", 49140, 48676, (8, 6), _PUBLISHED),
    GpuFacts("RTX-6000-Ada", "NVIDIA RTX 6000 Ada Generation", 49140, 48520, (8, 9),
             "MTVCrafter#21"),
    GpuFacts("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, 97250,
             (12, 0), "antirez/ds4#431"),
    GpuFacts("A100-40GB", "NVIDIA A100-SXM4-40GB", 40960, 40441, (8, 0), _PUBLISHED),
    GpuFacts("A100-PCIE-40GB", "NVIDIA A100-PCIE-40GB", 40960, 40326, (8, 0), _PUBLISHED),
    GpuFacts("A100-80GB", "NVIDIA A100-SXM4-80GB", 81920, 81038, (8, 0), _PUBLISHED),
    GpuFacts("A100-PCIE-80GB", "NVIDIA A100 80GB PCIe", 81920, 81154, (8, 0), _PUBLISHED),
    GpuFacts("H100", "NVIDIA H100 80GB HBM3", 81559, 81008, (9, 0),
             "huggingface/text-embeddings-inference#350, vllm#27508"),
    GpuFacts("H100-PCIE", "NVIDIA H100 PCIe", 81559, 81008, (9, 0), _PUBLISHED),
    GpuFacts("H100-NVL", "NVIDIA H100 NVL", 95830, 95232, (9, 0), "ali-vilab/VACE#56"),
    GpuFacts("H200", "NVIDIA H200", 143771, 143156, (9, 0), _PUBLISHED),
    GpuFacts("GH200", "NVIDIA GH200 480GB", 97871, None, (9, 0), _DERIVED),
    GpuFacts("B200", "NVIDIA B200", 183359, 182631, (10, 0), _PUBLISHED),
    GpuFacts("GB200", "NVIDIA GB200", 189471, None, (10, 0), _DERIVED),
)  # fmt: skip


def by_label(label: str) -> GpuFacts:
    """Return the GPU with this label or product name.

    Raises HarnessError, which names all labels, when there is none.
    """
    wanted = label.lower()
    for gpu in GPUS:
        if wanted in (gpu.label.lower(), gpu.name.lower()):
            return gpu
    raise HarnessError(f"unknown GPU {label}; known: {', '.join(gpu.label for gpu in GPUS)}")


def is_instance(name: str) -> bool:
    """Return whether a product name is that of an instance of a GPU in MIG mode."""
    return _INSTANCE in name


def by_name(pattern: str, memory_bytes: int | None = None) -> GpuFacts:
    """Return the GPU that a matrix means by a glob over product names, and perhaps a total memory.

    Of several it is the one with the least memory, which a batch has to fit. An instance in MIG
    mode has the memory that is given, and its GPU's compute capability. A GPU that is not in the
    table is assumed to be an Ampere with the memory that the matrix gives. Raises HarnessError when
    neither helps.
    """
    if memory_bytes is not None and is_instance(pattern):
        product = pattern.partition(_INSTANCE)[0]
        capabilities = {gpu.capability for gpu in GPUS if fnmatchcase(gpu.name, product)}
        if len(capabilities) == 1:
            return GpuFacts(
                pattern, pattern, memory_bytes // MIB, None, capabilities.pop(), _INSTANCE_OF
            )
    fitting = [
        gpu
        for gpu in GPUS
        if fnmatchcase(gpu.name, pattern)
        and (
            memory_bytes is None or abs(gpu.nvml_bytes - memory_bytes) <= _TOLERANCE * memory_bytes
        )
    ]
    if (
        not fitting
        and memory_bytes is not None
        and not any(fnmatchcase(gpu.name, pattern) for gpu in GPUS)
    ):
        return GpuFacts(
            pattern, pattern, memory_bytes // MIB, None, _ASSUMED_CAPABILITY, _FROM_THE_MATRIX
        )
    if not fitting:
        raise HarnessError(
            f"no prediction for {pattern}: its memory is not known. Known GPUs: "
            + ", ".join(gpu.name for gpu in GPUS)
            + ". Give any other GPU its `memory` in the matrix"
        )
    return min(fitting, key=lambda gpu: gpu.total_bytes)


def simulated(gpu: GpuFacts, total_bytes: int | None = None) -> SimulatedGpu:
    """Return a simulated GPU of a product.

    total_bytes: the memory that torch sees; None: the product's.
    """
    return SimulatedGpu(
        gpu.name,
        total_bytes or gpu.total_bytes,
        gpu.capability,
        nvml_bytes=total_bytes or gpu.nvml_bytes,
    )
