"""From a matrix file to cases."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.expand import expand
from harness.matrix import Case, MatrixError, load_matrix
from harness.settings import BoundsSettings, GpuSettings, LrRangeSettings, SearchSettings
from harness.substitution import label, substitute

EXAMPLE = """\
version: 1
matrix:
  model: [resnet18, vit_tiny]
  gpu: [h200, cpu-512MiB]
  resolution: [32, 64]
  exclude:
    - {model: vit_tiny, gpu: cpu-512MiB, resolution: 64}
models:
  resnet18:
    module: {class_path: profiles.workloads.ImageClassifier, init_args: {arch: resnet, resolution: "${resolution}"}}
    data: {class_path: profiles.workloads.Digits, init_args: {resolution: "${resolution}"}}
  vit_tiny:
    module: {class_path: profiles.workloads.ImageClassifier, init_args: {arch: vit, resolution: "${resolution}"}}
    data: {class_path: profiles.workloads.Digits, init_args: {resolution: "${resolution}"}}
gpus:
  h200: {name: NVIDIA H200}                       # memory: 141GB also matches, within 3%
  h200-as-24GiB: {name: NVIDIA H200, budget: 24GiB}   # emulated
  cpu-512MiB: {accelerator: cpu, budget: 512MiB}
trainer: {precision: 32-true}                     # any keyword of the Trainer but those the probe sets
search: {mode: exact, min_batch_size: 1, max_batch_size: 65536, steps_per_trial: 3,
         target_memory_fraction: 0.9, safety_factor: 1.0, round_to: 1, validation: true}
lr_range: {lr_min: 1.0e-6, lr_max: 10.0, num_training: 200, seeds: [0, 1, 2], when: always}
bounds:
  batch_size: {max_drop: 2%}        # judges max_batch_size; never tighter than measured noise
  learning_rate: {max_factor: 2.0}
"""

SMALL = """\
version: 1
matrix:
  model: [net]
  gpu: [cpu]
  resolution: [32, 64]
models:
  net: {module: {class_path: torch.nn.Linear}}
gpus:
  cpu: {accelerator: cpu, budget: 512MiB}
"""


def load(tmp_path: Path, text: str) -> tuple[Case, ...]:
    """Return the cases of a matrix with this text."""
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8")
    return load_matrix(path).cases


def test_the_example_of_the_documentation_makes_its_cases(tmp_path: Path) -> None:
    """Every combination but the excluded one is a case, in the order of a nested loop."""
    assert [
        "resnet18-h200-32",
        "resnet18-h200-64",
        "resnet18-cpu-512MiB-32",
        "resnet18-cpu-512MiB-64",
        "vit_tiny-h200-32",
        "vit_tiny-h200-64",
        "vit_tiny-cpu-512MiB-32",
    ] == [case.id for case in load(tmp_path, EXAMPLE)]


def test_a_case_holds_all_that_was_set_for_it(tmp_path: Path) -> None:
    """Axes, workload with its values filled in, device, Trainer and the three groups of settings."""
    case = load(tmp_path, EXAMPLE)[3]
    assert Case(
        id="resnet18-cpu-512MiB-64",
        axes={"model": "resnet18", "gpu": "cpu-512MiB", "resolution": 64},
        workload={
            "module": {
                "class_path": "profiles.workloads.ImageClassifier",
                "init_args": {"arch": "resnet", "resolution": 64},
            },
            "data": {"class_path": "profiles.workloads.Digits", "init_args": {"resolution": 64}},
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
        where=f"{tmp_path}/matrix.yaml:9",
    ) == case


def test_model_gpu_and_resolution_have_names_of_their_own(tmp_path: Path) -> None:
    """The three axes that every case has are properties."""
    case = load(tmp_path, EXAMPLE)[0]
    assert ("resnet18", "h200", 32) == (case.model, case.gpu, case.resolution)


def test_paths_below_the_working_directory_are_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`where` reads as the user would type it."""
    monkeypatch.chdir(tmp_path)
    assert "matrix.yaml:7" == load(tmp_path, SMALL)[0].where


def test_cases_travel_as_pickle_and_their_workload_as_json(tmp_path: Path) -> None:
    """A case is plain data: worker processes may be given one."""
    case = load(tmp_path, EXAMPLE)[0]
    assert (case, case.workload, case.trainer) == (
        pickle.loads(pickle.dumps(case)),  # noqa: S301 - what was pickled one call before
        json.loads(json.dumps(case.workload)),
        json.loads(json.dumps(case.trainer)),
    )


