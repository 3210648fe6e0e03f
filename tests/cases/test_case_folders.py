"""Small trainings that the product failed on: each ends with its right value.

They lie in a folder beside the checkout, one project each, and take minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDERS = Path(__file__).parents[3] / "shared" / "cases"


class Outcome(NamedTuple):
    """How a case ends."""

    status: str
    max_batch_size: int | None
    bounded_by: str | None
    has_learning_rate: bool = False

    @classmethod
    def of(cls, case: dict[str, Any]) -> Outcome:
        """Return the outcome of a case of report.json; None for a size that memory bounds."""
        size = None if case["bounded_by"] == "memory" else case["max_batch_size"]
        return cls(case["status"], size, case["bounded_by"], case["learning_rate"] is not None)


def capped(size: int, *, has_learning_rate: bool = False) -> Outcome:
    """Return the outcome of a case that the matrix bounds."""
    return Outcome("passed", size, "cap", has_learning_rate)


def by_data(size: int) -> Outcome:
    """Return the outcome of a case that its data bound."""
    return Outcome("passed", size, "dataset")


# Lightning itself, the workload's own attribute or its own check is why nothing trains.
REFUSED = Outcome("failed", 0, "error")
# What an epoch keeps until its end is larger than the memory, at any batch size.
TOO_LARGE = Outcome("failed", 0, "nothing fits")
BY_MEMORY = Outcome("passed", None, "memory")
SWEPT_48 = capped(48, has_learning_rate=True)
SWEPT_100 = capped(100, has_learning_rate=True)
MEASURED: dict[str, dict[str, Outcome]] = {
    "01-head-lr-times-ten": dict.fromkeys(
        ["same", "ten", "scaled"], capped(64, has_learning_rate=True)
    ),
    "02-stream-with-workers": dict.fromkeys(["w0", "w2", "w2drop"], SWEPT_100),
    "04-max-steps-in-schedule": dict.fromkeys(
        ["onecycle", "warm", "estimated", "streamestimated"], SWEPT_48
    ),
    # On this data LBFGS learns nothing at any learning rate.
    "05-wrapped-optimizer": {"wrapped": SWEPT_48, "fused": SWEPT_48, "lbfgs": capped(48)},
    "06-schedule-asked-in-step": dict.fromkeys(
        ["asking", "configs", "plateau", "plateaunoval", "monitor"], SWEPT_48
    ),
    "07-batch-without-batch-dimension": dict.fromkeys(
        ["detection", "timefirst", "packed", "graphs"], capped(64)
    ),
    "08-loader-asked-for-its-data": dict.fromkeys(["weights", "perepoch", "steps"], SWEPT_48),
    "11-samplers": {
        "repeated": by_data(20000),
        "subset": by_data(180),
        "buckets": capped(90, has_learning_rate=True),
        "perclass": REFUSED,
        "perclass4": by_data(1796),
        "perclasspow": by_data(1024),
    },
    "12-memory-that-grows": {
        "plain": BY_MEMORY,
        "epoch8k": BY_MEMORY,
        "validation": TOO_LARGE,
        "training": TOO_LARGE,
        "trainingsmall": TOO_LARGE,
    },
    "18-several-loaders": {
        "semi": by_data(256),
        "sequential": REFUSED,
        "own": by_data(1797),
        "ownnoattr": REFUSED,
    },
}
PREDICTED: dict[str, dict[str, Outcome]] = {
    "13-predicting-odd-steps": {
        **dict.fromkeys(["encoder", "nomask", "asked"], by_data(2000)),
        **dict.fromkeys(
            [
                "base",
                "accuracy",
                "lazy",
                "penalty",
                "ctc",
                "sparse",
                "compiled",
                "lbfgs",
                "fused",
                "spectral",
                "fourier",
                "topk",
                "printing",
                "numpyed",
                "listed",
                "tested",
                "triplet",
                "dated",
                "synced",
            ],
            by_data(1797),
        ),
    },
    "14-huggingface-predicted": dict.fromkeys(
        ["bert", "bertmlm", "t5", "llama", "llamackpt", "bart", "mixtral", "roberta"], BY_MEMORY
    ),
}


def outcomes(name: str, folder: Path, *flags: str) -> dict[str, Outcome]:
    """Run a copy of a folder of cases; return the outcomes by model."""
    source = FOLDERS / name
    if not source.is_dir():
        pytest.skip(f"there is no folder {source} beside this checkout")
    copied = folder / name
    shutil.copytree(source, copied)
    # The folders may be read-only, and their locks will be written.
    for path in (copied, *copied.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gpu-profile", *flags],
        cwd=copied,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    report = copied / ".gpu-profile" / "report.json"
    assert report.exists(), done.stdout
    cases = json.loads(report.read_text(encoding="utf-8"))["cases"]
    return {case["model"]: Outcome.of(case) for case in cases}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_measured_cases_end_right(name: str, tmp_path: Path) -> None:
    """Every model of the folder has its right batch size, and a learning rate where one is due."""
    assert MEASURED[name] == outcomes(name, tmp_path, "--gpu-profile-update")


@pytest.mark.slow
@pytest.mark.simulated
@pytest.mark.parametrize("name", PREDICTED)
def test_predicted_cases_end_right(name: str, tmp_path: Path) -> None:
    """Every model is predicted, or skipped where a simulated GPU cannot know."""
    flags = ("--gpu-profile-predict", "--gpu-profile-update")
    assert PREDICTED[name] == outcomes(name, tmp_path, *flags)
