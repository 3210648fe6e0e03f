"""What a simulated GPU needs, how it is found, and the refusals of what is missing."""

from __future__ import annotations

import platform
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from harness.errors import HarnessError
from harness.simulated import symbols
from harness.simulated.requirements import compiler, torch_build

if TYPE_CHECKING:
    from pathlib import Path


def torch_folder(
    tmp_path: Path, *, cuda: str | None = "13.0", packages: tuple[str, ...] = ()
) -> Path:
    """Make a package of torch as far as it is read."""
    folder = tmp_path / "torch"
    (folder / "lib").mkdir(parents=True)
    (folder / "version.py").write_text(
        f"__version__ = '2.12.1+x'\ncuda: Optional[str] = {cuda!r}\nhip: Optional[str] = None\n"
    )
    if cuda:
        (folder / "lib" / "libc10_cuda.so").touch()
    for package in packages:
        name, _, version = package.rpartition("-")
        metadata = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_versions_are_read_from_files(tmp_path: Path) -> None:
    """In the numbers that the libraries themselves give."""
    folder = torch_folder(
        tmp_path, packages=("nvidia-cudnn-cu13-9.20.0.48", "nvidia-nccl-cu13-2.29.7")
    )
    build = torch_build(folder)
    assert ("2.12.1+x", 13000, 92000, 22907) == (
        build.version,
        build.runtime,
        build.cudnn,
        build.nccl,
    )


def test_cpu_build_is_refused(tmp_path: Path) -> None:
    """With the command that installs a CUDA build of the same version."""
    with pytest.raises(
        HarnessError,
        match=r"torch 2\.12\.1\+x is built without CUDA: `pip install --force-reinstall torch==2\.12\.1`",
    ):
        torch_build(torch_folder(tmp_path, cuda=None))


def test_torch_without_nvidias_packages_is_refused(tmp_path: Path) -> None:
    """Its libraries' versions cannot be known."""
    with pytest.raises(HarnessError, match="no package nvidia-cudnn is installed beside torch"):
        torch_build(torch_folder(tmp_path))


def test_other_processor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calling convention is x86-64's."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(
        HarnessError, match=r"needs Linux on an x86-64 processor, and this is .* on aarch64"
    ):
        torch_build(torch_folder(tmp_path))


def test_other_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a system that is not Linux."""
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(HarnessError, match="needs Linux"):
        torch_build(torch_folder(tmp_path))


def test_missing_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs one."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match=r"needs a C compiler once.*apt-get install gcc"):
        compiler({})


def test_compiler_may_be_named(tmp_path: Path) -> None:
    """$CC comes first, with its options."""
    named = tmp_path / "cc"
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert [str(named), "-m64"] == compiler({"CC": f"{named} -m64"})


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Make a library that needs some functions, and defines one."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler `cc`")
    source = tmp_path / "needs.c"
    source.write_text(
        "int cudaMalloc(void); int cungqr_(void); int nvrtcVersion(void); int cuInit(void); int ncclSend(void);\n"
        'const char *name(void) { return "cuMemCreate"; }\n'
        "int cublasOwn(void) { return cudaMalloc() + cungqr_() + nvrtcVersion() + cuInit() + ncclSend(); }\n"
    )
    target = tmp_path / "libneeds.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, source], check=True, timeout=60)
    return target


def test_symbols_are_read_as_the_linker_wrote_them(shared: Path) -> None:
    """Functions of CUDA that a library needs; not its own, not a compiler's, and not LAPACK's."""
    assert ["cuInit", "cudaMalloc", "ncclSend"] == symbols.needed([shared])


def test_defined_symbols_are_told_apart(shared: Path) -> None:
    """What the library has itself is defined."""
    found = dict(symbols.symbols(shared))
    assert (True, False) == (found["cublasOwn"], found["cudaMalloc"])


def test_names_that_are_looked_up_are_found(shared: Path) -> None:
    """Torch up to 2.6 looks the driver's functions up by name."""
    assert "cuMemCreate" in symbols.looked_up(shared)


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    """Torch was damaged."""
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(HarnessError, match="is no 64-bit shared library"):
        symbols.needed([tmp_path / "text.so"])


def test_stubs_return_success_or_a_text() -> None:
    """A function that gives words returns an empty text, and any other one zero."""
    code = symbols.stubs(["cufftExecC2C", "cusparseGetErrorString"])
    assert [
        "STUB long cufftExecC2C(void) { return 0; }",
        'STUB const char *cusparseGetErrorString(void) { return ""; }',
    ] == code.splitlines()[1:]
