"""The text of a lockfile that tests read and damage."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from harness.lockfile.profiles import read_lock
from harness.lockfile.toml_text import LockError
from harness.lockfile.write import write_candidate

if TYPE_CHECKING:
    from pathlib import Path

    from harness.lockfile.profiles import LockedProfile

# The example of the documentation.
EXAMPLE = """\
version = 1

[[profile]]
model = "resnet18"
gpu = "h200"
resolution = 224
batch_size = 3328
max_batch_size = 3712
validation_batch_size = 8192
bounded_by = "memory"
learning_rate = 0.00316
learning_rates = [0.0031, 0.00316, 0.0034]
learning_rate_range = [0.002107, 0.00474]
lr_horizon = 40
peak_memory_bytes = 125876543488
memory_limit_bytes = 135711850905
samples_per_second = 10340.0
fingerprint = "sha256:f1"
recipe = "sha256:r1"

[profile.device]
name = "NVIDIA H200"
memory_bytes = 150754820096

[profile.made_with]
torch = "2.11.0"
cuda = "13.0"
driver = "580.159.03"
lightning = "2.6.6"
"""


def refusal(path: Path, text: str | bytes) -> str:
    """Write a lockfile that is refused; return the message."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LockError) as caught:
        read_lock(path)
    return str(caught.value)


def run_of(path: Path, name: str, *profiles: LockedProfile, report: bool = True) -> Path:
    """Write the files of a run that measured these profiles; return the path of its candidate."""
    folder = path.parent / name
    folder.mkdir()
    write_candidate(folder / "candidate.lock", path, profiles)
    cases = [
        {"id": profile.case_id, "status": "passed", "device": asdict(profile.device)}
        for profile in profiles
    ]
    if report:
        report_text = json.dumps(
            {
                "version": 1,
                "cases": [*cases, {"id": "skipped", "status": "skipped", "device": None}],
            }
        )
        (folder / "report.json").write_text(report_text, encoding="utf-8")
    return folder / "candidate.lock"


def line_of(text: str, part: str) -> int:
    """Return the number of the first line that holds `part`."""
    return next(number for number, line in enumerate(text.split("\n"), 1) if part in line)
