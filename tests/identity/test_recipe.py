"""The settings that are part of a recipe, and those that are not."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from typing import Any

import pytest
import tomli_w

from harness.identity.recipe import Recipe, recipe
from harness.matrix.case import Case
from harness.matrix.settings import (
    BatchSizeBound,
    BoundsSettings,
    GpuSettings,
    LearningRateBound,
    LrRangeSettings,
    SearchSettings,
)

CASE = Case(
    id="net-h200-32",
    axes={"model": "net", "gpu": "h200", "resolution": 32},
    workload={
        "module": {"class_path": "acme.Net", "init_args": {"width": 8}},
        "data": None,
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    },
    device=GpuSettings(name="NVIDIA H200"),
    trainer={},
    search=SearchSettings(),
    lr_range=LrRangeSettings(),
    bounds=BoundsSettings(),
)
BASE = {"module.class_path": "acme.Net", "module.init_args.width": 8}


def workload(**changes: Any) -> Case:
    """Return the case with parts of its workload changed."""
    return replace(CASE, workload=CASE.workload | changes)  # type: ignore[arg-type] # parts of one


def search(**changes: Any) -> Case:
    """Return the case with other search settings."""
    return replace(CASE, search=SearchSettings(**changes))


def lr_range(**changes: Any) -> Case:
    """Return the case with other settings of the LR range test."""
    return replace(CASE, lr_range=LrRangeSettings(**changes))


def test_only_what_is_not_the_default_is_in_the_settings() -> None:
    """The recipe of a case with default settings holds only its workload."""
    assert recipe(CASE, {}).settings == BASE


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (search(steps_per_trial=5), {"search.steps_per_trial": 5}),
        (search(target_memory_fraction=0.8), {"search.target_memory_fraction": 0.8}),
        (search(safety_factor=0.9), {"search.safety_factor": 0.9}),
        (search(round_to=8), {"search.round_to": 8}),
        (search(worst_batches=True), {"search.worst_batches": True}),
        (search(global_batch_size=64), {"search.global_batch_size": 64}),
        (
            search(min_batch_size=2, max_batch_size=9),
            {"search.min_batch_size": 2, "search.max_batch_size": 9},
        ),
        (search(validation=False), {"search.validation": False}),
        (
            search(validation="search", validation_max_batch_size=9),
            {"search.validation": "search", "search.validation_max_batch_size": 9},
        ),
        (lr_range(lr_min=1e-5), {"lr_range.lr_min": 1e-5}),
        (lr_range(lr_max=1.0), {"lr_range.lr_max": 1.0}),
        (lr_range(horizon=100), {"lr_range.horizon": 100}),
        (lr_range(seeds=(3, 4)), {"lr_range.seeds": [3, 4]}),
        (replace(CASE, trainer={"precision": "16-true"}), {"trainer.precision": "16-true"}),
        (
            replace(
                CASE,
                trainer={"callbacks": [{"class_path": "acme.Ema", "init_args": {"decay": 0.9}}]},
            ),
            {
                "trainer.callbacks.0.class_path": "acme.Ema",
                "trainer.callbacks.0.init_args.decay": 0.9,
            },
        ),
        (
            replace(CASE, device=GpuSettings(name="NVIDIA H200", budget=2**30)),
            {"gpu.budget": 2**30},
        ),
        (workload(learning_rate_attr="a.lr"), {"learning_rate_attr": "a.lr"}),
        (
            workload(optimizer={"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}),
            {"optimizer.class_path": "torch.optim.SGD", "optimizer.init_args.lr": 0.1},
        ),
    ],
)
def test_a_setting_that_changes_what_values_mean_changes_the_recipe(
    case: Case, expected: dict[str, Any]
) -> None:
    """A setting that changes the meaning of values changes the digest and is listed."""
    made = recipe(case, {})
    assert ({**BASE, **expected}, True) == (made.settings, made.digest != recipe(CASE, {}).digest)


@pytest.mark.parametrize(
    "case",
    [
        search(mode="power"),
        search(init_val=16),
        search(max_trials=5),
        search(probe_timeout=5.0),
        search(validation_max_batch_size=9),
        lr_range(when="never"),
        lr_range(num_training=100),
        lr_range(plot_path="x.png"),
        replace(CASE, bounds=BoundsSettings(batch_size=BatchSizeBound(max_drop=0.5))),
        replace(CASE, bounds=BoundsSettings(learning_rate=LearningRateBound(max_factor=3.0))),
        replace(CASE, device=GpuSettings(name="*H200*", memory=150_754_820_096)),
        replace(CASE, id="other", axes={"model": "other"}),
        replace(CASE, trainer={"accumulate_grad_batches": 1, "inference_mode": True}),
        workload(loss={"class_path": "torch.nn.CrossEntropyLoss", "init_args": {}}),
        workload(optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}}),
    ],
)
def test_how_the_search_got_there_does_not(case: Case) -> None:
    """Modes, time-outs, bounds, identity and explicit defaults do not change the recipe."""
    assert recipe(CASE, {}) == recipe(case, {})


def test_the_environment_is_part_of_the_recipe() -> None:
    """Settings of the environment that change memory are listed by name."""
    made = recipe(CASE, {"PYTORCH_CUDA_ALLOC_CONF": "", "cudnn.benchmark": True})
    assert made.settings == {
        **BASE,
        "environment.PYTORCH_CUDA_ALLOC_CONF": "",
        'environment."cudnn.benchmark"': True,
    }


def test_the_digest_stays_what_it_is() -> None:
    """The digest, which users' locks hold, changes only with the number of the format."""
    assert (
        recipe(CASE, {"x": True}).digest
        == "sha256:19a3fa67c02b42480f8768a9a6f1c838fb4b6d3d6a2c84676c3b3bf58fa4111b"
    )


