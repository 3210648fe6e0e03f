"""`gpu-profile init` writes a matrix that loads, a test module and a workflow."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness.cli.init
from harness.cli.command_line import main
from harness.matrix.cases import load_matrix
from harness.matrix.yaml12.reader import read_yaml
from harness.starting.machine import Machine, of_cpu

if TYPE_CHECKING:
    from command_line import Output

    from harness.matrix.case import Case

QUICKSTART = Path(__file__).parents[2] / "docs" / "quickstart.md"
MATRIX = Path("profiles/matrix.yaml")
TESTS = Path("profiles/test_profiles.py")
WORKFLOW = Path(".github/workflows/gpu-profile.yml")
NET = """\
import lightning.pytorch as pl

class Net(pl.LightningModule):
    def __init__(self, classes: int, width=8, image_size=64): ...
    def training_step(self, batch, _): ...
    def train_dataloader(self): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty repository on a machine with a CPU alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    monkeypatch.setattr(harness.cli.init, "look_at_machine", lambda: of_cpu(8 << 30, "no GPU"))
    return tmp_path


def write(path: str, text: str) -> None:
    """Write a file of the project."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")


def made(*search_path: str) -> tuple[Case, ...]:
    """Run the verb and return the cases of the matrix that it has written."""
    assert 0 == main(["init"])
    return load_matrix(MATRIX, [str(Path.cwd()), *search_path])


def spec(case: Case, key: str = "module") -> dict[str, Any]:
    """Return a class path and its arguments as plain data."""
    plain: dict[str, Any] = json.loads(json.dumps(case.workload))[key]
    return plain


def test_quickstart_works_with_what_is_written(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """The project of the quickstart has one case, which pytest collects."""
    monkeypatch.setattr(harness.cli.init, "look_at_machine", lambda: of_cpu(8 << 30, "no GPU"))
    text = QUICKSTART.read_text(encoding="utf-8")
    code = re.search(r"```python\n(import lightning.*?)```", text, re.DOTALL)
    assert code is not None
    write("digits.py", code[1])
    (case,) = made()
    assert "net-cpu-1GiB-32" == case.id
    assert {"resolution": 32} == spec(case, "data")["init_args"]
    assert "next\n  pytest --gpu-profile\n" in capsys.readouterr().out
    result = pytester.runpytest_subprocess("--gpu-profile", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*test_profiles.py::test_gpu_profile[[]net-cpu-1GiB-32]"])


def test_what_must_be_filled_in_is_marked_and_told(folder: Path, capsys: Output) -> None:
    """A parameter without a default is a comment that names it, and the matrix still loads."""
    write("net.py", NET)
    (case,) = made()
    assert {"image_size": 64} == spec(case)["init_args"]
    lines = MATRIX.read_text(encoding="utf-8").splitlines()
    number = 1 + lines.index("        # classes:  # FILL IN: it has no default, int")
    told = f"{MATRIX}:{number}: classes: it has no default, int\n"
    assert told in capsys.readouterr().out


def test_files_that_exist_are_left(folder: Path, capsys: Output) -> None:
    """Only what is missing is written, and the rest is named."""
    write("net.py", NET)
    write(str(MATRIX), "of a person\n")
    write(str(WORKFLOW), "jobs of a person\n")
    assert 0 == main(["init"])
    assert ("of a person\n", "jobs of a person\n") == (MATRIX.read_text(), WORKFLOW.read_text())
    said = capsys.readouterr().out
    assert f"wrote\n  {TESTS}\nleft as they were\n  {MATRIX}\n  {WORKFLOW}\n" in said


def test_second_run_writes_nothing(folder: Path, capsys: Output) -> None:
    """What the first run has written is left."""
    write("net.py", NET)
    made()
    before = {path: path.stat().st_mtime_ns for path in (MATRIX, TESTS, WORKFLOW)}
    capsys.readouterr()
    assert 0 == main(["init"])
    assert "wrote" not in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_project_without_a_training_is_refused(folder: Path, capsys: Output) -> None:
    """Nothing is written, and a loop that could get a `step()` is named."""
    write("train.py", "def main(loss):\n    loss.backward()\n")
    assert 2 == main(["init"])
    told = capsys.readouterr().err
    assert "found nothing to profile in 1 Python file below" in told
    assert "calls backward at train.py:2: give it a step()" in told
    assert ["train.py"] == [path.name for path in folder.rglob("*.*") if path.suffix == ".py"]
    assert not MATRIX.exists()


def test_modules_off_the_module_path_are_told(folder: Path, capsys: Output) -> None:
    """In a src layout that is not installed, the class path has no `src`, and pytest needs it."""
    write("src/shop_of_tests/__init__.py", "")
    write("src/shop_of_tests/net.py", NET)
    (case,) = made(str(folder / "src"))
    assert "shop_of_tests.net.Net" == spec(case)["class_path"]
    assert 'pythonpath = ["src"] in [tool.pytest.ini_options]' in capsys.readouterr().out


def test_module_path_of_pytest_counts(folder: Path, capsys: Output) -> None:
    """Where pytest's configuration has the folder, there is nothing to fill in about it."""
    write("pytest.ini", "[pytest]\npythonpath = src\n")
    write("src/shop_of_tests/net.py", NET)
    made(str(folder / "src"))
    assert "[tool.pytest.ini_options]" not in capsys.readouterr().out


