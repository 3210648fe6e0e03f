"""The library's sources compile without a warning and without torch, and stay short."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import harness.simulated

FOLDERS = sorted((Path(harness.simulated.__file__).parent / "sources").iterdir())
SOURCES = [path for folder in FOLDERS for path in sorted(folder.iterdir())]
FLAGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-DDNN_VERSION=92000")


@pytest.mark.parametrize("runtime", [12040, 13000])
def test_sources_compile_without_a_warning(runtime: int) -> None:
    """For CUDA 12's structures and for CUDA 13's, whose sizes the compiler checks."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler `cc`")
    sources = [path for path in SOURCES if path.suffix == ".c"]
    defined = (f"-DRUNTIME_VERSION={runtime}", "-DNCCL_VERSION=22907")
    done = subprocess.run(
        [compiler, *FLAGS, *defined, *(f"-I{folder}" for folder in FOLDERS), *sources],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source_needs_nothing_of_nvidias(path: Path) -> None:
    """It includes the C library and its neighbours alone, says what it is for, and is short."""
    text = path.read_text(encoding="utf-8")
    included = re.findall(r'#include [<"]([^>"]+)[>"]', text)
    ours = {source.name for source in SOURCES}
    system = {name for name in included if name not in ours}
    assert set() == {name for name in system if re.search("cu(da|blas|dnn)|nccl|nvml", name)}
    assert text.startswith("/* ")
    assert len(text.splitlines()) <= 350
