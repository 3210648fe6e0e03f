"""A matrix file is loaded into cases."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrix_texts import EXAMPLE, RIGHT, large_matrix, load

from harness.matrix.case import Case
from harness.matrix.cases import load_matrix
from harness.matrix.mistakes import MatrixError
from harness.matrix.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_the_example_of_the_documentation_makes_its_cases(tmp_path: Path) -> None:
    """Every combination but the excluded one is a case, in the order of a nested loop."""
    assert [case.id for case in load(tmp_path, EXAMPLE)] == [
        "resnet18-h200-32",
        "resnet18-h200-64",
        "resnet18-cpu-512MiB-32",
        "resnet18-cpu-512MiB-64",
        "vit_tiny-h200-32",
        "vit_tiny-h200-64",
        "vit_tiny-cpu-512MiB-32",
    ]


def test_a_case_holds_all_that_was_set_for_it(tmp_path: Path) -> None:
    """A case holds its axes, its workload with all values, its device and all settings."""
    case = load(tmp_path, EXAMPLE)[3]
    assert (
        Case(
            id="resnet18-cpu-512MiB-64",
            axes={"model": "resnet18", "gpu": "cpu-512MiB", "resolution": 64},
            workload={
                "module": {
                    "class_path": "profiles.workloads.ImageClassifier",
                    "init_args": {"arch": "resnet", "resolution": 64},
                },
                "data": {
                    "class_path": "profiles.workloads.Digits",
                    "init_args": {"resolution": 64},
                },
                "training": None,
                "command": None,
                "collate_fn": None,
                "loss": None,
                "optimizer": None,
                "batch_size_attr": None,
                "learning_rate_attr": None,
            },
            device=GpuSettings(accelerator="cpu", budget=512 * 2**20),
            trainer={"precision": "32-true"},
            search=SearchSettings(),
            lr_range=LrRangeSettings(),
            bounds=BoundsSettings(),
        )
        == case
    )


def test_model_gpu_and_resolution_have_names_of_their_own(tmp_path: Path) -> None:
    """A case has its model, its GPU and its resolution as properties."""
    case = load(tmp_path, EXAMPLE)[0]
    assert (case.model, case.gpu, case.resolution) == ("resnet18", "h200", 32)


def test_cases_travel_as_pickle_and_their_workload_as_json(tmp_path: Path) -> None:
    """A case survives pickle, and its workload and Trainer survive JSON, for other processes."""
    case = load(tmp_path, EXAMPLE)[0]
    assert (case, case.workload, case.trainer) == (
        pickle.loads(pickle.dumps(case)),  # noqa: S301 - pickled one call before
        json.loads(json.dumps(case.workload)),
        json.loads(json.dumps(case.trainer)),
    )


def test_a_budget_or_the_cpu_makes_a_case_emulated() -> None:
    """A case on the CPU or with a budget is emulated; one on a whole GPU is not."""
    assert [
        GpuSettings(name="NVIDIA H200").emulated,
        GpuSettings(name="NVIDIA H200", budget=2**30).emulated,
        GpuSettings(accelerator="cpu", budget=2**30).emulated,
    ] == [False, True, True]


def test_further_axes_follow_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Ids start with model, GPU and resolution; further axes follow in the file's order."""
    text = RIGHT.replace(
        "  model: [net]\n", "  precision: [bf16-mixed]\n  seed: [1]\n  model: [net]\n"
    )
    case = load(tmp_path, text)[0]
    assert (
        case.id,
        list(case.axes),
    ) == ("net-cpu-32-bf16-mixed-1", ["model", "gpu", "resolution", "precision", "seed"])


def test_a_gpu_overrides_a_model_and_a_model_the_top(tmp_path: Path) -> None:
    """A GPU overrides a model, and a model the top of the file, key by key at every depth."""
    text = RIGHT.replace(
        "Linear}",
        "Linear}\n    search: {round_to: 2, max_trials: 7}\n"
        "    bounds: {batch_size: {max_drop: 5%}}",
    ).replace("512MiB}", "512MiB, search: {max_trials: 9}, trainer: {precision: null}}")
    text += "search: {round_to: 1, max_trials: 5, steps_per_trial: 4}\n"
    text += "bounds: {learning_rate: {max_factor: 3}}\n"
    text += "trainer: {precision: 16-true, accumulate_grad_batches: 2}\n"
    case = load(tmp_path, text)[0]
    assert (
        case.search.round_to,
        case.search.max_trials,
        case.search.steps_per_trial,
        case.bounds.batch_size.max_drop,
        case.bounds.learning_rate.max_factor,
        case.trainer,
    ) == (2, 9, 4, 0.05, 3.0, {"accumulate_grad_batches": 2})