def test_a_budget_or_the_cpu_makes_a_case_emulated() -> None:
    """Only a whole GPU is not emulated."""
    assert [False, True, True] == [
        GpuSettings(name="NVIDIA H200").emulated,
        GpuSettings(name="NVIDIA H200", budget=2**30).emulated,
        GpuSettings(accelerator="cpu", budget=2**30).emulated,
    ]


def test_further_axes_follow_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Ids and axes start with model, GPU and resolution wherever those are written."""
    text = SMALL.replace("  model: [net]\n", "  precision: [bf16-mixed]\n  seed: [1]\n  model: [net]\n")
    case = load(tmp_path, text)[0]
    assert ("net-cpu-32-bf16-mixed-1", ["model", "gpu", "resolution", "precision", "seed"]) == (case.id, list(case.axes))


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a.b_C-1", "a.b_C-1"), (32, "32"), (0.5, "0.5"), (1e-6, "1e-06"), (1e20, "1e20"), (True, "true"), (False, "false")],
)
def test_values_that_are_no_strings_have_a_readable_label(value: Any, expected: str) -> None:
    """Labels of booleans and floats are fit for test ids and file names."""
    assert expected == label(value)


def test_a_gpu_overrides_a_model_and_a_model_the_top(tmp_path: Path) -> None:
    """Overrides go key by key, in mappings below mappings as well."""
    text = (
        SMALL.replace("Linear}}", "Linear}, search: {round_to: 2, max_trials: 7}, bounds: {batch_size: {max_drop: 5%}}}")
        .replace("512MiB}", "512MiB, search: {max_trials: 9}, trainer: {precision: null}}")
    )
    text += "search: {round_to: 1, max_trials: 5, steps_per_trial: 4}\nbounds: {learning_rate: {max_factor: 3}}\n"
    text += "trainer: {precision: 16-true, accumulate_grad_batches: 2}\n"
    case = load(tmp_path, text)[0]
    assert (2, 9, 4, 0.05, 3.0, {"accumulate_grad_batches": 2}) == (
        case.search.round_to,
        case.search.max_trials,
        case.search.steps_per_trial,
        case.bounds.batch_size.max_drop,
        case.bounds.learning_rate.max_factor,
        case.trainer,
    )


def test_an_overriding_class_path_brings_its_own_arguments(tmp_path: Path) -> None:
    """Arguments of one class never end up with another."""
    text = SMALL.replace("Linear}}", "Linear}, trainer: {plugins: [{class_path: json.JSONDecoder}]}}")
    text += "trainer: {plugins: [{class_path: json.JSONEncoder, init_args: {indent: 2}}]}\n"
    assert [{"class_path": "json.JSONDecoder", "init_args": {}}] == load(tmp_path, text)[0].trainer["plugins"]


def test_rules_between_fields_hold_for_the_merged_settings_only(tmp_path: Path) -> None:
    """A minimum above the default maximum is right once a GPU raises the maximum."""
    text = SMALL.replace("512MiB}", "512MiB, search: {max_batch_size: 200000}}")
    case = load(tmp_path, text + "search: {min_batch_size: 100000}\n")[0]
    assert (100_000, 200_000) == (case.search.min_batch_size, case.search.max_batch_size)


def test_a_block_that_is_commented_out_counts_as_left_out(tmp_path: Path) -> None:
    """`search:` with nothing below is null in YAML."""
    assert SearchSettings() == load(tmp_path, SMALL + "search:\n")[0].search


def test_validation_settings_default_from_training() -> None:
    """Fraction, minimum and steps are training's, the cap is doubled."""
    search = SearchSettings(min_batch_size=2, max_batch_size=100, steps_per_trial=5, target_memory_fraction=0.5)
    assert (0.5, 2, 200, 5) == (
        search.validation_fraction,
        search.validation_minimum,
        search.validation_maximum,
        search.validation_steps,
    )


def test_validation_settings_of_its_own_are_kept() -> None:
    """What is given for validation is not training's."""
    search = SearchSettings(
        validation_target_memory_fraction=0.7,
        validation_min_batch_size=3,
        validation_max_batch_size=30,
        validation_steps_per_trial=1,
    )
    assert (0.7, 3, 30, 1) == (
        search.validation_fraction,
        search.validation_minimum,
        search.validation_maximum,
        search.validation_steps,
    )


