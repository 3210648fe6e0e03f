"""What a run prints and reports is harmless, whatever the lockfile and the workload say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from case_results import locked, measurement, result, unmeasured
from command_line import of_case
from hostile_words import HOSTILE, assert_harmless

from harness import report
from harness.lockfile.profiles import Lock
from harness.lockfile.render import render

if TYPE_CHECKING:
    from projects import Project

SHOUTING = f"""
import zoo

class Shouting(zoo.Net):
    def training_step(self, batch, batch_idx):
        raise RuntimeError({HOSTILE!r})
"""


def test_run_prints_nothing_that_is_obeyed(project: Project) -> None:
    """A hostile lock makes one case stale, and the other one's training raises hostile words."""
    words = {HOSTILE: HOSTILE}
    stale = of_case(workload=words, settings=words, lr_refusal=HOSTILE, learning_rate=None)
    stale = replace(stale, learning_rates=(), extra=words)
    project.lock.write_text(render(Lock(project.lock, (stale,))), encoding="utf-8")
    (project.path / "profiles" / "shouting.py").write_text(SHOUTING, encoding="utf-8")
    project.write_matrix("Net", "Shouting", cap=2)
    matrix = project.path / "profiles" / "matrix.yaml"
    text = matrix.read_text(encoding="utf-8").replace("zoo.Shouting", "shouting.Shouting")
    matrix.write_text(text, encoding="utf-8")
    done = project.run("--gpu-profile", "-rA", "-v", "--color=yes")
    done.assert_outcomes(failed=2)
    printed = done.stdout.str() + "\n" + done.stderr.str()
    assert "the lock is stale" in printed
    assert r"\x1b[9A" in printed
    assert_harmless(printed)
    assert_harmless((project.results / "report.md").read_text(encoding="utf-8"))


def test_reports_hold_nothing_that_is_obeyed() -> None:
    """Reasons, warnings, refusals and names of what was measured, on page and terminal."""
    hostile = measurement(
        lr_refusal=HOSTILE,
        learning_rate=None,
        warnings=(HOSTILE,),
        workload={HOSTILE: HOSTILE},
        made_with={"torch": HOSTILE},
    )
    rows = [
        result(hostile, locked(), improvements=(HOSTILE,), warnings=(HOSTILE,)),
        unmeasured("error", HOSTILE, model="one"),
        unmeasured("skipped", HOSTILE, model="two"),
        unmeasured("failed", HOSTILE.replace("\n", " "), model="three"),
    ]
    assert_harmless(report.render_markdown(rows, {HOSTILE: HOSTILE}))
    assert_harmless(report.failure_text(rows[0], HOSTILE))