def test_an_overriding_class_path_brings_its_own_arguments(tmp_path: Path) -> None:
    """An overriding class_path does not inherit the arguments of the class that it overrides."""
    text = RIGHT.replace(
        "Linear}", "Linear}\n    trainer: {plugins: [{class_path: json.JSONDecoder}]}"
    )
    text += "trainer: {plugins: [{class_path: json.JSONEncoder, init_args: {indent: 2}}]}\n"
    assert load(tmp_path, text)[0].trainer["plugins"] == [
        {"class_path": "json.JSONDecoder", "init_args": {}}
    ]


def test_rules_between_fields_hold_for_the_merged_settings_only(tmp_path: Path) -> None:
    """A minimum above the default maximum is allowed if a GPU raises the maximum."""
    text = RIGHT.replace("512MiB}", "512MiB, search: {max_batch_size: 200000}}")
    case = load(tmp_path, text + "search: {min_batch_size: 100000}\n")[0]
    assert (case.search.min_batch_size, case.search.max_batch_size) == (100_000, 200_000)


def test_a_block_that_is_commented_out_counts_as_left_out(tmp_path: Path) -> None:
    """`search:` with nothing below it is null in YAML, and changes nothing."""
    assert SearchSettings() == load(tmp_path, RIGHT + "search:\n")[0].search


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """A byte order mark, which some editors write, is ignored."""
    assert len(load(tmp_path, "\ufeff" + RIGHT)) == 2


def test_validation_settings_default_from_training() -> None:
    """Validation's fraction, minimum and steps default to training's, its maximum to twice that."""
    search = SearchSettings(
        min_batch_size=2, max_batch_size=100, steps_per_trial=5, target_memory_fraction=0.5
    )
    assert (
        search.validation_fraction,
        search.validation_minimum,
        search.validation_maximum,
        search.validation_steps,
    ) == (0.5, 2, 200, 5)


def test_validation_settings_of_its_own_are_kept() -> None:
    """Validation settings that are given override training's."""
    search = SearchSettings(
        validation_target_memory_fraction=0.7,
        validation_min_batch_size=3,
        validation_max_batch_size=30,
        validation_steps_per_trial=1,
    )
    assert (
        search.validation_fraction,
        search.validation_minimum,
        search.validation_maximum,
        search.validation_steps,
    ) == (0.7, 3, 30, 1)


@pytest.mark.parametrize("key", ["exclude", "include"])
def test_an_empty_list_of_entries_changes_nothing(tmp_path: Path, key: str) -> None:
    """`exclude: []` and `include: []` change nothing."""
    text = RIGHT.replace("models:", f"  {key}: []\nmodels:")
    assert [case.id for case in load(tmp_path, text)] == ["net-cpu-32", "net-cpu-64"]


def test_ten_thousand_cases_share_what_is_alike(tmp_path: Path) -> None:
    """Cases with the same settings share one object, so that a large matrix loads quickly."""
    path = tmp_path / "matrix.yaml"
    path.write_text(large_matrix(10, 10, 100), encoding="utf-8")
    cases = load_matrix(path)
    shared = {
        name: {id(getattr(case, name)) for case in cases}
        for name in ("device", "trainer", "lr_range", "bounds")
    }
    assert len(cases) == 10_000
    assert {"device": 10, "trainer": 1, "lr_range": 1, "bounds": 1} == {
        name: len(ids) for name, ids in shared.items()
    }


LINES = st.sampled_from(
    [
        *EXAMPLE.splitlines(),
        "  resolution: [32, 32]",
        "  resolution: 3",
        "    - {model: x}",
        "  include: [{gpu: 1}]",
        '    search: {round_to: "${x}"}',
        "trainer: {a: *x}",
        "\tx: 1",
        "  x: {accelerator: cpu}",
        "models: []",
        "gpus:",
    ]
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.lists(LINES, max_size=25).map("\n".join) | st.text(max_size=60))
def test_any_text_gives_cases_or_a_matrix_error(tmp_path: Path, text: str) -> None:
    """Any text gives cases, or a MatrixError whose lines all begin with the file's name."""
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        ended_well = len(load_matrix(path)) > 0
    except MatrixError as error:
        ended_well = all(line.startswith(f"{path}:") for line in str(error).splitlines())
    assert ended_well


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    dropped=st.sets(st.integers(0, EXAMPLE.count("\n")), max_size=4),
    cut=st.integers(0, len(EXAMPLE)),
    inserted=st.sampled_from(
        ["", "[", "}", "&a ", "*a", "- ", ": ", "'", "${", "\n", "null", "%", "9e9"]
    ),
)
def test_a_damaged_matrix_gives_cases_or_a_matrix_error(
    tmp_path: Path, dropped: set[int], cut: int, inserted: str
) -> None:
    """A matrix with missing lines and added characters gives cases or a MatrixError."""
    text = EXAMPLE[:cut] + inserted + EXAMPLE[cut:]
    kept = [line for number, line in enumerate(text.splitlines()) if number not in dropped]
    path = tmp_path / "matrix.yaml"
    path.write_text("\n".join(kept), encoding="utf-8")
    try:
        ended_well = len(load_matrix(path)) > 0
    except MatrixError as error:
        ended_well = str(error).startswith(f"{path}:")
    assert ended_well
