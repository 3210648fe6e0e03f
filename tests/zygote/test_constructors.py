"""Workloads that change the process that builds or trains them: it goes on, or says why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from projects import workload

from harness.errors import WorkloadError
from harness.probes.log_files import HEAD_BYTES, TAIL_BYTES

if TYPE_CHECKING:
    from projects import StartRunner


@pytest.mark.parametrize(
    ("name", "reason"),
    [("TakesOver", None), ("TakesOverWithAThread", "starts 1 thread (feeder)")],
)
def test_constructor_that_takes_the_process_over(
    start_zygote: StartRunner, name: str, reason: str | None
) -> None:
    """Streams, json, os.fork, signals, timers, umask, descriptors, folder, environment: it trains.

    The training finds them as the constructor left them, and its output is in the probe's log.
    """
    runner = start_zygote(workload(f"constructor_zoo.{name}"))
    probes = [runner.train(4, steps=2) for _ in range(2)]
    assert [("fits", None)] * 2 == [(probe.outcome, probe.detail) for probe in probes]
    assert reason == runner.afresh
    outputs = [Path(probe.log or "").read_text(encoding="utf-8") for probe in probes]
    assert [1, 1] == [output.count("trains here\n") for output in outputs]
    if reason is None:  # a new Python builds it itself
        assert [0, 0] == [output.count("built here") for output in outputs]


@pytest.mark.usefixtures("new_zygotes")
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("EndsInInit", {}, "builds the workload ended itself without an error (os._exit or the"),
        ("ClosesAllInInit", {}, "can no longer be heard: the workload has closed descriptors that"),
        ("WritesInInit", {"text": "no json\n"}, "sent `no json`, where its protocol has failed"),
        ("WritesInInit", {"text": "[1]\n"}, "sent `[1]`, where its protocol has failed, ready"),
    ],
)
def test_constructor_that_makes_its_process_unheard(
    start_zygote: StartRunner, name: str, arguments: dict[str, str], words: str
) -> None:
    """The error says what the constructor did; no process is left."""
    before = {*psutil.Process().children(recursive=True)}
    with pytest.raises(WorkloadError) as caught:
        start_zygote(workload(f"constructor_zoo.{name}", module_args=arguments))
    assert words in str(caught.value)
    assert caught.value.log is not None
    # A process of an earlier test may end meanwhile.
    assert set() == {*psutil.Process().children(recursive=True)} - before


def test_constructor_that_forks_is_built_once(start_zygote: StartRunner) -> None:
    """The child that a constructor leaves behind does not become a second zygote."""
    runner = start_zygote(workload("constructor_zoo.ForksInInit"))
    assert ["fits"] * 2 == [runner.train(4, steps=2).outcome for _ in range(2)]


@pytest.mark.parametrize(
    ("what", "detail"),
    [
        ("forge", "reported a wrong result (peak_memory_bytes: Input should be a valid integer"),
        ("write", "reported `5`, which is no report: the workload writes to descriptors that it"),
        ("kill_the_supervisor", "was ended because the process that watches it was killed by SIG"),
        pytest.param("stop_the_supervisor", "timed out after 3 s", marks=pytest.mark.slow),
        ("print_for_ever", "timed out after 3 s"),
        pytest.param("report_for_ever", "timed out after 3 s", marks=pytest.mark.slow),
        ("close_all", "exited with code 1: the workload has closed descriptors that it had not op"),
    ],
)
def test_step_that_disturbs_its_supervisor_fails_alone(
    start: StartRunner, what: str, detail: str
) -> None:
    """Each probe fails with what was done to it, and the zygote goes on to the next."""
    timeout = 3.0 if "timed out" in detail else 120.0
    spec = workload("constructor_zoo.Misbehaves", module_args={"what": what})
    runner = start(spec, timeout=timeout)
    probes = [runner.train(4, steps=2) for _ in range(2)]
    assert ["error"] * 2 == [probe.outcome for probe in probes]
    assert [True] * 2 == [(probe.detail or "").startswith(detail) for probe in probes], probes


def test_step_that_kills_the_zygote(start_zygote: StartRunner) -> None:
    """The error says that the workload had been built by then."""
    runner = start_zygote(
        workload("constructor_zoo.Misbehaves", module_args={"what": "kill_the_zygote"})
    )
    with pytest.raises(WorkloadError) as caught:
        runner.train(4, steps=2)
    assert str(caught.value).startswith(
        "the workload was built, but then the process that forks its probes was killed by SIGKILL"
    )


def test_log_keeps_beginning_and_end_of_much_output(
    start_zygote: StartRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that prints 40 MiB leaves 2 MiB, and dies of what it dies of.

    What the terminal's encoding does not have can be printed there.
    """
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    runner = start_zygote(
        workload("constructor_zoo.Misbehaves", module_args={"what": "print_much"})
    )
    probe = runner.train(4, steps=2)
    assert "exited with code 3" == probe.detail
    log = Path(probe.log or "").read_bytes()
    assert "first words\nfünf \N{SNOWMAN} \\udcff\n".encode() in log
    assert b"\n[gpu-profile: 38.0 MiB of output are left out here]\n" in log
    assert log.endswith(b"\nlast words \xff\n")
    assert HEAD_BYTES + TAIL_BYTES <= len(log) < HEAD_BYTES + TAIL_BYTES + (128 << 10)
