"""The README's examples load, and its reference names everything there is with the defaults there are."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import cli, plugin, tuned
from harness.lockfile import LockedProfile
from harness.matrix import load_matrix
from harness.matrix_file import AxesSettings, MatrixFile, ModelSettings
from harness.settings import (
    BatchSizeBound,
    BoundsSettings,
    GpuSettings,
    LearningRateBound,
    LrRangeSettings,
    SearchSettings,
)
from harness.trainer_settings import REFUSED, TrainerSettings
from harness.yaml12 import read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.settings import Settings

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
MATRICES = re.findall(r"<!-- matrix -->\n```yaml\n(.*?)```", README, re.DOTALL)
SPECS = ("module", "data", "loss", "optimizer")
# Each with the prefix of its keys in the README; `trainer` and the others below it have tables of their own.
SECTIONS: dict[str, type[Settings]] = {
    "gpus": GpuSettings,
    "search": SearchSettings,
    "lr_range": LrRangeSettings,
    "bounds.batch_size": BatchSizeBound,
    "bounds.learning_rate": LearningRateBound,
}


def rows() -> dict[str, list[str]]:
    """Return the cells after the first of every table row, by each name in backticks in its first cell."""
    found: dict[str, list[str]] = {}
    for line in README.splitlines():
        if line.startswith("| "):
            first, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            found.update((name, cells) for name in re.findall(r"`([^`]+)`", first))
    return found


def flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the verbs of a parser, and the flags of each but --help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, below in action.choices.items():
                yield verb
                yield from flags(below)
        yield from (flag for flag in action.option_strings if flag not in ("-h", "--help"))


ROWS = rows()


@pytest.mark.parametrize("text", MATRICES, ids=range(len(MATRICES)))
def test_matrices_load(text: str, tmp_path: Path) -> None:
    """Every matrix of the README is one without mistakes, together with the module that the README shows."""
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "digits.py").write_text(
        next(block for block in code if "class Digits(" in block), encoding="utf-8"
    )
    # Not needed by anything else here; what is looked for is the name of a class path.
    (tmp_path / "timm.py").write_text("def create_model(): ...\n", encoding="utf-8")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision" / "models.py").write_text("def resnet50(): ...\n", encoding="utf-8")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(text, encoding="utf-8")
    assert load_matrix(matrix, search_path=[str(tmp_path)]).cases


def test_matrices_are_found() -> None:
    """The marks of the examples are where the test above looks for them."""
    assert README.count("<!-- matrix -->") == len(MATRICES) > 0


@pytest.mark.parametrize(
    ("prefix", "name"),
    [(prefix, name) for prefix, model in SECTIONS.items() for name in model.model_fields],
)
def test_settings_are_in_the_reference_with_their_default(prefix: str, name: str) -> None:
    """A setting has a row, whose default is the one of the code."""
    _, default, _ = ROWS[f"{prefix}.{name}"]
    model = SECTIONS[prefix]
    written = read_yaml(default.strip("`")).root
    if written is not None and model is not GpuSettings:
        # As the matrix reads it: 2% is 0.02. An entry of `gpus` is nothing without its other keys.
        written = getattr(model.model_validate({name: written}), name)
    assert model.model_fields[name].default == written


@pytest.mark.parametrize("name", TrainerSettings.model_fields)
def test_trainer_keywords_are_in_the_reference(name: str) -> None:
    """A keyword of the Trainer that may be set has a row."""
    assert f"trainer.{name}" in ROWS


@pytest.mark.parametrize("name", REFUSED)
def test_refused_trainer_keywords_are_named(name: str) -> None:
    """A keyword of the Trainer that may not be set is named as such."""
    refused = README.partition("Refused, with the reason")[2].partition("\n\n")[0]
    assert f"`{name}`" in refused


@pytest.mark.parametrize("name", [*MatrixFile.model_fields, *ModelSettings.model_fields])
def test_blocks_of_the_matrix_are_in_the_reference(name: str) -> None:
    """A key of the file, or of a model, has a row."""
    assert name in ROWS


@pytest.mark.parametrize("name", AxesSettings.model_fields)
def test_axes_are_in_the_reference(name: str) -> None:
    """A key of the block `matrix` has a row."""
    assert f"matrix.{name}" in ROWS


def test_every_bound_has_a_table() -> None:
    """The sections above leave no bound out."""
    assert {f"bounds.{name}" for name in BoundsSettings.model_fields} <= {*SECTIONS}


@pytest.mark.parametrize("name", plugin._OPTIONS)
def test_flags_and_ini_keys_are_in_the_reference(name: str) -> None:
    """A flag of pytest has a row, with its ini key and its default."""
    flag = "--" + name.replace("_", "-")
    _, value, metavar = plugin._OPTIONS[name]
    key, default, _ = ROWS[f"{flag} {metavar}".strip()]
    assert f"`{name}`" == key
    assert default == "off" if value is False else str(value) in default


def test_verbs_and_their_flags_are_in_the_reference() -> None:
    """The section of the command names every verb and every flag, and no verb that there is not."""
    section = README.partition("### The command `gpu-profile`")[2].partition("\n## ")[0]
    code = " ".join(re.findall(r"`([^`]+)`", section))
    missing = [name for name in flags(cli._parser()) if not re.search(rf"(?<![\w-]){name}(?![\w-])", code)]
    assert [] == missing
    verbs = re.findall(r"^\| `([a-z]+)", section, re.MULTILINE)
    assert set(verbs) == {name for name in flags(cli._parser()) if not name.startswith("-")}


@pytest.mark.parametrize("name", [name for name in LockedProfile.__dataclass_fields__ if name != "extra"])
def test_lockfile_fields_are_in_the_reference(name: str) -> None:
    """A field of a locked profile has a row."""
    assert name in ROWS


@pytest.mark.parametrize("name", [tuned.LOCK_VARIABLE, "GITHUB_STEP_SUMMARY"])
def test_environment_variables_are_in_the_reference(name: str) -> None:
    """An environment variable that is read has a row."""
    assert name in ROWS


def test_links_within_the_page_lead_somewhere() -> None:
    """Each link to a heading has its heading, by GitHub's rule for anchors."""
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {*re.findall(r"\]\(#([^)]+)\)", README)} <= anchors


@pytest.mark.parametrize(("name", "runs"), [("main", "pytest --gpu-profile"), ("tests", "pytest -n 2")])
def test_commands_for_ci_are_marked(name: str, runs: str) -> None:
    """The two commands that CI takes from here are there, each one line that installs and runs."""
    marked = dict(re.findall(r"<!-- ci:(\w+) -->\n```console\n(.*?)```", README, re.DOTALL))
    assert f"$ pip install -c constraints.txt -e '.[test]' && {runs}\n" == marked[name]
