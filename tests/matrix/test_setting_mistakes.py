"""Mistakes in the settings of a matrix name the setting, its value and the allowed values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT, mistakes_in

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (
            "search: {stepspertrial: 1}",
            "search.stepspertrial: unknown key; did you mean steps_per_trial?",
        ),
        (
            "lr_range: [1]",
            (
                "lr_range: a list is not allowed;"
                " a mapping of lr_min, lr_max, num_training, horizon, seeds, when,"
                " max_seconds, plot_path, strategy, stages"
            ),
        ),
        (
            "search: {steps_per_trial: 0}",
            "search.steps_per_trial: 0 is not allowed; a whole number from 1",
        ),
        (
            "search: {steps_per_trial: 3.0}",
            "search.steps_per_trial: 3.0 is not allowed; a whole number from 1",
        ),
        (
            "search: {steps_per_trial: '3'}",
            'search.steps_per_trial: "3" is not allowed; a whole number from 1',
        ),
        (
            "search: {steps_per_trial: true}",
            "search.steps_per_trial: true is not allowed; a whole number from 1",
        ),
        (
            "search: {max_trials: null}",
            "search.max_trials: null is not allowed; a whole number from 1",
        ),
        (
            "search: {mode: fast}",
            'search.mode: "fast" is not allowed; one of exact, power, binsearch',
        ),
        (
            "search: {validation: yes}",
            'search.validation: "yes" is not allowed; one of true, false, search',
        ),
        (
            "search: {validation: 1}",
            "search.validation: 1 is not allowed; one of true, false, search",
        ),
        (
            "search: {target_memory_fraction: 0.981}",
            (
                "search.target_memory_fraction: 0.981 is not allowed;"
                " a fraction above 0 and up to 0.98, such as 0.9 or 90%"
            ),
        ),
        (
            "search: {target_memory_fraction: 0}",
            (
                "search.target_memory_fraction: 0 is not allowed;"
                " a fraction above 0 and up to 0.98, such as 0.9 or 90%"
            ),
        ),
        (
            "search: {safety_factor: 1.01}",
            "search.safety_factor: 1.01 is not allowed; a number above 0 and up to 1",
        ),
        (
            "search: {probe_timeout: .inf}",
            "search.probe_timeout: inf is not allowed; a number of seconds above 0",
        ),
        (
            "search: {min_batch_size: 9, max_batch_size: 8}",
            "search.min_batch_size: 9 is more than max_batch_size, 8",
        ),
        (
            "search: {validation_max_batch_size: 1, min_batch_size: 2}",
            "search.validation_min_batch_size: 2 is more than the validation batch's maximum, 1",
        ),
        (
            "lr_range: {lr_min: 0.0041, lr_max: 0.04}",
            (
                "lr_range.lr_min: 0.0041 is above a tenth of lr_max, 0.04: trials are half a decade"
                " apart, and the range needs an end on both sides"
            ),
        ),
        (
            "lr_range: {lr_max: 1.0e+300}",
            "lr_range.lr_max: 1e+300 is not allowed; at most 1,000,000",
        ),
        ("lr_range: {lr_min: 0}", "lr_range.lr_min: 0 is not allowed; a number above 0"),
        ("lr_range: {lr_min: 1e-6x}", 'lr_range.lr_min: "1e-6x" is not allowed; a number above 0'),
        (
            "lr_range: {num_training: 19}",
            "lr_range.num_training: 19 is not allowed; a whole number from 20",
        ),
        (
            "lr_range: {horizon: 4}",
            "lr_range.horizon: 4 is not allowed; a whole number from 5",
        ),
        (
            "lr_range: {horizon: null}",
            "lr_range.horizon: null is not allowed; a whole number from 5",
        ),
        (
            "lr_range: {seeds: []}",
            (
                "lr_range.seeds: an empty list is not allowed;"
                " a list of different whole numbers from 0, at most 100, such as [0, 1, 2]"
            ),
        ),
        (
            "lr_range: {seeds: [0, 0]}",
            (
                "lr_range.seeds: a list is not allowed;"
                " a list of different whole numbers from 0, at most 100, such as [0, 1, 2]"
            ),
        ),
        (
            "lr_range: {seeds: [0, -1]}",
            (
                "lr_range.seeds[1]: -1 is not allowed;"
                " a list of different whole numbers from 0, at most 100, such as [0, 1, 2]"
            ),
        ),
        (
            "lr_range: {when: often}",
            'lr_range.when: "often" is not allowed; one of always, changed, never',
        ),
        (
            "bounds: {batch_size: {max_drop: 100%}}",
            'bounds.batch_size.max_drop: "100%" is not allowed; a percentage from 0% to below 100%',
        ),
        (
            "bounds: {batch_size: {max_drop: 2}}",
            (
                "bounds.batch_size.max_drop: 2 is not between 0% and 100%;"
                " a percentage such as 2%, or a fraction such as 0.02"
            ),
        ),
        (
            "bounds: {batch_size: 2%}",
            'bounds.batch_size: "2%" is not allowed; a mapping of max_drop',
        ),
        (
            "bounds: {learning_rate: {max_factor: 0.9}}",
            "bounds.learning_rate.max_factor: 0.9 is not allowed; a number from 1",
        ),
        ("bound: {}", "bound: unknown key; did you mean bounds?"),
        ("trainer: {precison: 16-true}", "trainer.precison: unknown key; did you mean precision?"),
        (
            "trainer: {fast_dev_run: true}",
            (
                "trainer.fast_dev_run: not to be set here: a probe ends after"
                " search.steps_per_trial steps, a trial after lr_range.horizon"
            ),
        ),
        (
            "trainer: {max_steps: 0}",
            "trainer.max_steps: 0 is not allowed; a whole number from 1, or -1 for no limit",
        ),
        (
            "trainer: {limit_train_batches: 2.5}",
            (
                "trainer.limit_train_batches: 2.5 is not allowed; a whole number of batches from 1,"
                " or a share above 0 and up to 1.0"
            ),
        ),
        (
            "trainer: {logger: 3}",
            (
                "trainer.logger: 3 is not allowed; true, false, a mapping with class_path and"
                " init_args, or a list of such mappings"
            ),
        ),
        (
            "trainer: {accumulate_grad_batches: {0: 8, 4: 4}}",
            (
                "trainer.accumulate_grad_batches: a mapping is not allowed; a whole number from 1;"
                " for a schedule by epoch, add the callback GradientAccumulationScheduler to"
                " trainer.callbacks"
            ),
        ),
        (
            "workers: {max: 0}",
            "workers.max: 0 is not allowed; a whole number from 1 to 1024",
        ),
        ("workers: {max: 2000}", "workers.max: 2000 is not allowed; at most 1,024"),
        (
            "search: {global_batch_size: 0}",
            "search.global_batch_size: 0 is not allowed; a whole number from 1",
        ),
        (
            "search: {global_batch_size: 1000, min_batch_size: 300, max_batch_size: 400}",
            (
                "search.global_batch_size: no divisor of 1000 lies from min_batch_size, 300, to"
                " max_batch_size, 400; the nearest: 250 and 500"
            ),
        ),
        (
            "search: {global_batch_size: 1000, round_to: 3}",
            (
                "search.round_to: 3 does not divide global_batch_size, 1000, so that no multiple of"
                " it can make it: set one that does, or leave it out"
            ),
        ),
        (
            "trainer: {num_nodes: 2}",
            (
                "trainer.num_nodes: not to be set here: a case runs on one machine; devices is the "
                "number of its GPUs"
            ),
        ),
        (
            "trainer: {devices: 0}",
            "trainer.devices: 0 is not allowed; a whole number from 1 to 32",
        ),
        (
            "trainer: {devices: 2, strategy: ddp_spawn}",
            (
                'trainer.strategy: "ddp_spawn" is not allowed; one of auto, single_device, ddp,'
                " ddp_find_unused_parameters_false, ddp_find_unused_parameters_true, fsdp,"
                " fsdp_cpu_offload, deepspeed, deepspeed_stage_1, deepspeed_stage_1_offload,"
                " deepspeed_stage_2, deepspeed_stage_2_offload, deepspeed_stage_3,"
                " deepspeed_stage_3_offload, or a mapping with class_path and init_args; those that"
                " start processes themselves (ddp_spawn, ddp_fork, ddp_notebook) cannot be used:"
                " each rank is a probe's process"
            ),
        ),
        ("trainer: {inference_mode: 1}", "trainer.inference_mode: 1 is not allowed; true or false"),
        (
            "trainer: {callbacks: [torch.nn.Linear]}",
            (
                'trainer.callbacks[0]: "torch.nn.Linear" is not allowed;'
                " a mapping of class_path, init_args"
            ),
        ),
        (
            "trainer: {callbacks: [{class_path: torch.nn.Linear, init_arg: {}}]}",
            "trainer.callbacks[0].init_arg: unknown key; did you mean init_args?",
        ),
        (
            "trainer: {callbacks: [{class_path: nowhere_at_all.Callback}]}",
            (
                "trainer.callbacks[0].class_path: cannot be imported: there is no module"
                " nowhere_at_all (pytest's ini key pythonpath adds folders to the module path)"
            ),
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(
    tmp_path: Path, setting: str, expected: str
) -> None:
    """The message gives the setting's dotted name, its value and the allowed values."""
    assert [f"12: {expected}"] == mistakes_in(tmp_path, RIGHT + setting)


@pytest.mark.parametrize(
    ("trainer", "place"),
    [
        ("accumulate_grad_batches: 2", "accumulate_grad_batches"),
        (
            (
                "callbacks: [{class_path: lightning.pytorch.callbacks.GradientAccumulationScheduler,"
                " init_args: {scheduling: {0: 2}}}]"
            ),
            "callbacks[0]",
        ),
    ],
)
def test_second_accumulation_is_refused(tmp_path: Path, trainer: str, place: str) -> None:
    """A global batch sets the accumulation; what else in the matrix sets it is named."""
    text = RIGHT + f"search: {{global_batch_size: 8}}\ntrainer: {{{trainer}}}"
    assert [
        (
            f"13: trainer.{place}: search.global_batch_size sets the accumulation, for each batch size"
            " another: remove this, or remove search.global_batch_size"
        )
    ] == mistakes_in(tmp_path, text)