@pytest.mark.parametrize("key", ["exclude", "include"])
def test_an_empty_list_of_entries_changes_nothing(tmp_path: Path, key: str) -> None:
    """`exclude:` and `include: []` are as good as left out."""
    text = SMALL.replace("models:", f"  {key}: []\nmodels:")
    assert ["net-cpu-32", "net-cpu-64"] == [case.id for case in load(tmp_path, text)]


# Expansion


FRUIT: dict[str, list[Any]] = {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]}


def test_include_extends_and_adds_as_github_actions_does() -> None:
    """The example of GitHub's documentation, with the result that is given there."""
    include = [
        {"color": "green"},
        {"color": "pink", "animal": "cat"},
        {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]
    assert [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ] == expand(FRUIT, (), include).combinations


def test_a_partial_exclude_takes_all_that_agree_with_it() -> None:
    """One axis in an entry stands for every combination with that value."""
    assert [{"fruit": "pear", "animal": "cat"}, {"fruit": "pear", "animal": "dog"}] == expand(
        FRUIT, [{"fruit": "apple"}]
    ).combinations


def test_include_comes_after_exclude_and_can_bring_back() -> None:
    """What exclude took is a new combination to include."""
    expansion = expand(FRUIT, [{"fruit": "apple"}, {"animal": "dog"}], [{"fruit": "apple", "animal": "dog"}])
    assert ([{"fruit": "pear", "animal": "cat"}, {"fruit": "apple", "animal": "dog"}], [None, 0]) == (
        expansion.combinations,
        expansion.added_by,
    )


def test_include_of_an_existing_combination_adds_nothing() -> None:
    """An entry that a combination already agrees with makes no second one."""
    assert 4 == len(expand(FRUIT, (), [{"fruit": "apple", "animal": "cat"}]).combinations)


def test_include_alone_makes_a_matrix() -> None:
    """Without axes every entry is a combination of its own, as at GitHub."""
    entries: list[dict[str, Any]] = [{"fruit": "apple"}, {"fruit": "apple", "color": "red"}]
    assert entries == expand({}, (), entries).combinations


def test_excludes_that_match_nothing_are_reported() -> None:
    """Indices of idle entries come back; true is not 1, but 1 is 1.0."""
    axes: dict[str, list[Any]] = {"a": [1, 2], "b": [True]}
    assert [0, 2] == expand(axes, [{"a": 3}, {"a": 1.0}, {"b": 1}]).idle_excludes


def test_an_axis_that_include_brings_in_extends_the_id(tmp_path: Path) -> None:
    """Cases without that value have shorter ids."""
    text = SMALL.replace("models:", "  include:\n    - {resolution: 32, precision: bf16-mixed}\nmodels:")
    assert ["net-cpu-32-bf16-mixed", "net-cpu-64"] == [case.id for case in load(tmp_path, text)]


# Substitution


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${resolution}", 32),
        ("${ resolution }", 32),
        ("${flag}", True),
        ("${share}", 0.5),
        ("${model}", "net"),
        ("r${resolution}-${flag}", "r32-true"),
        ("${resolution}${resolution}", "3232"),
        ("$${resolution}", "${resolution}"),
        ("$$${resolution}", "$${resolution}"),
        ("$5 {x}", "$5 {x}"),
        (["${resolution}", {"a": "${model}"}], [32, {"a": "net"}]),
        (7, 7),
        (None, None),
    ],
)
def test_references_become_the_values_of_the_case(written: Any, expected: Any) -> None:
    """A whole scalar keeps the value's type, text is formatted, `$${` is a plain `${`."""
    axes = {"model": "net", "resolution": 32, "flag": True, "share": 0.5}
    actual = substitute(written, axes)
    assert (type(expected), expected) == (type(actual), actual)


