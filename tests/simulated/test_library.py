"""The compiled library and its cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.simulated.library import CUDA, LINKED, NVML, library

if TYPE_CHECKING:
    from torch_server import TorchServer

pytestmark = pytest.mark.simulated


def test_two_processes_may_compile_at_once(tmp_path: Path, torch_server: TorchServer) -> None:
    """Both get the same folder, with the libraries, and nothing is left beside it."""
    code = "from harness.simulated.library import library; print(library())"
    variables = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    folders = {process.communicate(timeout=120)[0].strip() for process in started}
    assert folders == {str(path) for path in (tmp_path / "pytest-gpu-profile").iterdir()}
    assert [[LINKED, CUDA, NVML]] == [
        sorted(path.name for path in Path(folder).iterdir()) for folder in folders
    ]


def test_compiled_library_is_used_again(tmp_path: Path, torch_server: TorchServer) -> None:
    """The second time no compiler is needed."""
    variables = {"XDG_CACHE_HOME": str(tmp_path), "CC": shutil.which("cc") or ""}
    first = library(variables)
    before = (first / CUDA).stat().st_mtime_ns
    assert (first, before) == (library(variables), (first / CUDA).stat().st_mtime_ns)


def test_compiler_that_fails_is_refused(tmp_path: Path, torch_server: TorchServer) -> None:
    """In one sentence, with its first error and the remedy."""
    failing = tmp_path / "cc"
    failing.write_text("#!/bin/sh\necho 'x.c: error: no stdio.h' >&2; exit 1\n")
    failing.chmod(0o755)
    with pytest.raises(
        HarnessError, match=r"\(x.c: error: no stdio.h\): install a C compiler with"
    ):
        library({"XDG_CACHE_HOME": str(tmp_path / "cache"), "CC": str(failing)})


def test_cache_that_cannot_be_written_is_refused(tmp_path: Path, torch_server: TorchServer) -> None:
    """With the variable that names another."""
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="set XDG_CACHE_HOME to a folder that can be written"):
        library({"XDG_CACHE_HOME": str(tmp_path / "file"), "CC": "cc"})


def test_cache_that_cannot_be_preloaded_is_refused(
    tmp_path: Path, torch_server: TorchServer
) -> None:
    """LD_PRELOAD separates paths by blanks and colons."""
    with pytest.raises(HarnessError, match="takes no path with blanks or colons"):
        library({"XDG_CACHE_HOME": str(tmp_path / "a cache")})


def test_library_without_a_world_has_no_gpu(torch_server: TorchServer) -> None:
    """CUDA says that there is no device, and NVML that its driver is not loaded."""
    folder = library()
    code = (
        "import ctypes, sys; cuda, nvml = (ctypes.CDLL(path) for path in sys.argv[1:]); n = ctypes.c_int(7)\n"
        "print(cuda.cudaGetDeviceCount(ctypes.byref(n)), n.value, nvml.nvmlInit_v2())"
    )
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("GPU_PROFILE")
    }
    done = subprocess.run(
        [sys.executable, "-c", code, folder / CUDA, folder / NVML],
        env=variables, check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "100 0 9\n" == done.stdout


def test_preloading_costs_other_programs_nothing(torch_server: TorchServer) -> None:
    """It loads without starting anything, and says nothing."""
    done = subprocess.run(
        ["/bin/true"],
        env={"LD_PRELOAD": str(library() / CUDA)},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert (0, b"") == (done.returncode, done.stderr)
