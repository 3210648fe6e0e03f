"""`gpu-profile bisect` names the commit that made the predicted batch of a case smaller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from git_repositories import Repository

from harness.cli.command_line import main

if TYPE_CHECKING:
    from collections.abc import Mapping

CASE = "net-h200-as-512MiB-8"
ROOT = Path(__file__).parents[3]
_MAIN = "import sys; from harness.cli import main; sys.exit(main())"
COMMAND = (sys.executable, "-P", "-c", _MAIN, "bisect", CASE)
MATRIX = """\
version: 1
matrix: {model: [net], gpu: [h200-as-512MiB], resolution: [8]}
models:
  net:
    module: {class_path: nets.model.Net}
    data:
      class_path: harness.synthetic.SyntheticImages
      init_args: {resolution: "${resolution}", num_classes: 10}
gpus: {h200-as-512MiB: {name: NVIDIA H200, budget: 512MiB}}
search: {validation: false}
"""
MODEL = """\
import lightning.pytorch as pl
import torch
from torch import nn


class Net(pl.LightningModule):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Linear(192, 4096)
        self.head = nn.Linear(4096, 10)

    def forward(self, images):
        return self.head(torch.relu_(self.body(images.flatten(1))))

    def training_step(self, batch, _):
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""
WORSE = MODEL.replace("torch.relu_(", "nn.functional.gelu(")
BROKEN = "import not_there\n" + MODEL


def make(path: Path, files: Mapping[str, str] | None = None) -> Repository:
    """Make a repository with the network in a folder `src`, and one commit."""
    made = Repository(path)
    made.commit(
        "Add the network",
        {
            "src/nets/__init__.py": "",
            "src/nets/model.py": MODEL,
            "profiles/matrix.yaml": MATRIX,
            **(files or {}),
        },
    )
    return made