@pytest.mark.parametrize(
    "value", [None, {}, [], [None], [1, [2, "x"]], [{"a": None}], "ü", 1e-6, float("inf"), 2**70]
)
def test_settings_can_be_written_as_toml(value: Any) -> None:
    """Settings with any workload arguments are equal after a round trip through TOML."""
    made = recipe(workload(module={"class_path": "acme.Net", "init_args": {"value": value}}), {})
    assert made.settings == tomllib.loads(tomli_w.dumps(made.settings))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": "null"}),
        ({"a": {}}, {"a": "{}"}),
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": [1]}, {"a": 1}),
    ],
)
def test_different_arguments_have_different_digests(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Arguments of different types have different digests, even if their texts are equal."""

    def made(init_args: dict[str, Any]) -> Recipe:
        return recipe(workload(module={"class_path": "acme.Net", "init_args": init_args}), {})

    assert made(one).digest != made(other).digest


def test_the_order_of_arguments_does_not_matter() -> None:
    """The order of keyword arguments does not change the recipe."""
    one = workload(module={"class_path": "acme.Net", "init_args": {"a": 1, "b": {"c": 2, "d": 3}}})
    other = workload(
        module={"init_args": {"b": {"d": 3, "c": 2}, "a": 1}, "class_path": "acme.Net"}
    )
    assert recipe(one, {}) == recipe(other, {})


def test_settings_that_are_only_told_are_no_part_of_the_recipe() -> None:
    """A longer training, or another logger, leaves the lock valid."""
    told = {"max_steps": 5, "limit_train_batches": 0.5, "logger": False, "log_every_n_steps": 1}
    assert recipe(CASE, {}) == recipe(replace(CASE, trainer=told), {})


def test_whole_numbers_are_told_from_texts_among_the_keys() -> None:
    """A mapping with the key 0 is another setting than one with the key "0"."""
    found = [
        recipe(
            replace(CASE, trainer={"callbacks": [{"class_path": "a.B", "init_args": {"by": by}}]}),
            {},
        ).settings
        for by in ({0: 8}, {"0": 8})
    ]
    assert 8 == found[0]["trainer.callbacks.0.init_args.by[0]"]
    assert 8 == found[1]["trainer.callbacks.0.init_args.by.0"]


OWN_STRATEGY = {"class_path": "acme.rule", "init_args": {"share": 0.5}}


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"strategy": "drop"}, {}),
        ({"strategy": ["drop", "valley"]}, {}),
        ({"stages": 3}, {}),
        ({"num_training": 300}, {}),
        ({"strategy": "valley"}, {"lr_range.strategy": "valley"}),
        ({"strategy": ["valley", "drop"]}, {"lr_range.strategy": "valley"}),
        ({"stages": 2}, {"lr_range.stages": 2}),
        ({"stages": 1, "num_training": 300}, {"lr_range.stages": 1, "lr_range.num_training": 300}),
        (
            {"strategy": "slide", "num_training": 300},
            {"lr_range.strategy": "slide", "lr_range.num_training": 300},
        ),
        (
            {"strategy": OWN_STRATEGY},
            {
                "lr_range.strategy.class_path": "acme.rule",
                "lr_range.strategy.init_args.share": 0.5,
            },
        ),
    ],
)
def test_recipe_has_what_decides(changes: dict[str, Any], settings: dict[str, Any]) -> None:
    """Where a sweep decides, so does the number of its steps; the default adds nothing."""
    found = recipe(lr_range(**changes), {})
    assert BASE | settings == found.settings
    assert (not settings) == (recipe(CASE, {}).digest == found.digest)
