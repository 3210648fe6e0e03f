"""Finds what a simulated GPU needs of this machine: torch's CUDA build and a C compiler.

What is missing is refused in one sentence, with the remedy.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

_COMPILERS = ("cc", "gcc", "clang")


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """The torch that is installed here, read from its files."""

    folder: Path
    version: str
    runtime: int
    """The CUDA runtime that it was built for: 12040 for 12.4."""
    cudnn: int
    """cuDNN's version as its functions give it: 92000 for 9.20.0."""
    nccl: int

    @property
    def libraries(self) -> list[Path]:
        """Torch's own libraries."""
        return sorted((self.folder / "lib").glob("*.so"))


def torch_build(folder: Path | None = None) -> TorchBuild:
    """Find the CUDA build of torch in this environment, without importing it.

    folder: torch's package; None: where Python would import it from.

    Raises HarnessError on another system or processor, and where torch is missing or a CPU build.
    """
    _require_machine()
    if folder is None:
        spec = find_spec("torch")
        if spec is None or spec.origin is None:
            raise HarnessError(
                "a simulated GPU needs torch's CUDA build, and torch is not installed: "
                "`pip install torch`, from PyPI or from PyTorch's index for CUDA, installs one"
            )
        folder = Path(spec.origin).parent
    facts = (folder / "version.py").read_text(encoding="utf-8")
    version = _quoted("__version__", facts) or "of an unknown version"
    cuda = _quoted("cuda", facts)
    if cuda is None or not (folder / "lib" / "libc10_cuda.so").exists():
        public = version.partition("+")[0]
        raise HarnessError(
            f"a simulated GPU needs torch's CUDA build, and torch {version} is built without CUDA: "
            f"`pip install --force-reinstall torch=={public}`, from PyPI or from PyTorch's index for "
            "CUDA, installs one"
        )
    major, minor = (int(part) for part in cuda.split(".")[:2])
    cudnn, nccl = _package_version("cudnn", folder), _package_version("nccl", folder)
    return TorchBuild(
        folder,
        version,
        runtime=1000 * major + 10 * minor,
        cudnn=10000 * cudnn[0] + 100 * cudnn[1] + cudnn[2],
        nccl=10000 * nccl[0] + 100 * nccl[1] + nccl[2],
    )


def compiler(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the command of the C compiler: $CC, or the first of cc, gcc and clang that is here.

    Raises HarnessError where there is none.
    """
    chosen = shlex.split(environment.get("CC", ""))
    if chosen and shutil.which(chosen[0]):
        return chosen
    for name in _COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise HarnessError(
        "a simulated GPU needs a C compiler once, and there is none of cc, gcc and clang: install one "
        "(`apt-get install gcc libc6-dev`), or name it in $CC"
    )


def _require_machine() -> None:
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 1 << 32:
        raise HarnessError(
            f"a simulated GPU needs Linux on an x86-64 processor, and this is {platform.system()} on "
            f"{platform.machine()}: run it in such a container or on such a machine"
        )


def _quoted(name: str, text: str) -> str | None:
    found = re.search(rf"^{name}\b[^=\n]*= '([^']+)'", text, re.MULTILINE)
    return found[1] if found else None


def _package_version(library: str, folder: Path) -> tuple[int, int, int]:
    """Return the version of NVIDIA's package of a library beside torch.

    Raises HarnessError where there is none: torch compares it to the one that it was built with.
    """
    for package in distributions(path=[str(folder.parent)]):
        if package.name.replace("_", "-").startswith(f"nvidia-{library}-"):
            numbers = [int(part) for part in re.findall(r"\d+", package.version)[:3]]
            return (numbers[0], numbers[1], numbers[2])
    raise HarnessError(
        f"a simulated GPU needs to know the version of {library} that torch was built with, and no "
        f"package nvidia-{library} is installed beside torch: install torch by pip"
    )
