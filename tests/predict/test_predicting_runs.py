"""Whole runs of `pytest --gpu-profile --gpu-profile-predict`, for GPUs that are not here."""

from __future__ import annotations

import re
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from projects import WORKLOADS, Project
from simulated_runs import PYTEST
from simulated_worlds import h100, inside

import harness
from harness.simulated.library import cache
from harness.train_time import load_profile as tuned

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated

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


# Before pytester gives each test a home of its own, where the library would be compiled anew.
CACHE = str(cache().parent)


@pytest.fixture
def source(project: Project, torch_server: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project with a case for a GPU and one for the CPU; return the text of its workload."""
    assert torch_server is not None  # it skips where no GPU can be simulated
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
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


def test_prediction_is_locked_and_a_regression_fails_and_names_module_and_line(
    project: Project,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A prediction is locked; then a change that keeps an activation alive fails the test.

    The message names the module and the line that hold more. A case on the CPU is not predicted.
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
    assert profile["batch_size"] < largest
    assert {"torch", "lightning", "simulated"} <= {*profile["predicted_with"]}
    case = project.report()[CASE]
    assert ("predicted", largest) == (case["source"], case["predicted_batch_size"])
    seen = {probe["batch_size"]: probe["outcome"] for probe in case["probes"]}
    assert ("fits", "oom") == (seen[largest], seen[largest + 1])

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
            "    activation of blocks.*.up  *  -> * MiB  +* MiB  profiles/planted.py:20",
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


def test_error_behind_a_value_is_skipped_until_it_was_predicted(
    project: Project, source: Path
) -> None:
    """A training that fails because of a zero is not called broken; a locked prediction fails."""
    change(
        source,
        "hidden = self.first(batch[0])",
        "hidden = self.first(batch[0])\n"
        "        if hidden.abs().sum().item() == 0:\n"
        "            raise ValueError('dead features')",
    )
    skipped = project.run(*PREDICT)
    skipped.assert_outcomes(skipped=2, deselected=1)
    assert pytest.ExitCode.TESTS_FAILED == skipped.ret
    skipped.stdout.fnmatch_lines(
        [
            f"skipped {CASE}: batch 1 failed in forward: ValueError: dead features",
            "  (profiles/planted.py:39 read a value, *",
            "*it can only be measured",
            "nothing was predicted: *it can only be measured",
        ]
    )
    project.lock.write_text(LOCKED, encoding="utf-8")
    failed = project.run(*PREDICT)
    failed.assert_outcomes(failed=1, skipped=1, deselected=1)


def test_broken_training_fails_with_its_traceback(project: Project, source: Path) -> None:
    """An error that no value can have caused is the training's own."""
    change(source, "self.last(hidden), batch[1])", "self.last(hidden[:, :7]), batch[1])")
    failed = project.run(*PREDICT, "-k", "t4")
    failed.assert_outcomes(failed=1, deselected=2)
    failed.stdout.fnmatch_lines(
        [
            "*no batch size trains: batch 1 failed*: RuntimeError: mat1 and mat2 shapes*",
            "*self.last(hidden*",
        ]
    )


def test_one_zygote_serves_all_gpus_and_resolutions(project: Project, source: Path) -> None:
    """Cases of one model are predicted one after another, and only the first builds anew."""
    matrix = MATRIX.replace("cpu-64MiB], resolution: [1]", "h100], resolution: [16, 32]")
    matrix = matrix.replace(
        "gpus:\n", "gpus:\n  h100: {name: NVIDIA H100 80GB HBM3, budget: 256MiB}\n"
    ).replace("planted.Net}", 'planted.Net, init_args: {width: "${resolution}"}}')
    (project.path / "profiles" / "matrix.yaml").write_text(matrix, encoding="utf-8")
    begin = "        super().__init__()\n        self."
    change(
        source,
        f"def __init__(self) -> None:\n{begin}batch_size",
        f"def __init__(self, width: int) -> None:\n{begin}width = width\n        self.batch_size",
    )
    change(source, "nn.Linear(16, 256)", "nn.Linear(width, 256)")
    change(source, "torch.zeros(60_000, 16)", "torch.zeros(60_000, self.width)")
    project.run(*PREDICT, "--gpu-profile-update").assert_outcomes(passed=4, deselected=1)
    results = project.path / ".gpu-profile"
    assert ["net-t4-16"] == [path.parent.name for path in results.glob("*/zygote.log")]
    text = (project.path / "profiles" / "gpu-profile.lock").read_text(encoding="utf-8")
    kinds = {
        (profile["resolution"], profile["fingerprint"])
        for profile in tomllib.loads(text)["profile"]
    }
    assert [16, 32] == sorted(resolution for resolution, _ in kinds)


def test_prediction_equals_the_search_on_that_gpu(
    project: Project, source: Path, worlds: Worlds
) -> None:
    """A run where the GPU is found ends on the batch that a run without it predicts."""
    matrix = MATRIX.replace("t4, cpu-64MiB", "h100").partition("gpus:")[0]
    matrix += "gpus: {h100: {name: NVIDIA H100*, budget: 512MiB}}\n"
    (project.path / "profiles" / "matrix.yaml").write_text(matrix, encoding="utf-8")
    project.run(*PREDICT)
    predicted = project.report()["net-h100-1"]["max_batch_size"]
    subprocess.run(
        PYTEST, env=inside(worlds.make(h100())), cwd=project.path, check=False, capture_output=True
    )
    measured = project.report()["net-h100-1"]
    assert ("measured", predicted) == (measured["source"], measured["max_batch_size"])


def test_locked_prediction_is_found_again_in_two_probes(project: Project, source: Path) -> None:
    """The search starts from the locked prediction, also where a measured maximum stands beside."""
    assert source.exists()
    project.run(*PREDICT, "--gpu-profile-update")
    largest = locked(project)["predicted_batch_size"]
    text = project.lock.read_text(encoding="utf-8").replace('source = "predicted"\n', "")
    measured = text.replace(
        f"\nmax_batch_size = {largest}\n", f"\nmax_batch_size = {largest + 500}\n"
    )
    assert measured != text
    project.lock.write_text(measured, encoding="utf-8")
    project.run(*PREDICT, "-k", "t4").assert_outcomes(passed=1, deselected=2)
    case = project.report()[CASE]
    probes = [(probe["batch_size"], probe["outcome"]) for probe in case["probes"]]
    assert [(largest, "fits"), (largest + 1, "oom")] == probes


def test_what_the_memory_allows_beyond_a_setting_is_told(project: Project, source: Path) -> None:
    """Where the cap ends the search, a note tells the batch that fills the memory, but for 1%."""
    matrix = project.path / "profiles" / "matrix.yaml"
    capped = MATRIX.replace("[net]", "[net, capped]").replace(
        "gpus:",
        "  capped: {module: {class_path: planted.Net}, search: {max_batch_size: 16}}\ngpus:",
    )
    assert source.exists()
    matrix.write_text(capped, encoding="utf-8")
    project.run(*PREDICT)
    cases = project.report()
    largest = cases[CASE]["predicted_batch_size"]
    assert 16 == cases["capped-t4-1"]["predicted_batch_size"]
    (note,) = [text for text in cases["capped-t4-1"]["warnings"] if "memory allows" in text]
    told = re.search(r"ends the search at batch 16; the memory allows about (\d+), by", note)
    assert told is not None
    assert abs(int(told[1]) / largest - 1) < 0.01


def test_prediction_says_that_the_fastest_batch_needs_a_measurement(
    project: Project, source: Path
) -> None:
    """With `objective: throughput` the largest batch is predicted, without a speed, and told so."""
    assert source.exists()
    matrix = project.path / "profiles" / "matrix.yaml"
    matrix.write_text(MATRIX + "search: {objective: throughput}\n", encoding="utf-8")
    result = project.run(*PREDICT, "--gpu-profile-update")
    result.stdout.fnmatch_lines([f"{CASE}: search.objective: throughput needs a measurement: *"])
    profile = locked(project)
    assert profile["batch_size"] > 0.8 * profile["max_batch_size"]
    assert "samples_per_second" not in profile
