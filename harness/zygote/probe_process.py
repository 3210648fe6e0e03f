"""Runs the request of a probe in its process: a fork of the zygote, or a new Python."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from json import JSONDecoder, JSONEncoder
from os import _exit, dup2, execve
from typing import TYPE_CHECKING

from harness.pipes import KeptPipe
from harness.zygote.process_state import stop_timers
from harness.zygote.rank_place import take_place
from harness.zygote.supervisor import flush_streams
from harness.zygote.workload_setup import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol.case import CaseSpec, WorkloadSpec
    from harness.protocol.messages import (
        Afresh,
        Phase,
        Report,
        Request,
        Result,
        TellPhase,
        TrainRequest,
    )
    from harness.workload.build import Workload
    from harness.zygote.workload_setup import Built

COMMAND = [sys.executable, "-P", "-m", "harness.zygote"]
PROBE = "--probe"
"""The argument of a zygote's program that makes it a probe."""
ENVIRONMENT = dict(os.environ)
"""The environment before the user's code may change it."""

_encode = JSONEncoder().encode


def build_and_run(spec: WorkloadSpec, request: Request, writer: KeptPipe) -> None:
    """Build a workload in this probe, and run the task with it."""
    try:
        built = build(spec)
    except BaseException as error:  # noqa: BLE001 - the user's constructors may raise anything
        from harness.failures.explain import explain  # noqa: PLC0415 - imports torch

        _tell(explain(error), writer)
    else:
        stop_timers()
        run(built, request, writer)


def run(built: Built, request: Request, writer: KeptPipe) -> None:
    """Run the task of a probe and write its result."""
    _tell(_do(built, request, writer), writer)


def _tell(result: Result, writer: KeptPipe) -> None:
    _report(writer, {"result": result})
    if result["outcome"] != "fits" and result["traceback"]:
        with suppress(OSError):
            flush_streams()
            os.write(2, result["traceback"].encode())


def _do(built: Built, request: Request, writer: KeptPipe) -> Result:  # noqa: PLR0911 - one a task
    def tell(phase: Phase) -> None:
        _report(writer, {"phase": phase})

    if built.command is not None:
        return _do_command(built.command, request, tell)
    workload = built.workload
    assert workload is not None, "what is no command is a workload"
    # Imported here, because torch must not be imported before the environment is in place.
    if request["task"] == "train":
        return _train(workload, request, tell)
    if request["task"] == "infer":
        from harness.probe_tasks.infer import infer  # noqa: PLC0415

        return infer(workload, request, tell)
    if request["task"] == "lr_range":
        from harness.probe_tasks.lr_sweep import sweep  # noqa: PLC0415

        return sweep(workload, request, tell, lambda steps: _report(writer, {"steps": steps}))
    if request["task"] == "rates":
        from harness.probe_tasks.group_rates import group_rates  # noqa: PLC0415

        return group_rates(workload, request, tell)
    if request["task"] == "loading":
        from harness.probe_tasks.loading import loading  # noqa: PLC0415

        return loading(workload, request, tell)
    if request["task"] == "lr_strategy":
        from harness.zygote.lr_strategy import read_sweeps  # noqa: PLC0415

        return read_sweeps(request, tell)
    if request["task"] == "holders":
        from harness.probe_tasks.holders import holders  # noqa: PLC0415

        return holders(workload, request, tell)
    from harness.probe_tasks.describe import describe  # noqa: PLC0415

    return describe(workload, request, tell, built.torch_settings)


def _train(workload: Workload, request: TrainRequest, tell: TellPhase) -> Result:
    if "timed_seconds" in request:
        from harness.probe_tasks.timing import time_steps  # noqa: PLC0415

        return time_steps(workload, request, tell)
    from harness.probe_tasks.train import train  # noqa: PLC0415

    if "buckets" not in request:
        return train(workload, request, tell)
    from harness.probe_tasks.buckets import BucketData  # noqa: PLC0415 - others never need it

    return train(workload, request, tell, data=BucketData(request["buckets"]))


def _do_command(command: Sequence[str], request: Request, tell: TellPhase) -> Result:
    from harness.commands import probe  # noqa: PLC0415 - only commands pay for it

    if request["task"] == "train":
        return probe.train(command, request, tell)
    if request["task"] == "describe":
        return probe.describe(command, request)
    detail = f"a command cannot be asked for `{request['task']}`"
    return {"outcome": "error", "detail": detail, "traceback": None}


def _report(writer: KeptPipe, report: Report) -> None:
    writer.send(report)


def end(code: int) -> None:
    """Exit at once: unloading torch would take a second."""
    flush_streams()
    _exit(code)


def cuda_trouble() -> str | None:
    """Return the reason why this fork cannot use CUDA; None if it can."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return "starts CUDA" if torch.cuda._is_in_bad_fork() else None  # noqa: SLF001 - no public way


def start_afresh(case: CaseSpec, request: Request, writer: int) -> None:
    """Replace this fork by a new Python in the same process, which builds the workload itself."""
    memory = os.memfd_create("request")
    afresh: Afresh = {"case": case, "request": request, "writer": writer}
    data = memoryview(_encode(afresh).encode())
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    dup2(memory, 0)
    os.set_inheritable(writer, True)
    # The constructors will change folder and environment again. Python starts in no deleted one.
    if case["directory"] is not None:
        os.chdir(case["directory"])
    execve(COMMAND[0], [*COMMAND, PROBE], ENVIRONMENT)  # noqa: S606 - itself, again


def probe_afresh() -> None:
    """Build the workload and run the request as its probe."""
    with open(0, encoding="utf-8", closefd=False) as stream:
        given: Afresh = JSONDecoder().decode(stream.read())
    dup2(os.open(os.devnull, os.O_RDONLY), 0)
    writer = KeptPipe(given["writer"])
    os.set_inheritable(writer.number, False)
    sys.path[:] = given["case"]["sys_path"]
    guard_imports()
    request = given["request"]
    take_place(request["bound"].get("place"))
    build_and_run(request["workload"] or given["case"]["workload"], request, writer)


def guard_imports() -> None:
    """Refuse imports from the folders that the environment names, if it names any."""
    if "GPU_PROFILE_NO_IMPORTS_FROM" in ENVIRONMENT:
        from harness.workload.import_guard import guard  # noqa: PLC0415 - few probes have it

        guard()
