"""Reading values at train time: which profile is meant, and setting it on module and data module."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from making import A100, CPU, H200, locked
from torch.utils.data import DataLoader, TensorDataset

import harness
from harness import nvml
from harness.errors import HarnessError
from harness.fingerprint import describe_data, describe_module
from harness.lock_writing import update_lock
from harness.lockfile import LockError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile import LockedProfile
    from harness.measurement import DeviceIdentity, Scalar

EMULATED = replace(H200, memory_bytes=24 * 1024**3)
PROFILES = [
    locked(),
    locked(resolution=288, batch_size=1800),
    locked(gpu="a100", device=A100, batch_size=900),
    locked(gpu="cpu-512MiB", device=CPU, emulated=True, batch_size=40),
    # The label's budget happens to be the whole GPU's memory.
    locked(gpu="h200-emulated", emulated=True, batch_size=50),
    locked(gpu="h200-as-24GiB", device=EMULATED, emulated=True, batch_size=300),
    locked(model="vit", resolution=32),
]


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a lockfile in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPU_PROFILE_LOCK", raising=False)
    path = tmp_path / "gpu-profile.lock"
    update_lock(path, PROFILES)
    return path


def machine(monkeypatch: pytest.MonkeyPatch, *devices: DeviceIdentity) -> None:
    """Give this machine the GPUs."""
    gpus = [nvml.Gpu(device.name, device.memory_bytes, f"GPU-{n}", "580") for n, device in enumerate(devices)]
    monkeypatch.setattr(nvml, "visible_gpus", lambda: gpus)


def refusal(*arguments: Any, **named: Any) -> str:
    """Return the message with which a profile is not given."""
    with pytest.raises(HarnessError) as caught:
        harness.load_profile(*arguments, **named)
    return str(caught.value)


@pytest.mark.parametrize(("device", "batch_size"), [(H200, 3328), (A100, 900)])
def test_the_gpu_of_this_machine_decides(
    lock: Path, monkeypatch: pytest.MonkeyPatch, device: DeviceIdentity, batch_size: int
) -> None:
    """Without a label the profile is the one of the GPU that NVML shows; never an emulated one."""
    machine(monkeypatch, device)
    assert harness.load_profile("resnet18", resolution=224).batch_size == batch_size


@pytest.mark.parametrize(
    ("gpu", "batch_size"), [("h200", 3328), ("a100", 900), ("cpu-512MiB", 40), ("h200-as-24GiB", 300)]
)
def test_a_label_decides_without_nvml(lock: Path, gpu: str, batch_size: int) -> None:
    """Any label may be asked for on any machine, emulated and CPU ones too."""
    assert harness.load_profile("resnet18", resolution=224, gpu=gpu).batch_size == batch_size


def test_the_resolution_may_be_left_out_where_there_is_one(lock: Path) -> None:
    """What has one possible value need not be said."""
    assert harness.load_profile("resnet18", gpu="a100").axes["resolution"] == 224
    assert harness.load_profile("vit", gpu="h200").axes["resolution"] == 32


def test_the_resolution_may_be_a_text(lock: Path) -> None:
    """A value from a command line is compared by its label."""
    assert harness.load_profile("resnet18", resolution="288", gpu="h200").batch_size == 1800


def test_an_ambiguous_resolution_is_asked_for(lock: Path) -> None:
    """Where two profiles fit, the argument that tells them apart is named with its values."""
    assert refusal("resnet18", gpu="h200") == (
        f"{lock.name}: 2 profiles of resnet18 fit: resnet18-h200-224, resnet18-h200-288. "
        "Say which: resolution= one of 224, 288"
    )


def test_further_axes_are_keywords(lock: Path) -> None:
    """A further axis is chosen by its name, asked for when ambiguous, and listed."""
    axes: dict[str, Scalar] = {"model": "mlp", "gpu": "h200", "resolution": 8}
    update_lock(lock, [replace(locked(), axes={**axes, "precision": value}) for value in ("32", "16")])
    assert harness.load_profile("mlp", gpu="h200", precision="16").axes["precision"] == "16"
    assert refusal("mlp", gpu="h200").endswith("Say which: precision= one of 16, 32")
    assert "mlp is not locked at precision 64. Locked for mlp: h200 at 8-16, 8-32" in refusal(
        "mlp", gpu="h200", precision="64"
    )
    assert "mlp is not locked at speed 1" in refusal("mlp", gpu="h200", speed=1)


def test_an_unknown_resolution_lists_the_known_ones(lock: Path) -> None:
    """The error says what is locked, by GPU, and how to lock what was asked for."""
    message = refusal("resnet18", resolution=512, gpu="h200")
    assert message.startswith(f"{lock.name}: resnet18 is not locked at resolution 512. ")
    assert "Locked for resnet18: a100 at 224; cpu-512MiB at 224; h200 at 224, 288; " in message
    assert "pytest --gpu-profile --gpu-profile-update" in message


def test_an_unknown_gpu_lists_the_known_ones(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not in the lock is told by NVML's name and memory, with those that are."""
    machine(monkeypatch, replace(H200, name="NVIDIA L4"))
    message = refusal("resnet18", resolution=224)
    assert (
        "resnet18 is not locked for this machine's NVIDIA L4 (140.4 GiB). Locked for resnet18: a100"
        in message
    )
    assert "Name one of these labels with gpu=, or lock it on this machine" in message


