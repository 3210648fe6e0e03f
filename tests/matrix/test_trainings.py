"""A training stands in place of a module, and takes none of what Lightning does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import changed, load, mistakes_in

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "    module: {class_path: torch.nn.Linear}\n"
TRAINING = "    training: {class_path: torch.nn.Linear, init_args: {width: 3}}\n"


def with_training(more: str = "", top: str = "") -> str:
    """Return the right matrix with a training in place of the module."""
    return changed(MODULE, TRAINING + more) + top


def test_a_training_needs_no_module(tmp_path: Path) -> None:
    """Its case has neither module nor data, and no settings of a Trainer."""
    case, _ = load(tmp_path, with_training(top="trainer: {precision: bf16-mixed}\n"))
    assert ({"class_path": "torch.nn.Linear", "init_args": {"width": 3}}, None, None, {}) == (
        case.workload.get("training"),
        case.workload["module"],
        case.workload["data"],
        case.trainer,
    )


def test_a_model_without_either_is_a_mistake(tmp_path: Path) -> None:
    """The message names both."""
    (mistake, *_) = mistakes_in(tmp_path, changed(MODULE, "    learning_rate_attr: a\n"))
    assert mistake.endswith(
        "module is missing; a mapping of class_path, init_args; or training or command instead"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (MODULE, "models.net.module: is not used beside training, which does it itself"),
        (
            "    optimizer: {class_path: torch.optim.SGD}\n",
            "models.net.optimizer: is not used beside training, which does it itself",
        ),
        (
            "    trainer: {precision: bf16-mixed}\n",
            "models.net.trainer: is Lightning's, and training runs without it: remove all but devices",
        ),
        (
            "    search: {validation: search}\n",
            (
                "models.net.training: net-cpu-32: `search.validation: search` asks for a batch size"
                " of validation's own, and a training says it itself, in its validate() or its"
                " TrainingArguments: set true or false for this model"
            ),
        ),
        (
            "    search: {worst_batches: true}\n",
            (
                "models.net.training: net-cpu-32: `search.worst_batches` walks the loaders of a"
                " module or data module, and a training loads its own data: set false for this"
                " model, and let the training begin with its largest batches"
            ),
        ),
        (
            "    search: {global_batch_size: 64}\n",
            (
                "models.net.training: net-cpu-32: `search.global_batch_size` sets the accumulation"
                " of Lightning's Trainer, and a training accumulates by itself, in its step() or by"
                " its TrainingArguments: set null for this model"
            ),
        ),
    ],
)
def test_what_a_training_does_itself_is_a_mistake_beside_it(
    tmp_path: Path, more: str, message: str
) -> None:
    """Where it is written, with what to do."""
    assert message in {
        line.split(": ", 1)[1] for line in mistakes_in(tmp_path, with_training(more))
    }
