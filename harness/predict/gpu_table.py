"""The facts about GPUs that predictions and simulated GPUs rely on. Pure.

Memory is in MiB. `nvml_mib` is what nvidia-smi shows. `torch_mib` is `total_memory` of
torch.cuda.get_device_properties, or the "total capacity" of torch's out-of-memory message, as
people have published them. It differs by up to 1% between drivers; the table has the lower value.
If none is published, it is derived from NVML's total, and a note says so.

`sm_count` is `multi_processor_count` of the same properties where somebody has published it. Else
it is the number of CUDA cores in NVIDIA's data sheet, divided by those of one SM: 64 on compute
capabilities 6.0, 7.x and 8.0, else 128.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
# Of NVML's total, what torch sees on a T4. The table has 97.1% on an RTX 3060, to 99.6% on an H200.
_DERIVED_SHARE = 0.983
FROM_THE_MATRIX = "the matrix"
"""The source of a GPU whose memory alone is known."""


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
    sm_count: int
    source: str

    @property
    def note(self) -> str | None:
        """The assumption about this GPU, as a note; None when its facts were published."""
        if self.source == FROM_THE_MATRIX:
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


_PUBLISHED = "torch.cuda listings and out-of-memory messages in public issues"
_PRINTED = "prints of torch.cuda's properties in public repositories"
_DERIVED = "NVML's total in public listings of nvidia-smi; no print of torch's found"
GPUS = (
    GpuFacts("P100-16GB", "Tesla P100-PCIE-16GB", 16384, 16269, (6, 0), 56, _PRINTED),
    GpuFacts("GTX-1080-Ti", "NVIDIA GeForce GTX 1080 Ti", 11264, 11172, (6, 1), 28,
             "ethereum-mining/ethminer#536"),
    GpuFacts("T4", "Tesla T4", 15360, 15102, (7, 5), 40, "hpcaitech/Open-Sora#697"),
    GpuFacts("V100-16GB", "Tesla V100-SXM2-16GB", 16384, 16130, (7, 0), 80, _PUBLISHED),
    GpuFacts("V100-32GB", "Tesla V100-SXM2-32GB", 32768, 32494, (7, 0), 80, _PUBLISHED),
    GpuFacts("RTX-2080", "NVIDIA GeForce RTX 2080", 8192, None, (7, 5), 46, _DERIVED),
    GpuFacts("RTX-2080-Ti", "NVIDIA GeForce RTX 2080 Ti", 11264, 11009, (7, 5), 68, _PUBLISHED),
    GpuFacts("TITAN-RTX", "NVIDIA TITAN RTX", 24576, 24190, (7, 5), 72, _PRINTED),
    GpuFacts("Quadro-RTX-6000", "Quadro RTX 6000", 24576, None, (7, 5), 72, _DERIVED),
    GpuFacts("Quadro-RTX-8000", "Quadro RTX 8000", 49152, 48601, (7, 5), 72, _PRINTED),
    GpuFacts("RTX-3060", "NVIDIA GeForce RTX 3060", 12288, 11931, (8, 6), 28, _PRINTED),
    GpuFacts("RTX-3070", "NVIDIA GeForce RTX 3070", 8192, None, (8, 6), 46, _DERIVED),
    GpuFacts("RTX-3080", "NVIDIA GeForce RTX 3080", 10240, None, (8, 6), 68, _DERIVED),
    GpuFacts("RTX-3080-Ti", "NVIDIA GeForce RTX 3080 Ti", 12288, None, (8, 6), 80, _DERIVED),
    GpuFacts("RTX-3090", "NVIDIA GeForce RTX 3090", 24576, 24124, (8, 6), 82, _PUBLISHED),
    GpuFacts("RTX-3090-Ti", "NVIDIA GeForce RTX 3090 Ti", 24564, 24114, (8, 6), 84, _PRINTED),
    GpuFacts("RTX-4060-Ti-8GB", "NVIDIA GeForce RTX 4060 Ti", 8188, None, (8, 9), 34, _DERIVED),
    GpuFacts("RTX-4060-Ti-16GB", "NVIDIA GeForce RTX 4060 Ti", 16380, None, (8, 9), 34, _DERIVED),
    GpuFacts("RTX-4070", "NVIDIA GeForce RTX 4070", 12282, None, (8, 9), 46, _DERIVED),
    GpuFacts("RTX-4070-Ti", "NVIDIA GeForce RTX 4070 Ti", 12282, None, (8, 9), 60, _DERIVED),
    GpuFacts("RTX-4080", "NVIDIA GeForce RTX 4080", 16376, 16049, (8, 9), 76, _PRINTED),
    GpuFacts("RTX-4090", "NVIDIA GeForce RTX 4090", 24564, 24209, (8, 9), 128,
             "ali-vilab/VGen#104"),
    GpuFacts("RTX-5070", "NVIDIA GeForce RTX 5070", 12227, None, (12, 0), 48, _DERIVED),
    GpuFacts("RTX-5070-Ti", "NVIDIA GeForce RTX 5070 Ti", 16303, None, (12, 0), 70, _DERIVED),
    GpuFacts("RTX-5080", "NVIDIA GeForce RTX 5080", 16303, None, (12, 0), 84, _DERIVED),
    GpuFacts("RTX-5090", "NVIDIA GeForce RTX 5090", 32607, 32102, (12, 0), 170,
             "TrajectoryCrafter#20"),
    GpuFacts("A10", "NVIDIA A10", 23028, 22599, (8, 6), 72, _PUBLISHED),
    GpuFacts("A10G", "NVIDIA A10G", 23028, 22587, (8, 6), 80, _PRINTED),
    GpuFacts("A16", "NVIDIA A16", 15356, None, (8, 6), 10, _DERIVED),
    GpuFacts("A30", "NVIDIA A30", 24576, None, (8, 0), 56, _DERIVED),
    GpuFacts("A40", "NVIDIA A40", 46068, 45363, (8, 6), 84, _PUBLISHED),
    GpuFacts("RTX-A4000", "NVIDIA RTX A4000", 16376, None, (8, 6), 48, _DERIVED),
    GpuFacts("RTX-A5000", "NVIDIA RTX A5000", 24564, 24114, (8, 6), 64, _PRINTED),
    GpuFacts("RTX-A6000", "NVIDIA RTX A6000", 49140, 48676, (8, 6), 84, _PUBLISHED),
    GpuFacts("L4", "NVIDIA L4", 23034, 22558, (8, 9), 58, _PUBLISHED),
    GpuFacts("L40", "NVIDIA L40", 46068, 45465, (8, 9), 142, _PUBLISHED),
    GpuFacts("L40S", "NVIDIA L40S", 46068, 45589, (8, 9), 142, "Qwen3-VL#2097"),
    GpuFacts("RTX-5000-Ada", "NVIDIA RTX 5000 Ada Generation", 32760, None, (8, 9), 100, _DERIVED),
    GpuFacts("RTX-6000-Ada", "NVIDIA RTX 6000 Ada Generation", 49140, 48520, (8, 9), 142,
             "MTVCrafter#21"),
    GpuFacts("RTX-PRO-6000", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", 97887, 97250,
             (12, 0), 188, "antirez/ds4#431"),
    GpuFacts("RTX-PRO-6000-Server", "NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, 97250,
             (12, 0), 188, "antirez/ds4#431, of the workstation's edition"),
    GpuFacts("A100-40GB", "NVIDIA A100-SXM4-40GB", 40960, 40441, (8, 0), 108, _PUBLISHED),
    GpuFacts("A100-PCIE-40GB", "NVIDIA A100-PCIE-40GB", 40960, 40326, (8, 0), 108, _PUBLISHED),
    GpuFacts("A100-80GB", "NVIDIA A100-SXM4-80GB", 81920, 81038, (8, 0), 108, _PUBLISHED),
    GpuFacts("A100-PCIE-80GB", "NVIDIA A100 80GB PCIe", 81920, 81154, (8, 0), 108, _PUBLISHED),
    GpuFacts("A800-80GB", "NVIDIA A800-SXM4-80GB", 81920, 81153, (8, 0), 108, _PRINTED),
    GpuFacts("H20", "NVIDIA H20", 97871, 97285, (9, 0), 78, _PRINTED),
    GpuFacts("H800", "NVIDIA H800", 81559, None, (9, 0), 132, _DERIVED),
    GpuFacts("H100", "NVIDIA H100 80GB HBM3", 81559, 81008, (9, 0), 132,
             "huggingface/text-embeddings-inference#350, vllm#27508"),
    GpuFacts("H100-PCIE", "NVIDIA H100 PCIe", 81559, 81008, (9, 0), 114, _PUBLISHED),
    GpuFacts("H100-NVL", "NVIDIA H100 NVL", 95830, 95232, (9, 0), 132, "ali-vilab/VACE#56"),
    GpuFacts("H200", "NVIDIA H200", 143771, 143156, (9, 0), 132, _PUBLISHED),
    GpuFacts("GH200", "NVIDIA GH200 480GB", 97871, None, (9, 0), 132, _DERIVED),
    GpuFacts("B200", "NVIDIA B200", 183359, 182631, (10, 0), 148, _PUBLISHED),
    GpuFacts("B300", "NVIDIA B300 SXM6 AC", 275040, None, (10, 3), 148, _DERIVED),
    GpuFacts("GB200", "NVIDIA GB200", 189471, None, (10, 0), 152, _DERIVED),
)  # fmt: skip