def test_an_unknown_label_lists_the_known_ones(lock: Path) -> None:
    """A slip in a label is told with the labels there are."""
    assert "not locked for the GPU label h100. Locked for resnet18: a100 at 224; " in refusal(
        "resnet18", gpu="h100"
    )


def test_an_unknown_model_names_the_nearest(lock: Path) -> None:
    """A slip in a model's name is told with the one that was likely meant."""
    message = refusal("resnet", resolution=224)
    assert "no model resnet is locked: did you mean resnet18? It holds resnet18, vit." in message


def test_no_gpu_lists_the_labels(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that shows no GPU asks for a label."""
    machine(monkeypatch)
    message = refusal("resnet18", resolution=224)
    assert "this machine shows no GPU" in message
    assert "Name a label of the matrix with gpu=. Locked for resnet18: a100 at 224" in message


def test_no_driver_is_told_with_its_reason(lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NVML has against answering is part of the error."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "this machine's cannot be told: nvidia-ml-py cannot be imported" in refusal("vit", resolution=32)


def test_of_several_gpus_the_first_is_meant(
    lock: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Device 0 decides; among different GPUs a warning says which that is taken to be."""
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
    """Where CUDA's device 0 is known, or all GPUs are alike, nothing is said."""
    machine(monkeypatch, *devices)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
    harness.load_profile("resnet18")
    assert caplog.text == ""


def test_the_lock_is_found_by_argument_variable_then_upward(
    lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way of naming the lock takes precedence over the next."""

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


def test_no_lock_names_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any lockfile the error says where one would be found, and how to make one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPU_PROFILE_LOCK", raising=False)
    message = refusal("resnet18")
    assert message.startswith("no lockfile: neither profiles/gpu-profile.lock nor gpu-profile.lock in ")
    assert "GPU_PROFILE_LOCK" in message


@pytest.mark.parametrize("by", ["argument", "variable"])
def test_a_named_lock_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    """A lockfile that was named is not looked for elsewhere."""
    monkeypatch.setenv("GPU_PROFILE_LOCK", str(tmp_path / "variable"))
    named = {"lock": tmp_path / "argument"} if by == "argument" else {}
    assert f"{by}: there is no such lockfile" in refusal("resnet18", **named)


def test_an_empty_lock_holds_no_model(lock: Path) -> None:
    """A lock without profiles says that it is empty."""
    lock.write_text("version = 1\n", encoding="utf-8")
    assert "It holds no profile at all" in refusal("resnet18")


def test_a_damaged_lock_is_told_with_its_line(lock: Path) -> None:
    """The reader's own errors pass through."""
    lock.write_text("version = 1\n=======\n", encoding="utf-8")
    with pytest.raises(LockError, match=r"gpu-profile\.lock:2: a merge conflict"):
        harness.load_profile("resnet18")


class Net(LightningModule):
    """A module with a learning rate."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.lr = 0.1
        self.layer = torch.nn.Linear(3, width)


class Around(LightningModule):
    """A module around a network, with a learning rate."""

    def __init__(self, network: torch.nn.Module, *, head: bool = False) -> None:
        super().__init__()
        self.learning_rate = 0.1
        self.network = network
        if head:
            self.head = torch.nn.Linear(2, 2)


class Late(LightningModule):
    """A module that has no parameters before the Trainer configures it."""

    lr = 0.1


class Data(LightningDataModule):
    """A data module over three samples."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.batch_size = 1
        self.size = size

    def setup(self, stage: str) -> None:
        """Make the data."""
        del stage
        self.train = TensorDataset(torch.zeros(3, self.size))

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the data."""
        return DataLoader(self.train)


def profile_of(module: torch.nn.Module, data: Any, **changes: Any) -> LockedProfile:
    """Lock a workload as a run would, with its data set up."""
    if hasattr(data, "setup"):
        data.setup("fit")
    return locked(workload=describe_module(module) | describe_data(data), **changes)


def test_apply_sets_batch_size_and_learning_rate() -> None:
    """The two values are where training looks for them."""
    module, data = Net(), Data()
    harness.apply(profile_of(Net(), Data()), module, data)
    assert (data.batch_size, module.lr) == (3328, 0.00316)


def test_apply_works_without_a_data_module() -> None:
    """A module with its own batch size is enough."""
    module: Any = Net()
    module.batch_size = 1
    harness.apply(profile_of(Net(), Data()), module)
    assert module.batch_size == 3328


def test_apply_follows_named_attributes() -> None:
    """Dotted names lead to other places."""
    module: Any = Net()
    data: Any = Data()
    module.config = {"optimizer": {"rate": 0.1}}
    data.sizes = SimpleNamespace(batch=1)
    harness.apply(
        profile_of(Net(), Data()),
        module,
        data,
        batch_size_attr="sizes.batch",
        learning_rate_attr="config.optimizer.rate",
    )
    assert (data.sizes.batch, data.batch_size) == (3328, 1)
    assert (module.config, module.lr) == ({"optimizer": {"rate": 0.00316}}, 0.1)


def test_apply_sets_the_validation_batch_where_there_is_one() -> None:
    """A validation batch size of the data module's own takes the locked one."""
    data: Any = Data()
    data.val_batch_size = 1
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert (data.val_batch_size, data.batch_size) == (8192, 3328)


@pytest.mark.parametrize(("validation", "warned"), [(3327, True), (3328, False), (None, False)])
def test_apply_warns_of_a_validation_batch_that_has_no_place(
    caplog: pytest.LogCaptureFixture, validation: int | None, *, warned: bool
) -> None:
    """Validation at training's batch may run out of memory where a smaller one is locked."""
    harness.apply(profile_of(Net(), Data(), validation_batch_size=validation), Net(), Data())
    assert ("validation is locked at batch 3327" in caplog.text) is warned


def test_apply_without_a_locked_learning_rate_says_why() -> None:
    """The refusal that was locked is the error, with the argument that does without; nothing is set."""
    module, data = Net(), Data()
    profile = profile_of(Net(), Data(), learning_rate=None, lr_refusal="signal-to-noise 2.1 is under 4")
    with pytest.raises(HarnessError) as caught:
        harness.apply(profile, module, data)
    assert str(caught.value) == (
        "resnet18-h200-224 is locked without a learning rate: signal-to-noise 2.1 is under 4. "
        "Set the batch size alone with learning_rate=False"
    )
    assert data.batch_size == 1
    harness.apply(profile, module, data, learning_rate=False)
    assert (data.batch_size, module.lr) == (3328, 0.1)


def test_apply_sets_nothing_where_one_place_is_missing() -> None:
    """A module without a learning rate is told before the batch size is set."""
    data = Data()
    module = Net()
    del module.lr
    with pytest.raises(HarnessError, match=r"no learning rate to set: looked for Net\.lr"):
        harness.apply(profile_of(Net(), Data()), module, data)
    assert data.batch_size == 1


def test_apply_refuses_another_module() -> None:
    """A module with other parameters is not the one that was measured; the counts say so."""
    module, data = Net(5), Data()
    with pytest.raises(HarnessError) as caught:
        harness.apply(profile_of(Net(), Data()), module, data)
    assert str(caught.value).startswith(
        "resnet18-h200-224 is locked for another workload: num_parameters 16 -> 20. Lock the workload as it is with"
    )
    assert (module.lr, data.batch_size) == (0.1, 1)


def test_apply_refuses_other_dtypes() -> None:
    """A module in half precision has the same counts and another memory."""
    with pytest.raises(HarnessError, match="names, shapes or dtypes of the parameters"):
        harness.apply(profile_of(Net(), Data()), Net().half(), Data())


def test_apply_accepts_a_renamed_class() -> None:
    """To rename the module's class changes nothing that was measured."""
    profile = profile_of(Net(), Data())
    module = Net()
    harness.apply(replace(profile, workload=profile.workload | {"module": "old.Name"}), module, Data())
    assert module.lr == 0.00316


def test_apply_finds_a_plain_network_in_its_module() -> None:
    """Where the matrix names a plain network, a module with that network alone is the same workload."""
    network = torch.nn.Linear(3, 4)
    module = Around(network)
    harness.apply(profile_of(torch.nn.Linear(3, 4), Data()), module, Data())
    assert module.learning_rate == 0.00316


def test_apply_refuses_a_network_with_more_around_it() -> None:
    """A module with parameters beside the locked network is another workload."""
    with pytest.raises(HarnessError, match="num_tensors 2 -> 4"):
        harness.apply(
            profile_of(torch.nn.Linear(3, 4), Data()), Around(torch.nn.Linear(3, 4), head=True), Data()
        )


def test_apply_accepts_a_module_that_is_configured_later() -> None:
    """Parameters that do not exist yet cannot be compared."""
    module = Late()
    harness.apply(profile_of(Net(), Data()), module, Data())
    assert module.lr == 0.00316


def test_apply_refuses_another_data_class() -> None:
    """The class of the data is compared also where they are not set up."""
    profile = profile_of(Net(), Data())
    other = replace(profile, workload=profile.workload | {"data": "zoo.Other"})
    with pytest.raises(HarnessError, match=rf"data zoo\.Other -> {__name__}\.Data"):
        harness.apply(other, Net(), Data())


def test_apply_refuses_other_samples_where_they_are_at_hand() -> None:
    """A data module that is set up at another resolution is told by its samples."""
    data = Data(size=5)
    data.setup("fit")
    with pytest.raises(HarnessError, match=r"sample float32\[3\] -> float32\[5\]"):
        harness.apply(profile_of(Net(), Data()), Net(), data)


def test_apply_does_not_set_data_up() -> None:
    """Data that are not there yet are not made: only their class is compared."""
    data = Data(size=5)
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert not hasattr(data, "train")


def test_apply_knows_a_script_by_the_name_of_its_class() -> None:
    """A data class that the matrix imports is `__main__` in the script that defines it."""

    class Renamed(Data):
        pass

    Renamed.__module__, Renamed.__qualname__ = "__main__", "Data"
    data = Renamed()
    harness.apply(profile_of(Net(), Data()), Net(), data)
    assert data.batch_size == 3328


def test_apply_knows_a_plain_data_set_behind_a_data_module() -> None:
    """Where the matrix names a data set, a data module that loads it is the same data."""
    data = Data()
    data.setup("fit")
    harness.apply(profile_of(Net(), data.train), Net(), data)
    assert data.batch_size == 3328


def test_a_profile_without_a_description_is_accepted() -> None:
    """A lock that records no parts of the workload leaves nothing to compare."""
    module, data = Net(), Data()
    harness.apply(locked(workload={}), module, data)
    assert data.batch_size == 3328


def test_reading_imports_no_framework(lock: Path) -> None:
    """The whole path from lockfile to values runs without torch, pytest, pydantic, YAML and Lightning."""
    code = (
        "import sys, types, harness\n"
        "tuned = harness.load_profile('resnet18', resolution=224, gpu='h200')\n"
        "module = types.SimpleNamespace(lr=1, batch_size=1, named_parameters=list)\n"
        "harness.apply(tuned, module)\n"
        "print(module.batch_size, module.lr)\n"
        "heavy = {'torch', 'pytest', 'pydantic', 'yaml', 'lightning', 'numpy', 'filelock', 'tomli_w', 'pynvml'}\n"
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
