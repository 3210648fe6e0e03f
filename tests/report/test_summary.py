"""The lines before and after a run: the estimate, notes, improvements, reasons for no result."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from case_results import axes, command, locked, measurement, result, several, unmeasured
from matrix_texts import RIGHT, load

from harness import report
from harness.matrix.settings import LrRangeSettings
from harness.report import CostItem
from harness.report.estimate import lr_steps

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile
    from harness.matrix.presets import Preset
    from harness.measurement import Source
    from harness.report.case_result import CaseResult

CASE = "resnet18-cpu-256MiB-32"
NO_TEST_RAN = (
    "no test ran for 6 cases of the matrix; a test module needs `from harness.testing import "
    "test_gpu_profile` or a test on the fixture gpu_profile, and -k, -m, --lf or a path must not "
    "leave it out; name a module whose tests come from elsewhere by its path"
)
BETTER = "better than locked: max_batch_size 520 is 10.4% above the locked 471"


def cost(**changes: object) -> CostItem:
    """Return the cost of a locked case: two probes, 600 LR steps."""
    plain = CostItem(
        CASE,
        locked(samples_per_second=471.0),
        num_probes=2,
        lr_steps=600,
        lr_steps_are_most=False,
        steps_per_trial=3,
    )
    return replace(plain, **changes)  # type: ignore[arg-type] # fields by name


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([], "gpu-profile: no selected case runs on this machine"),
        # 10 s to start, two probes of 2 s and 3 steps of 1 s.
        ([cost(lr_steps=0)], "gpu-profile: 1 case, about 2 probes, about 20 seconds"),
        (
            [cost(lr_steps=39)],
            "gpu-profile: 1 case, about 2 probes, about 39 LR steps, about 59 seconds",
        ),
        (
            [cost(lr_steps=40)],
            "gpu-profile: 1 case, about 2 probes, about 40 LR steps, about 1 minute",
        ),
        (
            [cost()] * 2,
            "gpu-profile: 2 cases, about 4 probes, about 1200 LR steps, about 21 minutes",
        ),
        (
            [cost()] * 6,
            "gpu-profile: 6 cases, about 12 probes, about 3600 LR steps, about 1.0 hours",
        ),
        (
            [cost(), cost(lr_steps_are_most=True)],
            (
                "gpu-profile: 2 cases, about 4 probes, about 600 LR steps, at most 600 LR steps, "
                "about 21 minutes"
            ),
        ),
        (
            [cost(locked=None, num_probes=5, lr_steps_are_most=True)],
            (
                "gpu-profile: 1 case, about 5 to 19 probes, at most 600 LR steps "
                "(1 case never locked: not estimated); for fewer LR steps lower "
                "lr_range.num_training, or set lr_range.when to never"
            ),
        ),
        (
            [cost(lr_steps=0), *[cost(locked=None, num_probes=5, lr_steps=0)] * 2],
            (
                "gpu-profile: 3 cases, about 12 to 40 probes, about 20 seconds "
                "(2 cases never locked: not estimated)"
            ),
        ),
    ],
)
def test_estimate(cases: list[CostItem], expected: str) -> None:
    """The header counts cases, probes and steps, and estimates the time of the locked cases."""
    assert expected == report.estimate_line(cases)


@pytest.mark.parametrize(
    ("preset", "source", "cases", "expected"),
    [
        ("quick", "measured", [cost(lr_steps=0)], "1 case, about 2 probes, about 20 seconds"),
        (
            "quick",
            "measured",
            [cost(locked=None, num_probes=5, lr_steps=0)],
            (
                "1 case, about 5 to 19 probes (1 case never locked: not estimated); without a lock "
                "quick has nothing to verify, and searches as without a preset"
            ),
        ),
        # The search, its bracket once more, and the soak; 10 s, 8 probes of 5 s, and the steps.
        (
            "thorough",
            "measured",
            [cost(num_probes=8, lr_steps=1000, lr_steps_are_most=True, cold=True, soak_steps=100)],
            "1 case, about 8 to 22 probes, at most 1000 LR steps, about 19 minutes",
        ),
        (
            "production",
            "measured",
            [cost()],
            "1 case to check against the lock; nothing is measured",
        ),
        (
            "quick",
            "predicted",
            [cost()],
            "1 case to predict; nothing runs on a GPU, and a preset changes no prediction",
        ),
        ("quick", "measured", [], "no selected case runs on this machine"),
    ],
)
def test_estimate_of_a_preset(
    preset: Preset, source: Source, cases: list[CostItem], expected: str
) -> None:
    """The header names the preset, and says what it will do."""
    expected = f"gpu-profile: preset {preset}: {expected}"
    assert expected == report.estimate_line(cases, source, preset)


def test_cost_of_a_thorough_case(tmp_path: Path) -> None:
    """A lock spares it nothing: it searches anew, repeats the bracket, and soaks."""
    (case, _) = load(tmp_path, RIGHT + "preset: thorough\n")
    found = report.cost_of(case, locked())
    assert (8, 1000, True, 100) == (
        found.num_probes,
        found.lr_steps,
        found.lr_steps_are_most,
        found.soak_steps,
    )


@pytest.mark.parametrize(
    ("settings", "lock", "expected"),
    [
        ({}, None, (600, True)),
        ({"num_training": 100, "seeds": (0, 1)}, None, (200, True)),
        ({}, locked(), (240, False)),
        ({"num_training": 60, "seeds": (0,)}, locked(), (60, False)),
        ({"horizon": 80}, locked(), (600, True)),
        ({"horizon": 80}, locked(settings={"lr_range.horizon": 80}, lr_horizon=80), (480, False)),
        # A horizon that the test has doubled by itself, and one that the budget has halved.
        ({}, locked(lr_horizon=80), (480, False)),
        ({}, locked(lr_horizon=20), (120, False)),
        ({}, locked(learning_rate_range=(), lr_horizon=None), (600, True)),
        ({"when": "changed"}, locked(), (0, False)),
        ({"when": "changed"}, None, (600, True)),
        ({"when": "changed"}, locked(learning_rate_range=(), lr_horizon=None), (600, True)),
        ({"when": "never"}, None, (0, False)),
    ],
)
def test_lr_steps(
    settings: dict[str, Any], lock: LockedProfile | None, expected: tuple[int, bool]
) -> None:
    """A locked range takes six trials to confirm; without one the whole budget may be needed."""
    assert expected == lr_steps(LrRangeSettings(**settings), lock)


def test_estimate_without_a_locked_speed() -> None:
    """A locked case without a speed is not estimated, and not called unlocked."""
    expected = (
        "gpu-profile: 1 case, about 2 probes, about 600 LR steps "
        "(1 case without a locked speed: not estimated)"
    )
    assert expected == report.estimate_line([cost(locked=locked(samples_per_second=None))])


def test_summary() -> None:
    """The end of a run has table, notes, improvements, locked cases and the results' folder."""
    better = result(measurement(max_batch_size=520, batch_size=471), locked())
    skipped = unmeasured("skipped", "no GPU here is an NVIDIA H200", gpu="h200")
    lines = report.summary_lines(
        [skipped, better],
        width=80,
        locked=["a", "b"],
        lock_path="profiles/gpu-profile.lock",
        results_path=".out",
    )
    expected = [
        *report.render_table([skipped, better], 80).splitlines(),
        "",
        "skipped resnet18-h200-32: no GPU here is an NVIDIA H200",
        "",
        f"{CASE}: better than locked: max_batch_size 520 is 10.4% above",
        "  the locked 471",
        "lock it with:",
        f"  {command(CASE)}",
        "",
        "locked 2 cases in profiles/gpu-profile.lock",
        "results in .out: report.md, report.json, candidate.lock",
    ]
    assert expected == lines


