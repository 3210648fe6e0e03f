"""Writes a project whose matrix has as many cases as asked for, on twelve kinds of GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
KINDS = {
    "b200": ("NVIDIA B200", 180),
    "h200": ("NVIDIA H200", 141),
    "h100": ("NVIDIA H100 80GB HBM3", 80),
    "h100-pcie": ("NVIDIA H100 PCIe", 80),
    "a100-80": ("NVIDIA A100-SXM4-80GB", 80),
    "a100-40": ("NVIDIA A100-SXM4-40GB", 40),
    "l40s": ("NVIDIA L40S", 45),
    "l4": ("NVIDIA L4", 22),
    "a10g": ("NVIDIA A10G", 22),
    "v100": ("Tesla V100-SXM2-32GB", 32),
    "t4": ("Tesla T4", 15),
    "rtx4090": ("NVIDIA GeForce RTX 4090", 24),
}
"""The label of each kind, its name in NVML, and about its memory in GiB."""

_RESOLUTIONS = (128, 160, 192, 224, 288, 384)
_TEST = "from harness.testing import test_gpu_profile\n"
_MODEL = """\
  {name}:
    module:
      class_path: nets.Net
      init_args: {{depth: {depth}, width: {width}, resolution: "${{resolution}}"}}
    data: {{class_path: nets.Images, init_args: {{resolution: "${{resolution}}"}}}}
"""
_NETS = '''\
"""Names for the matrix to find; nothing here is ever imported."""


class Net:
    def __init__(self, depth: int, width: int, resolution: int) -> None: ...


class Images:
    def __init__(self, resolution: int, batch_size: int = 1) -> None: ...
'''


def write_project(folder: Path, num_cases: int) -> None:
    """Write the matrix, the test module and an ini file.

    num_cases: what `exclude` leaves of models x 12 kinds x 6 resolutions.
    """
    per_model = len(KINDS) * len(_RESOLUTIONS)
    num_models = -(-num_cases // per_model)
    names = [f"model{number:03}" for number in range(num_models)]
    last = [(kind, resolution) for kind in KINDS for resolution in _RESOLUTIONS]
    left_out = last[: num_models * per_model - num_cases]
    lines = [
        "version: 1",
        "matrix:",
        f"  model: [{', '.join(names)}]",
        f"  gpu: [{', '.join(KINDS)}]",
        f"  resolution: [{', '.join(map(str, _RESOLUTIONS))}]",
        *(["  exclude:"] if left_out else []),
        *(
            f"    - {{model: {names[-1]}, gpu: {kind}, resolution: {resolution}}}"
            for kind, resolution in left_out
        ),
        "models:",
        *(
            _MODEL.format(name=name, depth=6 + number % 7, width=32 * (1 + number % 11)).rstrip()
            for number, name in enumerate(names)
        ),
        "gpus:",
        *(f"  {label}: {{name: {name}}}" for label, (name, _) in KINDS.items()),
        "",
    ]
    profiles = folder / "profiles"
    profiles.mkdir(parents=True)
    (profiles / "matrix.yaml").write_text("\n".join(lines), encoding="utf-8")
    (profiles / "test_profiles.py").write_text(_TEST, encoding="utf-8")
    (folder / "nets.py").write_text(_NETS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
