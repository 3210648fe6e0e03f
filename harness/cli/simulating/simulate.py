"""The verb `gpu-profile simulate`: runs any program under GPUs that are not there."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.answers.answer import Answer, document_text
from harness.cli.common import say_aside
from harness.cli.simulating.child import find_program, run_program
from harness.cli.simulating.documents import simulate_document
from harness.cli.simulating.guardian import guarded
from harness.cli.simulating.peaks import as_text
from harness.cli.simulating.snapshots import keep_snapshots, snapshot_lines
from harness.errors import HarnessError
from harness.files import refuse_read_only, write_text
from harness.predict.gpus import assumed, by_label, called, simulated
from harness.simulated.environment import environment, inside
from harness.simulated.interpreter import torch_of
from harness.simulated.layout import MAX_GPUS
from harness.simulated.world import CONTEXT_BYTES, World
from harness.units import format_bytes, parse_size

if TYPE_CHECKING:
    import argparse

    from harness.simulated.world import SimulatedGpu


def simulate(options: argparse.Namespace) -> Answer:
    """Run the command of the options, print each process's peaks, and answer with its exit code.

    Standard output is the program's. Under `--json` without a path it is the document's, and what
    the program prints goes to standard error.

    Raises HarnessError for wrong options, where a simulated GPU cannot be had here, and where the
    program cannot be started.
    """
    if options.stray or not options.command:
        command = " ".join(options.stray) or "python train.py"
        raise HarnessError(
            "simulate needs a command behind `--`: "
            f"`gpu-profile simulate --gpu {options.gpu} -- {command}`"
        )
    if not 1 <= options.count <= MAX_GPUS:
        raise HarnessError(
            f"--count {options.count} is not allowed; a whole number from 1 to {MAX_GPUS}"
        )
    gpu = simulated_gpu(options.gpu, options.memory)
    path = Path(options.json) if isinstance(options.json, str) else None
    snapshot = None if options.snapshot is None else Path(options.snapshot)
    for written in filter(None, (path, snapshot)):
        # Before the program runs: nobody wants to lose the result of a long run.
        refuse_read_only(written)
    program = find_program(options.command)
    with tempfile.TemporaryDirectory(prefix="gpu-profile-") as folder:
        world = World.create(Path(folder) / "world", options.count * [gpu])
        variables = environment(world, torch_folder=torch_of(program))
        variables |= inside(Path(folder) if options.snapshot else None)
        with guarded(Path(folder), world):
            # Ranks may not wait for each other: one may have ended before another one trains.
            code = run_program(program, options.command, os.environ | variables, world.living)
        # A reader that has gone away, as `2>&1 | head` does, must not change the exit code.
        with suppress(BrokenPipeError):
            say_aside(as_text(world, code, os.environ.get("CUDA_VISIBLE_DEVICES")).rstrip("\n"))
        kept = [] if snapshot is None else keep_snapshots(Path(folder), snapshot, world)
        document = simulate_document(world, code, options.command, kept)
        if path is not None:
            write_text(path, document_text("simulate", document))
        if snapshot is not None:
            say_aside(snapshot_lines(kept))
    return Answer(code, document)


def simulated_gpu(label: str, memory: str | None) -> SimulatedGpu:
    """Return a GPU of the table of predictions, or one of any name with the memory that is given.

    label: a name as people write it. memory: its total as CUDA sees it, such as 24GiB; None: as in
    the table. Raises HarnessError for an unknown GPU without memory, and for a wrong memory.
    """
    total = None if memory is None else _total(memory)
    if called(label):
        return simulated(by_label(label), total)
    if total is not None:
        return simulated(assumed(label, total), total)
    try:
        return simulated(by_label(label))
    except HarnessError as error:
        raise HarnessError(f"{error}; give any other GPU its memory: --memory 24GiB") from None


def _total(memory: str) -> int:
    try:
        total = parse_size(int(memory) if memory.isdecimal() else memory)
    except ValueError as error:
        raise HarnessError(f"--memory {error}") from None
    if total <= CONTEXT_BYTES:
        raise HarnessError(
            f"--memory {memory} is not allowed; the CUDA context of a process alone takes "
            f"{format_bytes(CONTEXT_BYTES)}: give more, such as 24GiB"
        )
    return total
