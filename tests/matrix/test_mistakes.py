"""Mistakes in a matrix are reported in plain words, each with its line, and all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from matrix_texts import RIGHT, changed, mistakes_in

from harness.errors import HarnessError
from harness.matrix.cases import load_matrix
from harness.matrix.mistakes import MatrixError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_right_matrix_has_no_mistakes(tmp_path: Path) -> None:
    """The matrix that the other tests damage is right."""
    path = tmp_path / "matrix.yaml"
    path.write_text(RIGHT, encoding="utf-8")
    assert len(load_matrix(path)) == 2


def test_a_matrix_error_is_a_harness_error() -> None:
    """A MatrixError is a HarnessError, so that callers catch one class."""
    assert issubclass(MatrixError, HarnessError)


def test_all_mistakes_are_reported_at_once_by_line(tmp_path: Path) -> None:
    """Mistakes of all kinds are reported at once, in the order of the file."""
    text = """\
version: 1
matrix:
  model: [nett]
  gpu: [cpu]
  resolution: [32, 32]
models:
  net:
    module: {class_path: torch.nn.Lineer, init_args: {a: "${resolutoin}"}}
    search: {steps_per_trail: 3, round_to: 0}
gpus:
  cpu: {accelerator: cpu, budget: 512mb}
  cpu: {}
