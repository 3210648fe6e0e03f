"""Finding the locked profile for this machine at train time."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from measurements import A100, CPU, H200, locked

import harness
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.gpu import Gpu
from harness.errors import HarnessError
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import update_lock
from harness.measurement import DeviceIdentity

if TYPE_CHECKING:
    from pathlib import Path

    from harness.case_names import Scalar


EMULATED = replace(H200, memory_bytes=24 * 1024**3)


PROFILES = [
    locked(),
    locked(resolution=288, batch_size=1800),
    locked(gpu="a100", device=A100, batch_size=900),
    locked(gpu="cpu-512MiB", device=CPU, emulated=True, batch_size=40),
    # The budget of this label equals the memory of the whole GPU.
    locked(gpu="h200-emulated", emulated=True, batch_size=50),
    locked(gpu="h200-as-24GiB", device=EMULATED, emulated=True, batch_size=300),
    locked(model="vit", resolution=32),
]


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a lockfile in the working directory; return its path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPU_PROFILE_LOCK", raising=False)
    path = tmp_path / "gpu-profile.lock"
    update_lock(path, PROFILES)
    return path


def machine(monkeypatch: pytest.MonkeyPatch, *devices: DeviceIdentity) -> None:
    """Make NVML report these GPUs."""
    gpus = [
        Gpu(device.name, device.memory_bytes, f"GPU-{n}", "580") for n, device in enumerate(devices)
    ]
    monkeypatch.setattr(nvml, "visible_gpus", lambda: gpus)


def refusal(*arguments: Any, **named: Any) -> str:
    """Return the message of the error when no profile is found."""
    with pytest.raises(HarnessError) as caught:
        harness.load_profile(*arguments, **named)
    return str(caught.value)


@pytest.mark.parametrize(("device", "batch_size"), [(H200, 3328), (A100, 900)])
def test_the_gpu_of_this_machine_decides(
    lock: Path, monkeypatch: pytest.MonkeyPatch, device: DeviceIdentity, batch_size: int
) -> None:
    """Without a label, the profile is that of the GPU that NVML shows, never an emulated one."""
    machine(monkeypatch, device)
    assert harness.load_profile("resnet18", resolution=224).batch_size == batch_size


@pytest.mark.parametrize(
    ("gpu", "batch_size"),
    [("h200", 3328), ("a100", 900), ("cpu-512MiB", 40), ("h200-as-24GiB", 300)],
)
def test_a_label_decides_without_nvml(lock: Path, gpu: str, batch_size: int) -> None:
    """On any machine, a label selects any profile, emulated and CPU ones included."""
    assert harness.load_profile("resnet18", resolution=224, gpu=gpu).batch_size == batch_size


def test_a_simulated_gpu_is_never_taken_for_a_real_one(lock: Path) -> None:
    """A label finds what was measured beside it, and refuses what was only simulated."""
    simulated = DeviceIdentity(f"simulated {H200.name}", H200.memory_bytes)
    update_lock(
        lock,
        [
            locked(device=simulated, batch_size=77),
            locked(model="gpt2", device=simulated, batch_size=88),
        ],
    )
    assert 3328 == harness.load_profile("resnet18", gpu="h200", resolution=224).batch_size
    message = refusal("gpt2", gpu="h200")
    assert "was found on a simulated GPU and never measured" in message
    assert message.endswith(f"on {H200.name}")


def test_the_resolution_may_be_left_out_where_there_is_one(lock: Path) -> None:
    """The resolution may be left out if only one is locked."""
    assert harness.load_profile("resnet18", gpu="a100").axes["resolution"] == 224
    assert harness.load_profile("vit", gpu="h200").axes["resolution"] == 32


def test_the_resolution_may_be_a_text(lock: Path) -> None:
    """A resolution as a text equals the number with the same label."""
    assert harness.load_profile("resnet18", resolution="288", gpu="h200").batch_size == 1800


def test_an_ambiguous_resolution_is_asked_for(lock: Path) -> None:
    """If two profiles fit, the error names the argument in which they differ, with its values."""
    assert refusal("resnet18", gpu="h200") == (
        f"{lock.name}: 2 profiles of resnet18 fit: resnet18-h200-224, resnet18-h200-288. "
        "Say which: resolution= one of 224, 288"
    )


def test_further_axes_are_keywords(lock: Path) -> None:
    """A further axis is a keyword; the error names it if it is ambiguous, and lists its values."""
    axes: dict[str, Scalar] = {"model": "mlp", "gpu": "h200", "resolution": 8}
    update_lock(
        lock, [replace(locked(), axes={**axes, "precision": value}) for value in ("32", "16")]
    )
    assert harness.load_profile("mlp", gpu="h200", precision="16").axes["precision"] == "16"
    assert refusal("mlp", gpu="h200").endswith("Say which: precision= one of 16, 32 or recommended")
    assert "mlp is not locked at precision 64. Locked for mlp: h200 at 8-16, 8-32" in refusal(
        "mlp", gpu="h200", precision="64"
    )
    assert "mlp is not locked at speed 1" in refusal("mlp", gpu="h200", speed=1)


def test_an_unknown_resolution_lists_the_known_ones(lock: Path) -> None:
    """The error about a resolution lists what is locked, by GPU, and the command to lock it."""
    message = refusal("resnet18", resolution=512, gpu="h200")
    assert message.startswith(f"{lock.name}: resnet18 is not locked at resolution 512. ")
    assert "Locked for resnet18: a100 at 224; cpu-512MiB at 224; h200 at 224, 288; " in message
    assert "pytest --gpu-profile --gpu-profile-update" in message


def test_an_unknown_gpu_lists_the_known_ones(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about a GPU has its name and memory from NVML, and lists the locked GPUs."""
    machine(monkeypatch, replace(H200, name="NVIDIA L4"))
    message = refusal("resnet18", resolution=224)
    assert (
        "resnet18 is not locked for this machine's NVIDIA L4 (140.4 GiB). Locked for resnet18: a100"
        in message
    )
    assert "Name one of these labels with gpu=, or lock it on this machine" in message


