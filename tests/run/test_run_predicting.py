"""Whole runs of `pytest --gpu-profile --gpu-profile-predict`, for GPUs that are not here."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from projects import WORKLOADS, Project

import harness.predict.predicting
from harness.errors import UntraceableError
from harness.train_time import load_profile as tuned

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = """\
version: 1
matrix: {model: [net], gpu: [t4, cpu-64MiB], resolution: [1]}
models:
  net: {module: {class_path: planted.Net}}
gpus:
  t4: {name: Tesla T4, budget: 256MiB}
  cpu-64MiB: {accelerator: cpu, budget: 64MiB}
"""
CASE = "net-t4-1"
PREDICT = ("--gpu-profile", "--gpu-profile-predict")


@pytest.fixture
def source(project: Project) -> Path:
    """Make a project with a case for a GPU and one for the CPU; return the text of its workload."""
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX, encoding="utf-8")
    text = project.path / "profiles" / "planted.py"
    text.write_bytes((WORKLOADS / "predicted_net.py").read_bytes())
    return text


def change(source: Path, old: str, new: str) -> None:
    """Replace a part of the workload's text."""
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), encoding="utf-8")


def locked(project: Project) -> dict[str, Any]:
    """Read the only locked profile as any TOML reader does."""
    (profile,) = tomllib.loads(project.lock.read_text(encoding="utf-8"))["profile"]
    assert isinstance(profile, dict)
    return profile


def test_prediction_is_locked_and_a_regression_fails_and_names_the_module(
    project: Project,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A prediction is locked; then a change that keeps an activation alive fails the test.

    The message names the module that holds more. A case on the CPU is not predicted.
    """
    update = project.run(*PREDICT, "--gpu-profile-update")
    update.assert_outcomes(passed=1, skipped=1, deselected=1)
    update.stdout.fnmatch_lines(
        [
            "gpu-profile: 1 case to predict; nothing runs on a GPU",
            f"{CASE} *~* new *passed",
            "skipped net-cpu-64MiB-1: runs on the CPU, where it is measured*",
            "~ marks what was predicted with torch *",
        ]
    )
    profile = locked(project)
    largest = profile["predicted_batch_size"]
    assert ("predicted", largest, "memory") == tuple(
        profile[name] for name in ("source", "max_batch_size", "bounded_by")
    )
    assert 0.94 * largest < profile["batch_size"] < 0.96 * largest
    assert {"torch", "lightning", "rules"} <= {*profile["predicted_with"]}
    case = project.report()[CASE]
    assert ("predicted", largest) == (case["source"], case["predicted_batch_size"])

    change(
        source,
        "hidden = self.up(inputs).relu()",
        "self.kept = self.up(inputs)\n        hidden = self.kept.relu()",
    )
    worse = project.run(*PREDICT, "-k", "t4")
    worse.assert_outcomes(failed=1, deselected=2)
    now = project.report()[CASE]["max_batch_size"]
    assert now < largest
    worse.stdout.fnmatch_lines(
        [
            f"{CASE}: predicted max batch {now} (-*%) where {largest} is locked",
            f"*max batch  {largest} *{now} *at least {largest}",
            f"*what holds more memory at the peak of batch {largest} than when it was locked:",
            "    activation of blocks.0.up  0 B  ->  * MiB  +* MiB",
            '*pytest --gpu-profile --gpu-profile-predict --gpu-profile-update "test_profiles.py::*',
        ]
    )
    assert ["predicted_batch_size"] == [
        violation["bound"] for violation in project.report()[CASE]["violations"]
    ]

    monkeypatch.chdir(project.path)
    monkeypatch.setattr(tuned, "_warned", set[str]())
    with pytest.raises(harness.HarnessError, match="net is not locked for the GPU label h100"):
        harness.load_profile("net", gpu="h100")
    for _ in range(2):
        assert profile["batch_size"] == harness.load_profile("net", gpu="t4").batch_size
    assert 1 == sum(
        "was predicted and never measured" in record.message for record in caplog.records
    )


@pytest.mark.usefixtures("source")
def test_workload_that_cannot_be_traced_is_skipped_until_it_was(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workload that cannot be traced is skipped; where a prediction is locked, it fails."""

    def refuse(*_: object) -> NoReturn:
        raise UntraceableError(
            "the training cannot be traced in forward: model.py:7: it depends on the data"
        )

    monkeypatch.setattr(harness.predict.predicting, "predict_case", refuse)
    skipped = project.run(*PREDICT)
    skipped.assert_outcomes(skipped=2, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == skipped.ret
    skipped.stdout.fnmatch_lines(
        [
            f"skipped {CASE}: the training cannot be traced in forward: model.py:7: it",
            "nothing was predicted: *it can only be measured",
        ]
    )
    project.lock.write_text(LOCKED, encoding="utf-8")
    failed = project.run(*PREDICT)
    failed.assert_outcomes(failed=1, skipped=1, deselected=1)


def test_predicting_without_profiling_is_refused(project: Project) -> None:
    """The flag needs `--gpu-profile`; the ini key does not."""
    refused = project.run("--gpu-profile-predict")
    assert pytest.ExitCode.USAGE_ERROR == refused.ret
    refused.stderr.fnmatch_lines(
        ["*--gpu-profile-predict has no effect without --gpu-profile: add it"]
    )
    project.pytester.makeini("[pytest]\ngpu_profile_predict = true\n")
    project.run().assert_outcomes(passed=1, deselected=1)


LOCKED = """\
version = 1

[[profile]]
model = "net"
gpu = "t4"
resolution = 1
source = "predicted"
emulated = true
batch_size = 95
max_batch_size = 100
predicted_batch_size = 100
bounded_by = "memory"
memory_limit_bytes = 241591910
fingerprint = "sha256:f"
recipe = "sha256:r"

[profile.device]
name = "Tesla T4"
memory_bytes = 268435456
"""