"""
    assert mistakes_in(tmp_path, text) == [
        "3: matrix.model[0]: nett is not defined below models; did you mean net?",
        "5: matrix.resolution[1]: 32 is there twice: remove one",
        (
            "8: models.net.module.class_path: cannot be imported: torch.nn has no Lineer;"
            " did you mean Linear?"
        ),
        "8: models.net.module.init_args.a: ${resolutoin}: no such axis; did you mean resolution?",
        "9: models.net.search.round_to: 0 is not allowed; a whole number from 1",
        "9: models.net.search.steps_per_trail: unknown key; did you mean steps_per_trial?",
        '11: gpus.cpu.budget: "512mb" has no known unit; did you mean 512MB?',
        "12: duplicate key 'cpu': it is also in line 11",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed("version: 1\n", ""), "1: version is missing; write version: 1"),
        (
            changed("version: 1", "version: 2"),
            "1: version: 2 is not known; this gpu-profile reads version 1",
        ),
        (
            changed("version: 1", "version: true"),
            "1: version: true is not known; this gpu-profile reads version 1",
        ),
        (
            "",
            (
                "1: null is not allowed; a mapping of trainer, search, lr_range, workers, bounds, version,"
                " preset, matrix, models, gpus, loggers"
            ),
        ),
        (
            "- 1",
            (
                "1: a list is not allowed; a mapping of trainer, search, lr_range, workers, bounds,"
                " version, preset, matrix, models, gpus, loggers"
            ),
        ),
        (
            changed("  resolution: [32, 64]\n", ""),
            "2: matrix: the axis resolution is missing: add resolution: [...]",
        ),
        (
            changed("  net:\n", "  net: {}\n  b:\n"),
            "7: models.net: module is missing; a mapping of class_path, init_args; or training or command instead",
        ),
        (
            changed("{class_path: torch.nn.Linear}", "torch.nn.Linear"),
            (
                '8: models.net.module: "torch.nn.Linear" is not allowed;'
                " a mapping of class_path, init_args"
            ),
        ),
        (
            changed("{class_path: torch.nn.Linear}", "{init_args: {}}"),
            (
                "8: models.net.module: class_path is missing;"
                " the dotted path of a class or function: package.module.Name"
            ),
        ),
        (
            changed("torch.nn.Linear", "Linear"),
            (
                '8: models.net.module.class_path: "Linear" is not allowed;'
                " the dotted path of a class or function: package.module.Name"
            ),
        ),
        (
            changed(
                "torch.nn.Linear}", "torch.nn.Linear, init_args: {a: {class_path: torch.nn.Linea}}}"
            ),
            (
                "8: models.net.module.init_args.a.class_path: cannot be imported: torch.nn has no"
                " Linea; did you mean Linear?"
            ),
        ),
        (
            changed(
                "torch.nn.Linear}",
                "torch.nn.Linear, init_args: [{b: {class_path: torch.nn.Linear}}]}",
            ),
            "8: models.net.module.init_args: a list is not allowed; a mapping of keyword arguments",
        ),
        (
            changed(
                "torch.nn.Linear}",
                "torch.nn.Linear, init_args: {a: [{class_path: torch.nn.Linear, args: 1}]}}",
            ),
            "8: models.net.module.init_args.a[0].args: unknown key; did you mean init_args?",
        ),
        (
            changed("torch.nn.Linear}", "torch.nn.Linear}\n    batch_size_attr: a b"),
            (
                '9: models.net.batch_size_attr: "a b" is not allowed;'
                " an attribute's name, such as batch_size or config.batch_size"
            ),
        ),
        (
            changed("  net:", "  n et: {module: {class_path: torch.nn.Linear}}\n  net:"),
            (
                "7: models.n et: is not a label;"
                " letters, digits, dots and underscores, with dashes between them"
            ),
        ),
        (
            changed("accelerator: cpu, ", ""),
            (
                "10: gpus.cpu: name is missing;"
                " NVML's product name, such as NVIDIA H200 (nvidia-smi -L lists it)"
            ),
        ),
        (
            changed(", budget: 512MiB", ""),
            "10: gpus.cpu: budget is missing; the CPU needs one, such as 512MiB",
        ),
        (
            changed("accelerator: cpu,", "accelerator: cpu, name: x,"),
            "10: gpus.cpu.name: is for GPUs: remove it, or remove accelerator: cpu",
        ),
        (
            changed("{name: NVIDIA H200}", "{name: NVIDIA H200, memory: 1GiB, budget: 2GiB}"),
            "11: gpus.h200.budget: is more than memory; a budget is a part of the memory",
        ),
        (
            changed("{name: NVIDIA H200}", "{name: ''}"),
            '11: gpus.h200.name: "" is not allowed; a string that is not empty',
        ),
        (
            changed("512MiB", "[512MiB]"),
            (
                "10: gpus.cpu.budget: a list is not allowed;"
                " a size such as 40GiB, 141GB or 512MiB, or a whole number of bytes"
            ),
        ),
        (
            changed("512MiB", "0"),
            "10: gpus.cpu.budget: 0 is not allowed; a size is at least one byte",
        ),
    ],
)
def test_a_wrong_file_is_answered_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    """One mistake in the file gives one message, with the line that must change."""
    assert [expected] == mistakes_in(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            RIGHT + 'search: {round_to: "${resolutoin}"}',
            "12: search.round_to: ${resolutoin}: no such axis; did you mean resolution?",
        ),
        (
            RIGHT + 'search: {round_to: "${x}"}',
            "12: search.round_to: ${x}: no such axis; axes: model, gpu, resolution",
        ),
        (
            RIGHT + 'search: {round_to: "${resolution"}',
            "12: search.round_to: ${resolution has no closing brace; write $${ for a plain ${",
        ),
        (
            RIGHT + 'search: {round_to: "x${resolution}"}',
            '12: search.round_to: "x32" is not allowed; a whole number from 1',
        ),
        (
            RIGHT + 'search: {min_batch_size: "${resolution}", max_batch_size: 40}',
            "12: search.min_batch_size: 64 is more than max_batch_size, 40",
        ),
        (
            RIGHT + 'trainer: {precision: "${resolution}-mixed"}',
            '12: trainer.precision: "64-mixed" is not allowed',
        ),
        (
            changed("torch.nn.Linear}", '"torch.nn.Linear${resolution}"}'),
            (
                "8: models.net.module.class_path: cannot be imported: torch.nn has no Linear32;"
                " did you mean Linear?"
            ),
        ),
        (
            changed("512MiB", '"${resolution}mib"'),
            '10: gpus.cpu.budget: "32mib" has no known unit; did you mean 32MiB?',
        ),
        (
            changed("torch.nn.Linear}", 'torch.nn.Linear, init_args: {p: "${precision}"}}').replace(
                "models:", "  include: [{resolution: 32, precision: 16-true}]\nmodels:"
            ),
            "9: models.net.module.init_args.p: ${precision} has no value in the case net-cpu-64",
        ),
        (
            changed(
                "  h200: {name: NVIDIA H200}",
                '  h200: {name: NVIDIA H200, budget: "${resolution}GiB", memry: 3}',
            ),
            "11: gpus.h200.memry: unknown key; did you mean memory?",
        ),
    ],
)
def test_a_mistake_that_only_a_value_shows_is_found_at_load(
    tmp_path: Path, text: str, expected: str
) -> None:
    """The value of `${axis}` is checked for every case when the matrix is loaded."""
    found = mistakes_in(tmp_path, text)
    assert expected in "\n".join(found)


def test_an_override_that_is_wrong_for_one_pair_is_reported_where_it_is_written(
    tmp_path: Path,
) -> None:
    """A rule that a GPU's override breaks is reported at the value that was written."""
    text = changed("budget: 512MiB", "budget: 512MiB, search: {max_batch_size: 4}")
    text = text.replace("torch.nn.Linear}", "torch.nn.Linear}\n    search: {min_batch_size: 8}")
    assert mistakes_in(tmp_path, text) == [
        "9: models.net.search.min_batch_size: 8 is more than max_batch_size, 4"
    ]