def run(
    repository: Repository, *arguments: str, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the verb in a process of its own, from the repository."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=repository.path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(one for one in (path, str(ROOT)) if one)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--good", "nowhere", "--bad", "main"), "nowhere: there is no such commit in "),
        (("--good", "main", "--bad", "main"), "--good and --bad are the same commit"),
        (("--good", "main", "--bad", "main~1"), "is no ancestor of --bad"),
    ],
)
def test_commits_must_make_sense(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Nothing is predicted before that is known, and the exit code is 2."""
    repository = make(tmp_path / "project")
    repository.commit("Second", {"file": ""})
    monkeypatch.chdir(repository.path)
    assert 2 == main(["bisect", CASE, *arguments])
    assert message in capsys.readouterr().err


def test_folder_without_repository_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Git's words are passed on."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert 2 == main(["bisect", CASE, "--good", "a", "--bad", "b"])
    assert "not a git repository" in capsys.readouterr().err


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_commit_module_and_line_are_named(tmp_path: Path) -> None:
    """A commit that breaks the import is skipped, and the checkout stays as it is.

    The path to the checkout's own code, as an editable installation adds it, leads to the revision.
    """
    repository = make(tmp_path / "project")
    for number in range(2):
        repository.commit(f"Describe {number}", {"README": str(number)})
    repository.commit("Break", {"src/nets/model.py": BROKEN})
    repository.commit("Mend", {"src/nets/model.py": MODEL})
    culprit = repository.commit("Use GELU", {"src/nets/model.py": WORSE})
    repository.commit("Describe more", {"README": "more"})
    (repository.path / "src" / "nets" / "model.py").write_text("1 / 0\n", encoding="utf-8")
    done = run(
        repository,
        *("--good", "main~6", "--bad", "main", "--json"),
        path=str(repository.path / "src"),
    )
    assert 0 == done.returncode, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    (first_bad,) = document["first_bad"]
    assert (culprit, "Use GELU", "Mend") == (
        first_bad["commit"],
        first_bad["subject"],
        document["good"]["subject"],
    )
    assert first_bad["max_batch_size"] < document["threshold"]
    assert document["threshold"] <= document["good"]["max_batch_size"]
    assert "src/nets/model.py:13" == document["grown"][0]["line"]
    assert [] == document["changes"]
    assert " M src/nets/model.py" == f" {repository.git('status', '--short')}"
    assert 1 == len(repository.git("worktree", "list").splitlines())


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_matrix_of_each_revision_applies(tmp_path: Path) -> None:
    """A commit that changes the matrix alone is named with the setting."""
    repository = make(tmp_path / "project")
    worse = MATRIX.replace(
        "{validation: false}", "{validation: false, target_memory_fraction: 0.5}"
    )
    culprit = repository.commit("Ask for less", {"profiles/matrix.yaml": worse})
    done = run(repository, "--good", "main~1", "--bad", "main")
    assert 0 == done.returncode, done.stderr
    assert f"{culprit} is the first bad commit of {CASE}" == done.stdout.splitlines()[0]
    assert "  search.target_memory_fraction the default -> 0.5" in done.stdout.splitlines()


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_commits_that_cannot_be_predicted_are_left(tmp_path: Path) -> None:
    """Each of them may be the first bad one, with the reason; the exit code is 1."""
    repository = make(tmp_path / "project")
    broken = repository.commit("Break", {"src/nets/model.py": BROKEN})
    bad = repository.commit("Mend with GELU", {"src/nets/model.py": WORSE})
    done = run(repository, "--good", "main~2", "--bad", "main")
    assert 1 == done.returncode, done.stderr
    lines = done.stdout.splitlines()
    assert f"the first bad commit of {CASE} is one of 2" in lines[0]
    assert [f"  {broken[:10]} Break: ", f"  {bad[:10]} Mend with GELU"] == [
        lines[3][:20],
        lines[4],
    ]
    assert "No module named 'not_there'" in lines[3]


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_ends_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """The error has both values, and says how to draw another line."""
    repository = make(tmp_path / "project")
    repository.commit("Describe", {"README": ""})
    done = run(repository, "--good", "main~1", "--bad", "main")
    assert 2 == done.returncode
    assert "--bad is within the bound of --good, which allows" in done.stderr
    assert "--below N draws another line" in done.stderr


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_code_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """A module that the revision lacks must not come from the checkout.

    An editable installation leads there by a finder of its own, as setuptools makes it.
    """
    repository = make(tmp_path / "project", {"src/nets/model.py": "from more import Net\n"})
    repository.commit("Second", {"README": ""})
    (repository.path / "lib").mkdir()
    (repository.path / "lib" / "more.py").write_text(MODEL, encoding="utf-8")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\nfrom importlib.util import spec_from_file_location\n"
        "class Finder:\n    @staticmethod\n    def find_spec(name, path=None, target=None):\n"
        "        if name == 'more':\n"
        f"            return spec_from_file_location(name, '{repository.path}/lib/more.py')\n"
        "sys.meta_path.append(Finder)\n",
        encoding="utf-8",
    )
    done = run(repository, "--good", "main~1", "--bad", "main", path=str(site))
    assert 2 == done.returncode
    assert (
        f"more would be imported from {repository.path}/lib/more.py, which is not of this revision"
    ) in done.stderr


@pytest.mark.simulated
@pytest.mark.usefixtures("torch_server")
def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    """The worktree is removed, and so are the processes."""
    repository = make(tmp_path / "project")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    repository.commit("Wait", {"src/nets/model.py": f"open({str(fifo)!r}).read()\n" + MODEL})
    process = subprocess.Popen(
        [*COMMAND, "--good", "main~1", "--bad", "main"],
        cwd=repository.path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    with fifo.open("w"):  # opened when the workload of the second commit is being built
        assert 2 == len(repository.git("worktree", "list").splitlines())
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert 128 + signal.SIGTERM == process.returncode
    assert 1 == len(repository.git("worktree", "list").splitlines())
