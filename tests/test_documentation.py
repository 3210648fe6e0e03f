"""The documents and the code agree: examples load, references are complete, links resolve."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import plugin
from harness.cli import command_line as cli
from harness.lockfile.profiles import LockedProfile
from harness.matrix.cases import load_matrix
from harness.matrix.file_model import AxesSettings, MatrixFile, ModelSettings
from harness.matrix.settings import (
    BatchSizeBound,
    BoundsSettings,
    GpuSettings,
    LearningRateBound,
    LrRangeSettings,
    SearchSettings,
    ThroughputBound,
    WorkersSettings,
)
from harness.matrix.trainer_settings import REFUSED, TrainerSettings
from harness.matrix.yaml12.reader import read_yaml
from harness.train_time import load_profile as tuned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.matrix.field_types import Settings

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "AGENTS.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "benchmarks").glob("*.md")),
    )
}
README = PAGES["README.md"]
MATRIX = PAGES["docs/reference/matrix.md"]
COMMAND_LINE = PAGES["docs/reference/command-line.md"]
MATRIX_MARK = "<!-- matrix -->"
MATRICES = [
    pytest.param(text, id=f"{name}-{number}")
    for name, page in PAGES.items()
    for number, text in enumerate(
        re.findall(rf"{MATRIX_MARK}\n```yaml\n(.*?)```", page, re.DOTALL), start=1
    )
]
# Each with the prefix of its keys in the reference; `trainer` and the keys of a model have tables
# of their own.
SECTIONS: dict[str, type[Settings]] = {
    "gpus": GpuSettings,
    "search": SearchSettings,
    "lr_range": LrRangeSettings,
    "workers": WorkersSettings,
    "bounds.batch_size": BatchSizeBound,
    "bounds.learning_rate": LearningRateBound,
    "bounds.throughput": ThroughputBound,
}
MAX_README_LINES = 200
MAX_COLUMNS = 100


def is_importable(dotted: str) -> bool:
    """Return whether a dotted path names a module, or what a module holds."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def rows(page: str) -> dict[str, list[str]]:
    """Return the later cells of every table row, by each name in backticks in its first cell."""
    found: dict[str, list[str]] = {}
    for line in page.splitlines():
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