def test_link_out_of_the_project_is_refused(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Output
) -> None:
    """Nothing is written through a link that leads to another place."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write("net.py", NET)
    Path("profiles").symlink_to(elsewhere)
    assert 2 == main(["init"])
    assert "profiles/matrix.yaml: a link leads out of" in capsys.readouterr().err
    assert [] == [*elsewhere.iterdir()]


def test_nothing_of_the_project_is_run(folder: Path) -> None:
    """Neither its modules nor its conftest are imported."""
    write("net.py", f"open('ran', 'w')\n{NET}")
    write("conftest.py", "open('ran', 'w')\n")
    made()
    assert not Path("ran").exists()


def test_text_of_the_project_is_shown_harmless_and_quoted(folder: Path, capsys: Output) -> None:
    """A value with quotes, references and line breaks arrives as it is; what is shown is inert."""
    value = "a: 'b' # \"c\" ${resolution}\n\x1b[31m\u202e\x85 - {x}"
    write("net.py", NET.replace("classes: int", "classes: 'x\\n::error::'"))
    write("train.py", f"from net import Net\nNet({value!r})\n")
    write("bad\x1b[31m.py", "class")
    (case,) = made()
    assert value == spec(case)["init_args"]["classes"]
    said = capsys.readouterr().out
    assert "bad\\x1b[31m.py:1 was left out: invalid syntax" in said
    assert "\x1b" not in said + MATRIX.read_text(encoding="utf-8")


@pytest.mark.parametrize("has_gpu", [True, False])
def test_workflow_has_the_jobs_of_the_machines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, has_gpu: bool
) -> None:
    """With a GPU in the matrix, a runner measures and another predicts; else the CPU measures."""
    if has_gpu:
        machine = Machine({"h200": {"name": "NVIDIA H200"}}, "NVIDIA H200")
        monkeypatch.setattr(harness.cli.init, "look_at_machine", lambda: machine)
    write("net.py", NET)
    write("pyproject.toml", "[project]\nname = 'x'\n")
    made()
    jobs = read_yaml(WORKFLOW.read_text(encoding="utf-8")).root["jobs"]
    runs = {
        name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()
    }
    comment = "gpu-profile comment"
    install = "pip install -e . /path/to/pytest-gpu-profile"
    expected = {
        "measure": [install, "pytest --gpu-profile", comment],
        "predict": [install, "pytest --gpu-profile --gpu-profile-predict", comment],
    }
    assert (expected if has_gpu else {"measure-cpu": expected["measure"]}) == runs


def test_workflow_of_a_project_below_the_repository(folder: Path) -> None:
    """It is written where GitHub looks, and runs in the project's folder."""
    write("a b/pytest.ini", "[pytest]\n")
    write("a b/net.py", NET)
    os.chdir("a b")
    made()
    workflow = read_yaml((folder / WORKFLOW).read_text(encoding="utf-8")).root
    assert {"run": {"working-directory": "a b"}} == workflow["defaults"]
    assert '"a b/.gpu-profile"' in json.dumps(workflow)
