"""The largest batches of validate, test and predict alone: searched, locked, judged, read."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest
from bounds_values import BOUNDS, bounds_of
from case_results import locked, measurement
from projects import MIB, Project, StartRunner, copy_into, workload

import harness
from harness.bounds.measured import judge
from harness.bounds.predicted import judge_prediction
from harness.identity.recipe import recipe
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import update_lock
from harness.matrix.cases import parse_matrix
from harness.matrix.mistakes import MatrixError
from harness.probes.inference_probe import infer, samples_in_pass

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measurement import Measurement

MATRIX = """
version: 1
matrix: {model: [net, untested], gpu: [cpu-16MiB], resolution: [1]}
models:
  net:
    module: {class_path: inference_zoo.Net}
    data: {class_path: inference_zoo.Data}
    search: {inference: [test, predict]}
  untested:
    module: {class_path: inference_zoo.Untested}
    data: {class_path: inference_zoo.Data}
    search: {inference: [test]}
gpus:
  cpu-16MiB: {accelerator: cpu, budget: 16MiB}
search: {max_batch_size: 512}
lr_range: {when: never}
"""
FUNCTIONS: tuple[Literal["test", "predict"], ...] = ("test", "predict")
ZOO = {"module": "inference_zoo.Net", "data": "inference_zoo.Data"}


def test_batches_of_inference_are_exact_locked_and_read(
    project: Project, start: StartRunner
) -> None:
    """In fresh probes each locked batch fits, and the next does not; a missing step is named."""
    copy_into(project.path / "profiles", "inference_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX)
    first = project.run("--gpu-profile", "--gpu-profile-update")
    first.stdout.fnmatch_lines(
        [
            (
                "*test cannot be set up: HarnessError: search.inference asks for test, and Untested"
                " has no test_step: add it, or leave test out of search.inference for this model*"
            )
        ]
    )
    tuned = harness.load_profile("net", gpu="cpu-16MiB", lock=project.lock)
    sizes = tuned.inference_batch_sizes
    assert ["predict", "test"] == sorted(sizes)
    assert sizes["predict"] < sizes["test"]
    runner = start(workload(**ZOO), 16 * MIB)
    found = {
        (function, sizes[function] + more): infer(
            runner, function, sizes[function] + more, batches=3
        ).outcome
        for function in FUNCTIONS
        for more in (0, 1)
    }
    assert {
        (function, size + more): ("fits", "oom")[more]
        for function, size in sizes.items()
        for more in (0, 1)
    } == found
    again = project.run("--gpu-profile", "-k", "net-cpu")
    again.assert_outcomes(passed=1)
    probes = project.report()["net-cpu-16MiB-1"]["probes"]
    # All 64 samples of training fit, so one probe confirms it.
    assert {"train": 1, "test": 2, "predict": 2} == {
        kind: sum(probe["kind"] == kind for probe in probes)
        for kind in ("train", "test", "predict")
    }


def test_own_attribute_comes_before_the_common_one(start: StartRunner) -> None:
    """The loader of predict reads `predict_batch_size`, and is set up for predict."""
    runner = start(workload(**ZOO, data_args={"length": 100}))
    assert 100 == samples_in_pass(runner, "predict")
    assert "fits" == infer(runner, "predict", 7, batches=2).outcome
    assert "dataset" == infer(runner, "predict", 101, batches=2).outcome


def test_memory_that_each_batch_keeps_counts_for_the_whole_pass(start: StartRunner) -> None:
    """A test_step that keeps its outputs is extrapolated to the end of the data."""
    runner = start(workload(**ZOO, module_args={"keeps": True}), 32 * MIB)
    few = infer(runner, "test", 8, batches=10)
    assert "test" == (few.growth.phase if few.growth else None)
    whole = infer(runner, "test", 8, batches=16, whole_pass=True)
    assert "oom" == whole.outcome
    assert "test would need" in (whole.detail or "")


def of_case(text: str) -> Any:
    """Return the case of the model `net` of a matrix."""
    return next(case for case in parse_matrix(text, "matrix.yaml") if case.model == "net")


def test_recipe_holds_inference_only_where_it_is_asked_for() -> None:
    """A lock without it stays valid, and a change of the sizes that it tries makes it stale."""
    plain = MATRIX.replace("search: {inference: [test, predict]}", "search: {}")
    texts = (
        plain,
        plain.replace("search: {}", "search: {validation_steps_per_trial: 5}"),
        MATRIX,
        MATRIX.replace("predict]}", "predict], validation_steps_per_trial: 5}"),
    )
    first, second, third, fourth = (recipe(of_case(text), {}) for text in texts)
    assert first == second
    assert "search.inference" not in first.settings
    assert ["test", "predict"] == third.settings["search.inference"]
    assert 5 == fourth.settings["search.validation_steps_per_trial"]


@pytest.mark.parametrize("value", ["[fit]", "predict", "[test, test]"])
def test_other_functions_are_refused(value: str) -> None:
    """The mistake tells what is allowed."""
    with pytest.raises(MatrixError, match="a list of validate, test and predict"):
        parse_matrix(MATRIX.replace("[test, predict]", value), "matrix.yaml")


def test_training_without_lightning_has_no_inference() -> None:
    """A step function runs no function of Lightning's Trainer."""
    text = MATRIX.replace(
        "module: {class_path: inference_zoo.Net}\n    data: {class_path: inference_zoo.Data}",
        "training: {class_path: inference_zoo.make}",
    ).replace("inference_zoo.make", "inference_zoo.Net")
    with pytest.raises(MatrixError, match=r"`search\.inference` runs functions of Lightning"):
        parse_matrix(text, "matrix.yaml")


