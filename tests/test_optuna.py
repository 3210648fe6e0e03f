"""Suggestions in an Optuna study, inside of what a lock knows to work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from measurements import locked

import harness
from harness.errors import HarnessError
from harness.lockfile.profiles import read_lock
from harness.lockfile.write import update_lock
from harness.optuna import batch_sizes

ROOT = Path(__file__).parent.parent


class Recorder:
    """A trial that keeps what it is asked, and suggests the first or lowest value."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        """Suggest the lower end."""
        self.asked.append((name, low, high, log))
        return low

    def suggest_categorical(self, name: str, choices: list[int]) -> int:
        """Suggest the first choice."""
        self.asked.append((name, choices))
        return choices[0]


def test_learning_rate_is_log_uniform_in_the_locked_range() -> None:
    """The trial is asked for a rate between the ends of the range, by logarithm."""
    trial = Recorder()
    tuned = locked(learning_rate=0.01, learning_rate_range=(0.006, 0.02))
    assert 0.006 == harness.optuna.suggest_learning_rate(trial, tuned)
    harness.optuna.suggest_learning_rate(trial, tuned, name="lr")
    assert [("learning_rate", 0.006, 0.02, True), ("lr", 0.006, 0.02, True)] == trial.asked


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"learning_rate": None, "lr_refusal": "the loss never fell"}, "the loss never fell"),
        ({"learning_rate": None, "source": "predicted"}, "it was predicted, and never trained"),
        ({"learning_rate": None}, "the LR range test was not run"),
        ({"learning_rate_range": ()}, "without a range: its lock is from before"),
    ],
)
def test_profiles_without_a_range_are_refused(changes: dict[str, Any], reason: str) -> None:
    """The refusal names the case and says why there is no range."""
    with pytest.raises(HarnessError, match=reason) as refused:
        harness.optuna.suggest_learning_rate(Recorder(), locked(**changes))
    assert str(refused.value).startswith("resnet18-h200-224 is locked with")


@pytest.mark.parametrize(
    ("batch", "settings", "expected"),
    [
        (70, {}, [2, 4, 8, 16, 32, 64, 70]),
        (64, {}, [2, 4, 8, 16, 32, 64]),
        (1, {}, [1]),
        (70, {"search.min_batch_size": 16}, [16, 32, 64, 70]),
        (60, {"search.round_to": 12}, [12, 24, 48, 60]),
        (3, {"search.round_to": 12}, [3]),
    ],
    ids=["any", "power", "one", "minimum", "multiples", "below-a-multiple"],
)
def test_sizes_are_known_to_fit(batch: int, settings: dict[str, Any], expected: list[int]) -> None:
    """Powers of two up to the tuned batch, which is the last; multiples where the case asks."""
    tuned = locked(batch_size=batch, settings=settings)
    trial = Recorder()
    assert expected[0] == harness.optuna.suggest_batch_size(trial, tuned, name="size")
    assert [("size", expected)] == trial.asked
    assert expected == batch_sizes(tuned)


@pytest.mark.parametrize("name", ["suggest_learning_rate", "suggest_batch_size"])
def test_what_is_no_trial_is_refused(name: str) -> None:
    """The message says what is needed, and how to install it."""
    with pytest.raises(HarnessError, match=r"trial=str: an optuna\.Trial is needed") as refused:
        getattr(harness.optuna, name)("trial", locked())
    assert "`pip install 'pytest-gpu-profile[optuna]'` installs Optuna" in str(refused.value)


def test_example_runs_a_real_study(tmp_path: Path) -> None:
    """The example of the documents runs its trials inside of the locked range and sizes."""
    pytest.importorskip("optuna")
    known = read_lock(ROOT / "profiles" / "gpu-profile.lock")
    (case,) = known.of_case("alexnet-cpu-32MiB-16")
    rate = case.learning_rate or 0.003
    case = replace(case, learning_rate=rate, learning_rate_range=(rate / 1.5, rate * 1.5))
    lock = tmp_path / "gpu-profile.lock"
    update_lock(lock, [case])
    done = subprocess.run(
        [sys.executable, "-m", "docs.examples.optuna_study", "--trials", "3", "--steps", "5"],
        cwd=ROOT,
        env={**os.environ, "GPU_PROFILE_LOCK": str(lock)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("", 0) == (done.stderr[-2000:], done.returncode)
    *trials, best = done.stdout.splitlines()
    shown = [
        re.fullmatch(r"batch +(\d+), learning rate (\S+): accuracy \d\.\d+", t) for t in trials
    ]
    found = [(int(match[1]), float(match[2])) for match in shown if match]
    assert 3 == len(found)
    assert all(size in batch_sizes(case) for size, _ in found)
    assert all(rate / 1.51 <= one <= rate * 1.51 for _, one in found)
    assert re.fullmatch(r"best: batch \d+, accuracy \d\.\d+", best)


def test_sizes_of_a_global_batch_are_its_divisors() -> None:
    """A power of two would not make it in whole micro-batches."""
    tuned = locked(
        batch_size=30, max_batch_size=30, global_batch_size=60, accumulate_grad_batches=2
    )
    assert [2, 3, 4, 5, 6, 10, 12, 15, 20, 30] == batch_sizes(tuned)
