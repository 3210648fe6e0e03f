"""A command stands in place of a module; its batch size is left to the probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from matrix_texts import changed, load, mistakes_in

from harness.identity.recipe import recipe
from harness.matrix.commands import split

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "    module: {class_path: torch.nn.Linear}\n"
WRITTEN = '    command: "python train.py --size ${resolution} --batch ${batch_size}"\n'


def with_command(more: str = "", top: str = "", written: str = WRITTEN) -> str:
    """Return the right matrix with a command in place of the module."""
    return changed(MODULE, written + more) + top


def of(tmp_path: Path, command: str) -> Any:
    """Return the words of a command in the first case."""
    case, *_ = load(tmp_path, with_command(written=f"    command: {command}\n"))
    return case.workload.get("command")


def test_a_command_becomes_words_with_the_values_of_axes(tmp_path: Path) -> None:
    """The batch size is left open, and nothing else is set that a Trainer would do."""
    case, _ = load(tmp_path, with_command(top="trainer: {precision: bf16-mixed}\n"))
    words = ["python", "train.py", "--size", "32", "--batch", "${batch_size}"]
    assert (words, None, {}, "never") == (
        case.workload.get("command"),
        case.workload["module"],
        case.trainer,
        case.lr_range.when,
    )


@pytest.mark.parametrize(
    "text",
    [
        with_command(more="    trainer: {devices: 2}\n"),
        with_command(top="trainer: {devices: 2, precision: bf16-mixed}\n"),
    ],
)
def test_a_command_may_start_ranks(tmp_path: Path, text: str) -> None:
    """Their number is all that it has of the Trainer's keywords, and is part of the recipe."""
    case, _ = load(tmp_path, text)
    assert (2, {"devices": 2}) == (case.num_ranks, case.trainer)
    assert 2 == recipe(case, {}).settings["trainer.devices"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python -m pkg.train batch=${batch_size}", [*["python", "-m", "pkg.train"]]),
        ("\"bash -c 'python a.py ${ batch_size } | tee log'\"", ["bash", "-c"]),
    ],
)
def test_words_are_those_of_a_shell(tmp_path: Path, command: str, words: list[str]) -> None:
    """Quotes keep together what belongs together, and the reference may be inside of a word."""
    found = of(tmp_path, command)
    assert [*words] == found[:-1]
    assert "${batch_size}" in found[-1]


def test_words_without_end_are_a_mistake() -> None:
    """A quote has to be closed."""
    with pytest.raises(ValueError, match="No closing quotation"):
        split("python 'train.py")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "    command: python train.py\n",
            (
                "models.net.command: does not say where the batch size belongs: write ${batch_size} "
                "there, as in `python train.py --batch-size ${batch_size}`"
            ),
        ),
        (
            "    command: python train.py -b ${batch_size} > log\n",
            (
                "models.net.command: is run without a shell, so `>` would be an argument: write it as "
                "`bash -c '… > …'`, or put it into a script"
            ),
        ),
        (
            "    command: A=1 python train.py -b ${batch_size}\n",
            (
                "models.net.command: is run without a shell, so `A=1` is no program: write `env A=1 "
                "…`"
            ),
        ),
        (
            '    command: "python \'train.py ${batch_size}"\n',
            "models.net.command: is no command (No closing quotation): close its quotes",
        ),
        (
            WRITTEN + "    data: {class_path: torch.nn.Linear}\n",
            "models.net.data: is not used beside command, which does it itself",
        ),
        (
            WRITTEN + "    training: {class_path: torch.nn.Linear}\n",
            "models.net.training: is not used beside command, which does it itself",
        ),
        (
            WRITTEN + "    batch_size_attr: size\n",
            "models.net.batch_size_attr: is not used beside command, which does it itself",
        ),
        (
            WRITTEN + "    trainer: {precision: bf16-mixed}\n",
            "models.net.trainer: is Lightning's, and command runs without it: remove all but devices",
        ),
        (
            WRITTEN + "    lr_range: {when: always}\n",
            (
                "models.net.lr_range: is not used beside command, whose learning rate is its own: "
                "remove it"
            ),
        ),
        (
            WRITTEN + "    workers: {max: 4}\n",
            "models.net.workers: is not used beside command, whose loader is its own: remove it",
        ),
        (
            WRITTEN + "    search: {validation: search}\n",
            (
                "models.net.command: net-cpu-32: `search.validation: search` asks for a batch size of "
                "validation's own, and a command is not told one: set true or false for this model"
            ),
        ),
        (
            WRITTEN + "    search: {worst_batches: true}\n",
            (
                "models.net.command: net-cpu-32: `search.worst_batches` walks the loaders of a module "
                "or data module, and a command loads its own data: set false for this model"
            ),
        ),
        (
            WRITTEN + "    search: {inference: [predict]}\n",
            (
                "models.net.command: net-cpu-32: `search.inference` runs functions of Lightning's "
                "Trainer, and a command runs whatever it runs: set [] for this model, or profile the "
                "command that evaluates"
            ),
        ),
        (
            WRITTEN + "    search: {soak_steps: 9}\n",
            (
                "models.net.command: net-cpu-32: `search.soak_steps` cannot make a command train "
                "longer: set 0 for this model, and let the command itself take as many steps"
            ),
        ),
        (
            WRITTEN + "    search: {objective: throughput}\n",
            (
                "models.net.command: net-cpu-32: `search.objective: throughput` needs the samples of a "
                "step, which a command does not tell: set memory for this model"
            ),
        ),
        (
            "    command: python ${nothing} ${batch_size}\n",
            (
                "models.net.command: ${nothing}: no such axis; axes: model, gpu, resolution; write "
                "$${nothing} for one of the program's own"
            ),
        ),
    ],
)
def test_what_a_command_cannot_be_is_a_mistake(tmp_path: Path, written: str, message: str) -> None:
    """The message names the key, and what to write instead."""
    mistakes = mistakes_in(tmp_path, with_command(written=written))
    assert message in [mistake.partition(": ")[2] for mistake in mistakes]


def test_the_words_are_part_of_the_recipe_and_the_lr_range_test_is_not(tmp_path: Path) -> None:
    """Another argument is another training; settings of a test that does not run are none."""
    one, *_ = load(tmp_path, with_command())
    tested, *_ = load(tmp_path, with_command(top="lr_range: {lr_max: 1.0}\npreset: thorough\n"))
    other, *_ = load(tmp_path, with_command(written=WRITTEN.replace("--size", "--length")))
    assert recipe(one, {}).digest == recipe(tested, {}).digest
    assert recipe(one, {}).digest != recipe(other, {}).digest