def test_summary_without_anything_to_note() -> None:
    """If there is nothing to note, the end is the table and the results' folder."""
    rows = [result(lock=locked())]
    lines = report.summary_lines(rows, width=80, locked=[], lock_path="lock", results_path=".out")
    ending = ["", "results in .out: report.md, report.json, candidate.lock"]
    assert [*report.render_table(rows, 80).splitlines(), *ending] == lines


def test_summary_of_nothing() -> None:
    """A run without results has no summary."""
    assert (
        report.summary_lines([], width=80, locked=[], lock_path="lock", results_path=".out") == []
    )


def test_improvement_that_was_locked_is_not_offered() -> None:
    """An improvement that the run has locked is not listed."""
    better = result(measurement(max_batch_size=520, batch_size=471), locked())
    lines = report.summary_lines(
        [better], width=200, locked=[CASE], lock_path="lock", results_path=".out"
    )
    assert [line for line in lines if "better" in line] == []


@pytest.mark.parametrize(
    ("update_command", "expected"),
    [
        (None, [f"{CASE}: {BETTER}"]),
        ("pytest -x", [f"{CASE}: {BETTER}", "lock it with:", "  pytest -x"]),
    ],
)
def test_improvement_lines(update_command: str | None, expected: list[str]) -> None:
    """An improvement names the case, the gain and, if known, the command that locks it."""
    better = result(
        measurement(max_batch_size=520, batch_size=471), locked(), update_command=update_command
    )
    assert expected == report.improvement_lines([better])


