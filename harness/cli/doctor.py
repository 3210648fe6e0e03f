"""The verb `gpu-profile doctor`: says what is wrong with installation, machine and project."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.cli.answers.answer import Answer
from harness.cli.common import say
from harness.cli.find_paths import read_paths
from harness.doctor import gpus, installation, machine, project
from harness.doctor.findings import Level, Project, run_checks
from harness.visible import one_line, visible

if TYPE_CHECKING:
    import argparse

    from harness.doctor.findings import Check, Finding

CHECKS: tuple[Check, ...] = (
    ("python", installation.python),
    ("packages", installation.requirements),
    ("torch", installation.torch),
    ("gpus", gpus.driver),
    ("memory", machine.memory),
    ("compiler", machine.compiler),
    ("variables", machine.environment),
    ("matrix", project.matrix),
    ("labels", gpus.labels),
    ("lock", project.lock),
    ("results", project.results),
)
_WIDTH = max(len(name) for name, _ in CHECKS)


class DoctorFinding(TypedDict):
    """A finding of one check."""

    check: str
    level: Level
    found: str
    remedy: str | None
    """What to do; null where nothing is to do, or `found` says it."""


class DoctorDocument(TypedDict):
    """The answer of `doctor`."""

    num_wrong: int
    num_notes: int
    num_ok: int
    findings: list[DoctorFinding]


def doctor(options: argparse.Namespace) -> Answer:
    """Print what each check has found, and what to do; the exit code is 1 if something is wrong.

    Neither builds a workload nor imports anything of the project, and writes nothing.
    """
    found: Counter[str] = Counter()
    findings: list[DoctorFinding] = []
    for name, finding in run_checks(CHECKS, Project(lambda: read_paths(options))):
        found[finding.level] += 1
        _tell(name, finding)
        findings.append(
            {
                "check": name,
                "level": finding.level,
                "found": finding.found,
                "remedy": finding.remedy or None,
            }
        )
    notes = f"{found['note']} note{'' if found['note'] == 1 else 's'}"
    say(f"{found['wrong']} wrong, {notes}, {found['ok']} ok")
    document: DoctorDocument = {
        "num_wrong": found["wrong"],
        "num_notes": found["note"],
        "num_ok": found["ok"],
        "findings": findings,
    }
    return Answer(int(found["wrong"] > 0), document)


def _tell(name: str, finding: Finding) -> None:
    # A message of several mistakes has a line for each; all of them stand below the first.
    first, *others = visible(finding.found).splitlines() or [""]
    say(one_line(f"{finding.level:5}  {name:{_WIDTH}}  {first}"))
    indent = " " * (9 + _WIDTH)
    for line in others:
        say(one_line(f"{indent}{line}"))
    if finding.remedy:
        say(one_line(f"{indent}-> {finding.remedy}"))
