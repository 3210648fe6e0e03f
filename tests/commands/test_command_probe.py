"""A probe of a command starts the program, bounds it from inside, and tells its endings apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_requests import train_request

from harness.commands import probe
from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from harness.protocol.messages import TrainResult

PROGRAMS = Path(__file__).parents[1] / "programs"
MIB = 1 << 20
# A batch of odd_endings.py takes some 48 KiB for each sample, so this one takes three budgets.
TOO_LARGE = 4000


@pytest.fixture(autouse=True)
def _of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables that a probe on the CPU has."""
    for name, value in CpuDevice.environment.items():
        monkeypatch.setenv(name, value)


def train(words: list[str], batch_size: int = 64, **options: Any) -> TrainResult:
    """Run a command at a batch size."""
    return probe.train(words, train_request(batch_size, **options), lambda _: None)


def ending(name: str) -> list[str]:
    """Return the command of a training that ends in this way."""
    return [sys.executable, str(PROGRAMS / "odd_endings.py"), name, "${batch_size}"]


@pytest.mark.parametrize("name", ["prints-oom", "retries-silently"])
def test_memory_that_runs_out_counts_even_if_the_program_catches_it(name: str) -> None:
    """It prints and ends without an error, or trains on with a smaller batch."""
    result = train(ending(name), TOO_LARGE)
    assert ("oom", True) == (
        result["outcome"],
        "DefaultCPUAllocator: can't allocate memory" in (result["detail"] or ""),
    )


@pytest.mark.parametrize(
    ("name", "outcome", "detail", "steps"),
    [
        ("raises", "error", "ValueError: the labels are wrong", 1),
        ("exits", "error", "the program exited with code 3: no such data set", 0),
        (
            "early",
            "error",
            (
                "the program ended after 1 optimizer step, and a probe needs 3 "
                "(search.steps_per_trial): let the command train longer, such as with --max-steps 3"
            ),
            1,
        ),
        (
            "nothing",
            "error",
            (
                "the program ended and took no optimizer step: see what it printed, whether its "
                "data hold a batch of this size, and whether it went on in the background"
            ),
            0,
        ),
        ("killed", "error", "the program was killed by SIGKILL", 4),
        ("noisy", "fits", None, 4),
        ("leaves-a-child", "fits", None, 4),
    ],
)
def test_endings_are_told_apart(name: str, outcome: str, detail: str | None, steps: int) -> None:
    """Own exceptions, exit codes, signals, too few steps and none each have words of their own."""
    result = train(ending(name))
    assert (outcome, detail, steps) == (result["outcome"], result["detail"], result["steps"])


@pytest.mark.parametrize(("settle", "steps", "notes"), [(True, 30, 1), (False, 3, 0)])
def test_a_program_that_goes_on_is_ended(settle: bool, steps: int, notes: int) -> None:
    """A probe has ten times its steps, with a note; a scout has its steps alone."""
    result = train(ending("endless"), settle=settle)
    assert ("fits", steps, notes) == (result["outcome"], result["steps"], len(result["notes"]))


def test_loader_workers_are_not_bounded_and_a_data_set_may_end_the_search() -> None:
    """They and their threads take nothing of the limit; a batch that no loader fills is an end."""
    loop = [sys.executable, str(PROGRAMS / "plain_loop.py"), "--batch-size=${batch_size}"]
    with_workers = train([*loop, "--workers", "2"])
    # Each worker has a thread, with a stack of 8 MiB as a rule.
    assert (with_workers["peak_memory_bytes"] or 0) < 8 * MIB
    too_few = train([*loop, "--samples", "100"], 128)
    assert ("fits", "dataset", "its largest loader of this batch size has 100 samples") == (
        with_workers["outcome"],
        too_few["outcome"],
        too_few["detail"],
    )


def test_a_shell_and_a_launcher_pass_it_on() -> None:
    """Each Python below the command is looked into, and those without torch cost nothing."""
    script = f"{sys.executable} -c 'print(1)'; exec {sys.executable} -m torch.distributed.run"
    launched = f"--standalone --nproc_per_node 1 {PROGRAMS / 'plain_loop.py'}"
    result = train(["bash", "-c", f"{script} {launched} --batch-size ${{batch_size}}"])
    assert ("fits", 4) == (result["outcome"], result["steps"])


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (["no-such-program", "${batch_size}"], "no-such-program: no such program on PATH"),
        (["echo", "${batch_size}"], "the program ended without a Python"),
        ([sys.executable, "-c", "print(${batch_size})"], "the program ended and did not import"),
        ([sys.executable, "-I", "-c", "import torch; ${batch_size}"], "the program ended without"),
    ],
)
def test_programs_that_train_nothing_are_explained(words: list[str], detail: str) -> None:
    """A program that is not there, none of Python's, one without torch, one that cannot be seen."""
    result = train(words)
    assert ("error", detail) == (result["outcome"], (result["detail"] or "")[: len(detail)])


def test_a_sitecustomize_of_the_users_runs_and_its_own_harness_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the program's own is hidden: neither the module nor a package called harness."""
    (tmp_path / "sitecustomize.py").write_text("print('mine ran', flush=True)\n")
    (tmp_path / "harness.py").write_text("OWN = 'my harness'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code = "import torch, harness, sys; sys.exit(harness.OWN)"
    result = train([sys.executable, "-c", code, "${batch_size}"])
    assert "mine ran\nmy harness" == (result["traceback"] or "")


def test_a_description_is_of_the_parameters_that_optimizers_hold() -> None:
    """One step tells them, the versions, and the limit; what it keeps is nobody's to know."""
    described = probe.describe(
        ending("ok"),
        {
            "task": "describe",
            "batch_size": 8,
            "bound": {"accelerator": "cpu", "budget_bytes": 64 * MIB},
            "trainer": {},
            "workload": None,
        },
    )
    assert described["outcome"] == "fits"
    workload = described["workload"]
    assert ("torch.optim.sgd.SGD", 64 * 4096 + 4096 + 4096 + 1, 4, None) == (
        workload["optimizer"],
        workload["num_parameters"],
        workload["num_tensors"],
        described["sources"],
    )
