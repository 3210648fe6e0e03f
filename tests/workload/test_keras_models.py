"""Keras 3 models on the torch backend train as they do in Keras, and other backends are refused."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from projects import copy_into, make_files, workload

import harness
from harness.errors import HarnessError
from harness.workload.build import build
from harness.workload.carried import load, save

if TYPE_CHECKING:
    from pathlib import Path

    from projects import Project

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's and Lightning's own


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import Keras on the torch backend, for this process and those that it starts."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


@pytest.mark.usefixtures("keras")
def test_layers_are_told_the_mode_that_torch_has_them_in() -> None:
    """In training dropout and batch normalization work; in evaluation they rest."""
    built = build(workload("keras_zoo.small_net", "keras_zoo.Images"))
    step, model = built.module.training_step, built.user_module
    batch = torch.rand(4, 8, 8, 3), torch.tensor([0, 1, 0, 1])
    moving = model.layers[1].moving_mean
    before = moving.value.clone()
    assert step(batch, 0).item() != step(batch, 0).item()
    trained = moving.value.clone()
    assert not torch.equal(before, trained)
    built.module.eval()
    validate = built.module.validation_step
    assert validate(batch, 0).item() == validate(batch, 0).item()
    assert torch.equal(trained, moving.value)


@pytest.mark.usefixtures("keras")
def test_every_variable_that_trains_is_the_modules_own() -> None:
    """The optimizer gets Keras's variables, and moves those of every layer."""
    built = build(workload("keras_zoo.small_net", "keras_zoo.Images"))
    optimizer = built.module.configure_optimizers()
    before = [variable.value.detach().clone() for variable in built.user_module.trainable_variables]
    built.module.training_step((torch.rand(4, 8, 8, 3), torch.tensor([0, 1, 0, 1])), 0).backward()
    optimizer.step()
    now = [variable.value for variable in built.user_module.trainable_variables]
    assert 6 == len(before)
    assert not any(torch.equal(one, other) for one, other in zip(before, now, strict=True))


def test_models_are_built_and_called_where_torch_has_them(keras: Any, tmp_path: Path) -> None:
    """Keras's own choice of a device, the GPU where there is one, counts neither time.

    Zygotes would start CUDA otherwise. `meta` stands in for the GPU here.
    """
    file = str(tmp_path / "model.pt")
    save(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), file, pickle)
    with keras.device("meta"):
        built = build(workload("keras_zoo.small_net", "keras_zoo.Images"))
        batch = torch.rand(4, 8, 8, 3), torch.tensor([0, 1, 0, 1])
        loss = built.module.training_step(batch, 0)
        loaded = load(file, keras=True)
    assert "cpu" == loss.device.type
    modules = built.user_module, loaded
    assert {"cpu"} == {one.device.type for module in modules for one in module.parameters()}


@pytest.mark.usefixtures("keras")
def test_keras_model_of_a_matrix_is_profiled(project: Project) -> None:
    """A run locks batch and learning rate of a Keras model that a class path names."""
    copy_into(project.path / "profiles", "keras_zoo.py")
    project.write_matrix("Net", cap=8, lr="always", search="validation: false")
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8")
    text = text.replace("zoo.Net", "keras_zoo.small_net").replace("zoo.Numbers", "keras_zoo.Images")
    matrix.write_text(text, encoding="utf-8")
    result = project.run("--gpu-profile", "--gpu-profile-update")
    result.assert_outcomes(passed=1, deselected=1)
    (case,) = project.report().values()
    assert ("passed", 8, "cap") == (case["status"], case["max_batch_size"], case["bounded_by"])
    assert case["warnings"] == [one for one in case["warnings"] if "Python anew" not in one]
    assert 'module = "keras.src.models.sequential.Sequential"' in project.lock.read_text("utf-8")


@pytest.mark.probes
def test_batch_of_a_bare_keras_model_is_found(keras: Any) -> None:
    """A Keras model of the caller's process is carried to probes, and trains there."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    found = harness.find_optimal_batch_size(model, (4,), max_batch_size=4, budget="32MiB")
    assert (4, "cap") == (found.max_batch_size, found.bounded_by)


def test_missing_keras_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A workload that imports Keras where there is none is told how to get it."""
    make_files(tmp_path, {"wants_keras.py": "import keras\nmake = keras.Sequential\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "keras", None)  # as if it were missing
    with pytest.raises(HarnessError) as refused:
        build(workload("wants_keras.make"))
    assert (
        "module wants_keras.make: Keras is not installed: `pip install 'pytest-gpu-profile[keras]'`"
        == str(refused.value)
    )


def test_missing_backend_is_told_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Keras's default backend is rarely installed beside torch: the message names the variable."""
    make_files(tmp_path, {"keras/__init__.py": "import tensorflow\n"})
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as if it were missing
    with pytest.raises(HarnessError) as refused:
        build(workload("keras.Sequential"))
    assert (
        "module keras.Sequential: Keras asks for tensorflow: set KERAS_BACKEND=torch in the "
        "environment of pytest" == str(refused.value)
    )


class OfAnotherBackend:
    """Looks as a Keras model on JAX does: of Keras, and no module of torch."""

    __module__ = "keras.src.models.sequential"


def test_other_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Keras model on another backend is no module of torch; the message names the variable."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(HarnessError) as bare:
        harness.find_optimal_batch_size(OfAnotherBackend(), (4,))
    assert str(bare.value) == (
        "model=OfAnotherBackend: an object of torch.nn.Module is needed, or a Keras 3 model on the "
        "torch backend; set KERAS_BACKEND=torch before Keras is imported: it is jax"
    )
    with pytest.raises(HarnessError) as of_matrix:
        build(workload(f"{__name__}.OfAnotherBackend"))
    assert str(of_matrix.value).endswith(
        "a LightningModule or an nn.Module is needed; a Keras model is one with KERAS_BACKEND=torch "
        "in the environment"
    )