def test_notes() -> None:
    """Skips, refusals, non-monotone memory and warnings each have a line."""
    odd = result(
        measurement(non_monotone=480, largest_learning_rate=0.0316, warnings=("fits, thrashing",)),
        locked(),
        warnings=("moved",),
    )
    expected = [
        "skipped resnet18-h200-224: no GPU here is an NVIDIA H200",
        (
            f"{CASE}: the learning rate 0.00316 is what the attribute is set to; the largest group "
            "of the optimizer then has 0.0316"
        ),
        f"{CASE}: batch 480 fits too, although 472 does not",
        f"{CASE}: fits, thrashing",
        f"{CASE}: moved",
        "vit_tiny-cpu-256MiB-32: no learning rate: signal-to-noise ratio 2.1 is under 4",
    ]
    assert expected == report.note_lines([several()[0], odd, several()[2]])


def test_skips_are_grouped_by_reason() -> None:
    """Cases that were skipped for one reason share a line; a long list is cut."""
    rows = [unmeasured("skipped", "no H200", gpu="h200", resolution=number) for number in range(5)]
    rows.append(unmeasured("skipped", "no A100", gpu="a100"))
    expected = [
        "skipped resnet18-a100-32: no A100",
        "skipped resnet18-h200-0, resnet18-h200-1, resnet18-h200-2 and 2 more: no H200",
    ]
    assert expected == report.note_lines(rows)


@pytest.mark.parametrize(
    ("rows", "num_cases", "expected"),
    [
        ([], 0, "the matrix has no cases"),
        (
            [],
            6,
            NO_TEST_RAN,
        ),
        (
            [unmeasured("skipped", "no H200"), unmeasured("skipped", "no H200", model="vit")],
            6,
            "2 cases skipped: no H200",
        ),
        (
            [unmeasured("skipped", "no H200"), unmeasured("error", "lost", model="vit")],
            6,
            "no case was measured; the failures above say why",
        ),
    ],
)
def test_why_nothing(rows: list[CaseResult], num_cases: int, expected: str) -> None:
    """A run that measured nothing gives the reason and the remedy."""
    assert expected == report.why_nothing(rows, num_cases)


def test_other_models_sort_by_id() -> None:
    """Improvements are sorted by case id."""
    rows = [
        result(
            measurement(axes=axes(model=name), max_batch_size=520, batch_size=471),
            locked(axes=axes(model=name)),
            update_command=None,
        )
        for name in ("b", "a")
    ]
    expected = [f"{name}-cpu-256MiB-32: {BETTER}" for name in ("a", "b")]
    assert expected == report.improvement_lines(rows)


def test_cost_of_buckets(tmp_path: Path) -> None:
    """Each has a bracket of its own, and all of them train in turn."""
    data = "    data: {class_path: torch.nn.Linear, init_args: {length: 8}}\n"
    buckets = "    buckets: {field: length, edges: [4, 8]}\n"
    model = "    module: {class_path: torch.nn.Linear}\n"
    (case, _) = load(tmp_path, RIGHT.replace(model, model + data + buckets))
    assert 6 == report.cost_of(case, locked()).num_probes