def test_an_unknown_label_lists_the_known_ones(lock: Path) -> None:
    """The error about an unknown label lists the locked labels."""
    assert "not locked for the GPU label h100. Locked for resnet18: a100 at 224; " in refusal(
        "resnet18", gpu="h100"
    )


def test_an_unknown_model_names_the_nearest(lock: Path) -> None:
    """The error about an unknown model names the most similar one."""
    message = refusal("resnet", resolution=224)
    expected = "no model resnet is locked. Did you mean resnet18? The lockfile holds resnet18, vit."
    assert expected in message


def test_no_gpu_lists_the_labels(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without a GPU, the error asks for a label."""
    machine(monkeypatch)
    message = refusal("resnet18", resolution=224)
    assert "this machine shows no GPU" in message
    assert "Name a label of the matrix with gpu=. Locked for resnet18: a100 at 224" in message


def test_no_driver_is_told_with_its_reason(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If NVML cannot be used, the error gives the reason."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "cannot find out which GPU this machine has: nvidia-ml-py cannot be imported" in refusal(
        "vit", resolution=32
    )


def test_of_several_gpus_the_first_is_meant(
    lock: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of several GPUs decides; if they differ, a warning names it."""
    machine(monkeypatch, A100, H200)
    with caplog.at_level(logging.WARNING, "harness"):
        assert harness.load_profile("resnet18").batch_size == 900
    assert "taking the profile of NVIDIA A100-SXM4-40GB" in caplog.text


@pytest.mark.parametrize(("order", "devices"), [("PCI_BUS_ID", (A100, H200)), ("", (A100, A100))])
def test_a_clear_order_is_no_warning(
    lock: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    order: str,
    devices: tuple[DeviceIdentity, ...],
) -> None:
    """If the order of the GPUs is known, or all are alike, there is no warning."""
    machine(monkeypatch, *devices)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    harness.load_profile("resnet18")
    assert caplog.text == ""


def test_the_lock_is_found_by_argument_variable_then_upward(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument precedes the variable, and the variable precedes the search upwards."""

    def lock_with(batch_size: int, *parts: str) -> Path:
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        update_lock(path, [locked(batch_size=batch_size)])
        return path

    def found(**named: Any) -> int:
        return harness.load_profile("resnet18", resolution=224, gpu="h200", **named).batch_size

    below = tmp_path / "profiles" / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert found() == 3328
    lock_with(1, "profiles", "gpu-profile.lock")
    assert found() == 1
    monkeypatch.chdir(tmp_path)
    assert found() == 1
    monkeypatch.setenv("GPU_PROFILE_LOCK", str(lock_with(2, "elsewhere", "named.lock")))
    assert found() == 2
    assert found(lock=lock_with(3, "argument.lock")) == 3


def test_no_lock_names_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lockfile, the error says where it was searched and how to name one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPU_PROFILE_LOCK", raising=False)
    message = refusal("resnet18")
    assert message.startswith(
        "no lockfile: neither profiles/gpu-profile.lock nor gpu-profile.lock in "
    )
    assert "GPU_PROFILE_LOCK" in message


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_a_named_lock_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """If a named lockfile does not exist, that is an error: no other one is searched."""
    monkeypatch.setenv("GPU_PROFILE_LOCK", str(tmp_path / "variable"))
    named = {"lock": tmp_path / "argument"} if by == "argument" else {}
    assert f"{by}: there is no such lockfile" in refusal("resnet18", **named)


def test_an_empty_lock_holds_no_model(lock: Path) -> None:
    """The error about a lock without profiles says that it is empty."""
    lock.write_text("version = 1\n", encoding="utf-8")
    assert "The lockfile holds no profile at all" in refusal("resnet18")


def test_a_damaged_lock_is_told_with_its_line(lock: Path) -> None:
    """The error about a damaged lock is that of the reader, with its line."""
    lock.write_text("version = 1\n=======\n", encoding="utf-8")
    with pytest.raises(LockError, match=r"gpu-profile\.lock:2: a merge conflict"):
        harness.load_profile("resnet18")


def test_reading_imports_no_framework(lock: Path) -> None:
    """Loading and applying a profile imports no torch, pytest, pydantic, YAML or Lightning."""
    code = (
        "import sys, types, harness\n"
        "tuned = harness.load_profile('resnet18', resolution=224, gpu='h200')\n"
        "module = types.SimpleNamespace(lr=1, batch_size=1, named_parameters=list)\n"
        "harness.apply(tuned, module)\n"
        "print(module.batch_size, module.lr)\n"
        "heavy = {'torch', 'pytest', 'pydantic', 'yaml', 'lightning', 'numpy', 'filelock', "
        "'tomli_w', 'pynvml'}\n"
        "sys.exit(' '.join(heavy & {*sys.modules}) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=lock.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("3328 0.00316\n", "", 0)