def prose(page: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them: a second one ends in -1."""
    seen: Counter[str] = Counter()
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def links(page: str) -> list[str]:
    """Return where the links and pictures of a page lead, those to other sites left out."""
    text = prose(page)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r"^\[[^]]+\]: (\S+)$", text, re.MULTILINE
    )
    return [target for target in targets if "://" not in target]


MATRIX_ROWS = rows(MATRIX)
PYTEST_ROWS = rows(PAGES["docs/reference/pytest.md"])
LOCKFILE_ROWS = rows(PAGES["docs/reference/lockfile.md"])


@pytest.mark.parametrize("text", MATRICES)
def test_matrices_load(text: str, tmp_path: Path) -> None:
    """Every matrix that is shown loads, together with the modules of the pages."""
    for name, page, mark in (
        ("digits", "quickstart", "class Digits("),
        ("loops", "other-trainings", "class Training"),
        ("trainers", "other-trainings", "def make_trainer"),
        ("tuning", "fine-tuning", "class Tuned"),
        ("texts", "lengths", "class Texts"),
        ("bucketed", "lengths", "class BucketedTexts"),
    ):
        code = re.findall(r"```python\n(.*?)```", PAGES[f"docs/{page}.md"], re.DOTALL)
        (tmp_path / f"{name}.py").write_text(
            next(block for block in code if mark in block), encoding="utf-8"
        )
    # Of `docs/styles.md`: each code, and the wirings of all in one module.
    codes = ROOT / "tests" / "workloads" / "foreign"
    for path in codes.glob("*/*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    wirings = (path.read_text(encoding="utf-8") for path in codes.glob("*/profiles/wiring.py"))
    (tmp_path / "wiring.py").write_text("\n".join(wirings), encoding="utf-8")
    # Not needed by anything else here; what is looked for is the name of a class path.
    (tmp_path / "timm.py").write_text("def create_model(): ...\n", encoding="utf-8")
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision" / "models.py").write_text("def resnet50(): ...\n", encoding="utf-8")
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(text, encoding="utf-8")
    assert load_matrix(matrix, search_path=[str(tmp_path)])


def test_matrices_are_found() -> None:
    """The marks of the examples are where the test above looks for them."""
    assert sum(page.count(MATRIX_MARK) for page in PAGES.values()) == len(MATRICES) > 0


@pytest.mark.parametrize("name", ["SyntheticImages", "SyntheticTokens"])
def test_synthetic_data_have_their_old_name_too(name: str, tmp_path: Path) -> None:
    """The synthetic data can be named as the documents do, and as older matrices do."""
    shown = re.search(rf"harness\.synthetic\.{name}\b", MATRIX)
    assert shown is not None
    old = f"harness.workload.{name}"
    assert f"`{old}`" in MATRIX
    matrix = tmp_path / "matrix.yaml"
    for class_path in (shown.group(), old):
        matrix.write_text(
            "version: 1\n"
            "matrix: {model: [m], gpu: [g], resolution: [8]}\n"
            "models:\n"
            f"  m: {{module: {{class_path: torch.nn.Flatten}}, data: {{class_path: {class_path}}}}}\n"
            "gpus: {g: {accelerator: cpu, budget: 64MiB}}\n",
            encoding="utf-8",
        )
        (case,) = load_matrix(matrix)
        assert case.workload["data"] is not None
        assert class_path == case.workload["data"]["class_path"]


@pytest.mark.parametrize(
    ("prefix", "name"),
    [(prefix, name) for prefix, model in SECTIONS.items() for name in model.model_fields],
)
def test_settings_are_in_the_reference_with_their_default(prefix: str, name: str) -> None:
    """A setting has a row, whose default is the one of the code."""
    _, default, _ = MATRIX_ROWS[f"{prefix}.{name}"]
    model = SECTIONS[prefix]
    written = read_yaml(default.strip("`")).root
    if written is not None and model is not GpuSettings:
        # As the matrix reads it: 2% is 0.02. An entry of `gpus` is nothing without its other keys.
        written = getattr(model.model_validate({name: written}), name)
    assert model.model_fields[name].default == written


@pytest.mark.parametrize("name", TrainerSettings.model_fields)
def test_trainer_keywords_are_in_the_reference(name: str) -> None:
    """A keyword of the Trainer that may be set has a row."""
    assert f"trainer.{name}" in MATRIX_ROWS


@pytest.mark.parametrize("name", REFUSED)
def test_refused_trainer_keywords_are_named(name: str) -> None:
    """A keyword of the Trainer that may not be set is named as such."""
    refused = MATRIX.partition("Refused, with the reason")[2].partition("\n\n")[0]
    assert f"`{name}`" in refused


@pytest.mark.parametrize("name", [*MatrixFile.model_fields, *ModelSettings.model_fields])
def test_blocks_of_the_matrix_are_in_the_reference(name: str) -> None:
    """A key of the file, or of a model, has a row."""
    assert name in MATRIX_ROWS


@pytest.mark.parametrize("name", AxesSettings.model_fields)
def test_axes_are_in_the_reference(name: str) -> None:
    """A key of the block `matrix` has a row."""
    assert f"matrix.{name}" in MATRIX_ROWS


@pytest.mark.parametrize("name", BoundsSettings.model_fields)
def test_bounds_are_in_the_reference(name: str) -> None:
    """The sections above leave no bound out; one that has no settings of its own has a row."""
    assert f"bounds.{name}" in {*SECTIONS, *MATRIX_ROWS}


@pytest.mark.parametrize("name", plugin._OPTIONS)
def test_flags_and_ini_keys_are_in_the_reference(name: str) -> None:
    """A flag of pytest has a row, with its ini key and its default."""
    flag = "--" + name.replace("_", "-")
    _, value, metavar = plugin._OPTIONS[name]
    key, default, _ = PYTEST_ROWS[f"{flag} {metavar}".strip()]
    assert f"`{name}`" == key
    assert default == "off" if value is False else str(value) in default


def test_verbs_and_their_flags_are_in_the_reference() -> None:
    """The page of the command names every verb and every flag, and no verb that does not exist."""
    code = " ".join(re.findall(r"`([^`]+)`", COMMAND_LINE))
    known = [*flags(cli._parser())]
    missing = [name for name in known if not re.search(rf"(?<![\w-]){name}(?![\w-])", code)]
    assert [] == missing
    verbs = re.findall(r"^\| `([a-z]+)", COMMAND_LINE, re.MULTILINE)
    assert {name for name in known if not name.startswith("-")} == {*verbs}


@pytest.mark.parametrize(
    "name", [name for name in LockedProfile.__dataclass_fields__ if name != "extra"]
)
def test_lockfile_fields_are_in_the_reference(name: str) -> None:
    """A field of a locked profile has a row."""
    assert name in LOCKFILE_ROWS


@pytest.mark.parametrize("name", [tuned.LOCK_VARIABLE, "GITHUB_STEP_SUMMARY"])
def test_environment_variables_are_in_the_reference(name: str) -> None:
    """An environment variable that is read has a row."""
    assert name in PYTEST_ROWS


@pytest.mark.parametrize(
    ("name", "runs"), [("main", "pytest --gpu-profile"), ("tests", "pytest -n 2")]
)
def test_commands_for_ci_are_marked(name: str, runs: str) -> None:
    """The README has the two commands that CI takes from it, each on one line."""
    marked = dict(re.findall(r"<!-- ci:(\w+) -->\n```console\n(.*?)```", README, re.DOTALL))
    assert f"$ pip install -c constraints.txt -e '.[test]' && {runs}\n" == marked[name]


def test_readme_is_short() -> None:
    """The README is read in a few minutes; all else is in docs/."""
    assert len(README.splitlines()) <= MAX_README_LINES


def test_readme_leads_to_every_page() -> None:
    """The map of the documents in the README leaves no page out."""
    assert {name for name in PAGES if name.startswith("docs/")} <= {*links(README)}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """A relative link leads to a file that exists, and its anchor to one of the headings."""
    dead = []
    for link in links(PAGES[name]):
        target, _, anchor = link.partition("#")
        path = (ROOT / name).parent / target if target else ROOT / name
        if not path.exists() or (
            anchor and anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            dead.append(link)
    assert [] == dead


@pytest.mark.parametrize("name", PAGES)
def test_lines_are_short(name: str) -> None:
    """A line of a document has 100 columns at most; tables, code blocks and URLs may be longer."""
    lines = [re.sub(r"https?://\S+", "", line) for line in prose(PAGES[name]).splitlines()]
    long = [line for line in lines if len(line) > MAX_COLUMNS and not line.startswith("|")]
    assert [] == long


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name: str) -> None:
    """A path in backticks exists if it begins with a folder of the repository or the package."""
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*)", prose(PAGES[name]))
    homes = [ROOT / home for home in ("", "harness")]
    ours = [path for path in named if any((home / path.split("/")[0]).is_dir() for home in homes)]
    # What a run leaves here is no part of the repository.
    ours = [path for path in ours if not path.startswith(".gpu-profile/")]
    assert [] == [path for path in ours if not any((home / path).exists() for home in homes)]


@pytest.mark.parametrize("name", PAGES)
def test_scripts_and_tests_of_commands_exist(name: str) -> None:
    """A script or test that a command of a document runs exists."""
    named = re.findall(r"(?:python|pytest) ((?:benchmarks|tests)/[\w./]+)", PAGES[name])
    assert [] == [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", PAGES)
def test_modules_and_names_that_are_named_exist(name: str) -> None:
    """A dotted name of the package that a document gives can be imported."""
    named = {*re.findall(r"\bharness(?:\.\w+)+", PAGES[name])} - {"harness.git"}
    assert [] == sorted(dotted for dotted in named if not is_importable(dotted))