def test_definitions_that_no_case_uses_are_checked_as_well(tmp_path: Path) -> None:
    """Definitions that no case uses are checked as well."""
    assert mistakes_in(tmp_path, changed("{name: NVIDIA H200}", "{name: NVIDIA H200, nam: x}")) == [
        "11: gpus.h200.nam: unknown key; did you mean name?"
    ]


def test_a_reference_without_quotes_gets_a_hint(tmp_path: Path) -> None:
    """An unquoted reference between braces is reported with the advice to quote it."""
    (mistake,) = mistakes_in(tmp_path, RIGHT + "search: {round_to: ${resolution}}")
    assert mistake.endswith('between braces or brackets it must be quoted: "${resolution}"')


def test_a_mistake_is_one_line_whatever_it_quotes(tmp_path: Path) -> None:
    """Line breaks in quoted keys and values are escaped, so that each mistake is one line."""
    assert mistakes_in(
        tmp_path, changed("[32, 64]", '[32, "a\\nb"]').replace("  net:", '  "n\\nt": {}\n  net:')
    ) == [
        (
            '5: matrix.resolution[1]: "a\\nb" is not a label;'
            " letters, digits, dots and underscores, with dashes between them"
        ),
        (
            "7: models.n\\nt: is not a label;"
            " letters, digits, dots and underscores, with dashes between them"
        ),
        "7: models.n\\nt: module is missing; a mapping of class_path, init_args; or training or command instead",
    ]


@pytest.mark.parametrize("block", ["models", "gpus"])
def test_a_reference_cannot_stand_for_a_mapping(tmp_path: Path, block: str) -> None:
    """A reference in place of a mapping is a mistake, because no axis holds mappings."""
    text = RIGHT[: RIGHT.index(f"{block}:")] + f'{block}: "${{resolution}}"\n'
    assert (
        f'{block}: "${{resolution}}" is not allowed; a mapping of labels to their definitions'
        in "\n".join(mistakes_in(tmp_path, text))
    )


def test_one_place_is_told_about_a_few_times_only(tmp_path: Path) -> None:
    """A setting that is wrong in a hundred cases is reported five times only."""
    text = (
        changed("[32, 64]", f"[{', '.join(map(str, range(100)))}]")
        + 'search: {round_to: "x${resolution}"}'
    )
    assert len(mistakes_in(tmp_path, text)) == 5


def test_an_unknown_key_of_a_definition_is_reported_once(tmp_path: Path) -> None:
    """An unknown key of a definition is reported once, although several cases use it."""
    found = mistakes_in(tmp_path, changed("512MiB}", "512MiB, colour: red}"))
    assert len(found) == 1


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """A missing file is reported with its path and the system's reason."""
    with pytest.raises(
        MatrixError, match=r"none\.yaml:1: cannot be read: No such file or directory"
    ):
        load_matrix(tmp_path / "none.yaml")


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    """A file that is not UTF-8 is reported with the line of the first wrong byte."""
    path = tmp_path / "matrix.yaml"
    path.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(MatrixError, match=r"matrix\.yaml:2: not UTF-8"):
        load_matrix(path)


def test_paths_below_the_working_directory_are_shown_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path below the working directory is shown relative to it, so that editors link it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MatrixError, match=r"^matrix\.yaml:1: "):
        load_matrix(tmp_path / "matrix.yaml")