def test_references_work_below_every_block(tmp_path: Path) -> None:
    """models, gpus, trainer, search, lr_range and bounds all take axis values."""
    text = (
        SMALL.replace("Linear}}", 'Linear, init_args: {a: "${steps}"}}}')
        .replace("resolution: [32, 64]", "resolution: [32]\n  steps: [3]")
        .replace("512MiB}", '"${steps}GiB"}')
    )
    text += 'trainer: {accumulate_grad_batches: "${steps}"}\nsearch: {round_to: "${steps}"}\n'
    text += 'lr_range: {seeds: ["${steps}"]}\nbounds: {batch_size: {max_drop: "${steps}%"}}\n'
    (case,) = load(tmp_path, text)
    assert ({"a": 3}, 3 * 2**30, {"accumulate_grad_batches": 3}, 3, (3,), 0.03) == (
        case.workload["module"]["init_args"],
        case.device.budget,
        case.trainer,
        case.search.round_to,
        case.lr_range.seeds,
        case.bounds.batch_size.max_drop,
    )


def test_values_that_are_equal_to_python_stay_apart(tmp_path: Path) -> None:
    """Cases with true and with 1 do not share what was made for the other."""
    text = SMALL.replace("[32, 64]", "[1, true, 1.0]").replace("Linear}}", 'Linear, init_args: {a: "${resolution}"}}}')
    text = text.replace("[1, true, 1.0]", "[1, true]")
    values = [case.workload["module"]["init_args"]["a"] for case in load(tmp_path, text)]
    assert ["1", "True"] == [repr(value) for value in values]


# Size and strange input


def large_matrix(models: int, gpus: int, resolutions: int) -> str:
    """Return a matrix with this many values on its axes, each case with settings of its own."""
    lines = ["version: 1", "matrix:"]
    lines.append(f"  model: [{', '.join(f'm{n}' for n in range(models))}]")
    lines.append(f"  gpu: [{', '.join(f'g{n}' for n in range(gpus))}]")
    lines.append(f"  resolution: [{', '.join(str(n) for n in range(1, resolutions + 1))}]")
    lines.append("models:")
    for n in range(models):
        module = '{class_path: torch.nn.Linear, init_args: {size: "${resolution}", on: "${gpu}"}}'
        lines.append(f'  m{n}: {{module: {module}, search: {{round_to: "${{resolution}}"}}}}')
    lines.append("gpus:")
    lines += [f"  g{n}: {{name: NVIDIA {n}}}" for n in range(gpus)]
    return "\n".join(lines)


def test_ten_thousand_cases_load_in_well_under_a_second(tmp_path: Path) -> None:
    """What cases share is made once. It takes about 0.15 s; the bar leaves room for a busy machine."""
    path = tmp_path / "matrix.yaml"
    path.write_text(large_matrix(10, 10, 100), encoding="utf-8")
    started = time.process_time()
    cases = load_matrix(path).cases
    assert (10_000, True) == (len(cases), time.process_time() - started < 0.8)


LINES = st.sampled_from(
    [*EXAMPLE.splitlines(), "  resolution: [32, 32]", "  resolution: 3", "    - {model: x}", "  include: [{gpu: 1}]",
     '    search: {round_to: "${x}"}', "trainer: {a: *x}", "\tx: 1", "  x: {accelerator: cpu}", "models: []", "gpus:"]
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(LINES, max_size=25).map("\n".join) | st.text(max_size=60))
def test_any_text_gives_cases_or_a_matrix_error(tmp_path: Path, text: str) -> None:
    """Whatever a file holds, loading ends in cases or in lines that begin with the file and a line number."""
    path = tmp_path / "matrix.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    try:
        ended_well = len(load_matrix(path).cases) > 0
    except MatrixError as error:
        ended_well = all(line.startswith(f"{path}:") for line in str(error).splitlines())
    assert ended_well


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dropped=st.sets(st.integers(0, EXAMPLE.count("\n")), max_size=4),
    cut=st.integers(0, len(EXAMPLE)),
    inserted=st.sampled_from(["", "[", "}", "&a ", "*a", "- ", ": ", "'", "${", "\n", "null", "%", "9e9"]),
)
def test_a_damaged_matrix_gives_cases_or_a_matrix_error(
    tmp_path: Path, dropped: set[int], cut: int, inserted: str
) -> None:
    """Lines that are missing and characters that are too much never raise anything else."""
    text = EXAMPLE[:cut] + inserted + EXAMPLE[cut:]
    kept = [line for number, line in enumerate(text.splitlines()) if number not in dropped]
    path = tmp_path / "matrix.yaml"
    path.write_text("\n".join(kept), encoding="utf-8")
    try:
        ended_well = len(load_matrix(path).cases) > 0
    except MatrixError as error:
        ended_well = str(error).startswith(f"{path}:")
    assert ended_well