def inferring(**sizes: int) -> Measurement:
    """Return a measurement with these batch sizes of inference."""
    return measurement(inference_batch_sizes=sizes)


def test_bound_is_that_of_training() -> None:
    """A drop beyond max_drop fails, one within it does not, and a gain is an improvement."""
    lock = locked(inference_batch_sizes={"test": 1000, "predict": 1000})
    assert [] == bounds_of(judge(inferring(test=980, predict=1000), lock, BOUNDS))
    fell = judge(inferring(test=979, predict=1000), lock, BOUNDS)
    assert ["inference_batch_size"] == bounds_of(fell)
    assert fell.violations[0].message.startswith(
        "batch size 979 of test is 2.1% below the locked 1000; at least 980 is allowed"
    )
    lost = judge(inferring(test=1000), lock, BOUNDS)
    assert "no batch size of predict fits, where 1000 is locked" in lost.violations[0].message
    gained = judge(inferring(test=1000, predict=1100), lock, BOUNDS)
    assert ("batch size 1100 of predict is 10.0% above the locked 1000",) == gained.improvements


def test_prediction_of_inference_is_compared_exactly() -> None:
    """One sample less fails, where the lock is a prediction of the same versions."""
    made: dict[str, Any] = {
        "source": "predicted",
        "predicted_batch_size": 471,
        "predicted_with": {"torch": "2"},
    }
    lock = locked(**made, inference_batch_sizes={"test": 1000})
    now = replace(inferring(test=999), **made)
    assert ["inference_batch_size"] == bounds_of(judge_prediction(now, lock))
    measured = locked(
        predicted_batch_size=471,
        predicted_with={"torch": "2"},
        inference_batch_sizes={"test": 1000},
    )
    assert [] == bounds_of(judge_prediction(now, measured))


def test_sizes_survive_the_lockfile(tmp_path: Path) -> None:
    """What is written is read back."""
    path = tmp_path / "gpu-profile.lock"
    update_lock(path, [locked(inference_batch_sizes={"test": 7})])
    (profile,) = read_lock(path)
    assert {"test": 7} == profile.inference_batch_sizes
