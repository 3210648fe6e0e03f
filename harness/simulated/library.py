"""Compiles the library that answers for CUDA, once for each torch build, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.simulated.requirements import compiler, torch_build
from harness.simulated.symbols import looked_up, needed, stubs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.simulated.requirements import TorchBuild

CUDA, NVML = "libcuda.so.1", "libnvidia-ml.so.1"
"""Names of the two libraries, by which others ask for them."""
LINKED = "libcuda.so"
"""The first one's name for linkers: Triton up to 3.2 links what it compiles with it."""

_SOURCES = Path(__file__).parent / "sources"
_OF_BOTH, _OF_NVML = ("world",), ("nvml",)
_OF_CUDA = ("process", "memory", "kernels", "libraries", "communication")
_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-w")
_WAIT_SECONDS = 120
# Between the libraries of LD_PRELOAD: ld.so(8).
_SEPARATOR = re.compile(r"[\s:]")


def library(environment: Mapping[str, str] = os.environ, torch_folder: Path | None = None) -> Path:
    """Return the folder with both libraries for one torch.

    torch_folder: torch's package; None: that of this environment.

    Compiles them where that was not done before, which takes some seconds. Raises HarnessError
    where what that needs is missing, and where it fails.
    """
    build = torch_build(torch_folder)
    folder = cache(environment) / f"simulated-{_key(build)}"
    if _SEPARATOR.search(str(folder)):
        raise HarnessError(
            f"{folder}: LD_PRELOAD takes no path with blanks or colons: set XDG_CACHE_HOME to a folder "
            "without them"
        )
    if folder.is_dir():
        return folder
    command = compiler(environment)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".simulated-", dir=folder.parent) as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _compile(command, build, made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process was first
                    raise
    except OSError as error:
        raise HarnessError(
            f"{folder.parent}: the library of simulated GPUs cannot be written there "
            f"({error.strerror or error}): set XDG_CACHE_HOME to a folder that can be written"
        ) from error
    return folder


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the user's cache folder of this package."""
    home = environment.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    return Path(home) / "pytest-gpu-profile"


def _key(build: TorchBuild) -> str:
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.glob("*/*.[ch]")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for module in ("symbols.py", "library.py"):
        digest.update(Path(__file__).with_name(module).read_bytes())
    digest.update(repr((build.version, build.runtime, build.cudnn, build.nccl)).encode())
    return digest.hexdigest()[:16]


def _compile(command: list[str], build: TorchBuild, folder: Path) -> None:
    generated = folder / "stubs.c"
    names = {*needed(build.libraries), *looked_up(build.folder / "lib" / "libc10_cuda.so")}
    generated.write_text(stubs(sorted(names)), encoding="utf-8")
    versions = (
        f"-DRUNTIME_VERSION={build.runtime}",
        f"-DDNN_VERSION={build.cudnn}",
        f"-DNCCL_VERSION={build.nccl}",
    )
    for name, folders, more in (
        (CUDA, _OF_BOTH + _OF_CUDA, [generated]),
        (NVML, _OF_BOTH + _OF_NVML, []),
    ):
        includes = [f"-I{_SOURCES / inside}" for inside in folders]
        sources = [path for inside in folders for path in sorted((_SOURCES / inside).glob("*.c"))]
        output = (f"-Wl,-soname,{name}", "-o", str(folder / name))
        _run([*command, *_FLAGS, *versions, *includes, *output], sources + more)
    generated.unlink()
    (folder / LINKED).symlink_to(CUDA)


def _run(command: list[str], sources: list[Path]) -> None:
    # The compiler itself must not run over a simulated GPU of an outer environment.
    clean = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    try:
        done = subprocess.run(
            [*command, *map(str, sources), "-ldl"],
            env=clean,
            check=False,
            capture_output=True,
            text=True,
            timeout=_WAIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        said = f"it did not end within {_WAIT_SECONDS} s"
    else:
        if not done.returncode:
            return
        lines = done.stderr.splitlines() or [f"exit status {done.returncode}"]
        said = next((line for line in lines if "error" in line), lines[-1]).strip()
    raise HarnessError(
        f"the library of simulated GPUs cannot be compiled by `{shutil.which(command[0])}` ({said}): "
        "install a C compiler with its headers (`apt-get install gcc libc6-dev`), or name another in $CC"
    )
