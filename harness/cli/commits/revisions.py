"""Predicts a case at one revision of the project: with its code and its matrix, in a worktree."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from harness.cli.elsewhere.answers import key
from harness.cli.elsewhere.run import PACKAGE_ROOT, predict_elsewhere
from harness.cli.elsewhere.search_path import move_entry
from harness.errors import MachineError
from harness.git.program import run_git
from harness.git.worktrees import worktree
from harness.workload.import_guard import VARIABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from harness.cli.elsewhere.answers import Asked, CaseAnswer, CaseRefusal
    from harness.git.bisection import CommitInfo


class Revisions:
    """Predicts a case at revisions of the repository that the working directory is in.

    Args:
        options: those of the verb: `case`, `gpu`, `matrix`, `lock`, `link`.

    Raises GitError where there is no repository.

    """

    def __init__(self, options: argparse.Namespace) -> None:
        here = Path.cwd().resolve()
        printed = run_git(here, "rev-parse", "--show-toplevel").decode("utf-8", "replace")
        self.top = Path(printed.rstrip("\n")).resolve()
        self._inside = here.relative_to(self.top)
        self._options = options
        self._forbidden = os.pathsep.join([str(self.top), *_installed_from(self.top)])
        self._known: dict[tuple[str, int | None], CaseAnswer | CaseRefusal] = {}
        """Answers by tree, and by the batch size whose holders were asked for."""
        self._expected: int | None = None
        """The last answer: most commits change nothing, and their search ends at once."""

    def predict(
        self, commit: CommitInfo, beside: CaseAnswer | None = None
    ) -> CaseAnswer | CaseRefusal:
        """Predict the case at a commit; commits with the same files are predicted once.

        beside: what holds memory at the peak of this answer's largest batch is asked as well.

        Raises MachineError where no other revision would fare better.
        """
        place = commit.tree, None if beside is None else beside["max_batch_size"]
        if place not in self._known:
            with worktree(self.top, commit.name, self._options.link or ()) as new:
                self._known[place] = self._predict_in(new, beside)
        answer = self._known[place]
        if answer["kind"] == "refused" and answer["is_machine"]:
            raise MachineError(answer["reason"])
        if answer["kind"] == "predicted" and answer["max_batch_size"]:
            self._expected = answer["max_batch_size"]
        return answer

    def _predict_in(self, new: Path, beside: CaseAnswer | None) -> CaseAnswer | CaseRefusal:
        folder = new / self._inside
        if not folder.is_dir():
            return _refused(f"it has no folder {self._inside}")
        options = self._options
        first = [str(one) for one in (new / "src", folder / "src", folder, new) if one.is_dir()]
        asked: Asked = {
            "matrix": self._moved(options.matrix, new),
            "lock": self._moved(options.lock, new),
            "case": options.case,
            "gpus": [options.gpu] if options.gpu else [],
            "holders": _wanted(beside),
            "expected": self._expected,
            "moved": {"old": str(self.top), "new": str(new), "first": first},
            "with_peak": False,
        }
        answers = predict_elsewhere(asked, folder, self._environment(first, new))
        return answers[-1] if answers else _refused("the process that predicts has told nothing")

    def _moved(self, path: str | None, new: Path) -> str | None:
        """Return a path of the command line as it is in the worktree.

        One that leads out of the repository stays: it is the same for each revision.
        """
        return (
            path
            if path is None or not Path(path).is_absolute()
            else move_entry(path, self.top, new)
        )

    def _environment(self, first: list[str], new: Path) -> dict[str, str]:
        given = os.environ.get("PYTHONPATH", "")
        rest = [move_entry(one, self.top, new) for one in given.split(os.pathsep) if one]
        # This package must come first where it is what the repository holds: `program` needs it as
        # it is now, and moves the search path after that.
        is_own = Path(PACKAGE_ROOT).is_relative_to(self.top)
        places = [PACKAGE_ROOT, *first, *rest] if is_own else [*first, *rest, PACKAGE_ROOT]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(places)),
            VARIABLE: self._forbidden,
        }


def _wanted(beside: CaseAnswer | None) -> dict[str, int]:
    if beside is None or not beside["max_batch_size"]:
        return {}
    return {key(beside["case"], beside["gpu"]): beside["max_batch_size"]}


def _refused(reason: str) -> CaseRefusal:
    return {
        "kind": "refused",
        "case": None,
        "gpu": None,
        "reason": reason,
        "detail": "",
        "is_machine": False,
    }


def _installed_from(top: Path) -> Iterator[str]:
    """Yield the installed packages that were copied from a checkout: `pip install .`.

    They are of the revision that was installed.
    """
    for found in distributions(path=sys.path):
        try:
            origin = json.loads(found.read_text("direct_url.json") or "{}")
            place, is_editable = urlsplit(origin["url"]), origin["dir_info"].get("editable", False)
        except (ValueError, OSError, KeyError):  # of an archive, or of an index
            continue
        is_here = place.scheme == "file" and Path(unquote(place.path)).is_relative_to(top)
        if not is_here or is_editable:
            continue
        names = {
            Path(str(file)).parts[0] for file in found.files or () if str(file).endswith(".py")
        }
        yield from (str(Path(str(found.locate_file(name)))) for name in sorted(names))
