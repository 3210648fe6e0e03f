"""Experiments 8 and 10: the return of memory after a kill, and tensors beyond 2^31 elements."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from cuda_experiments.identity import used_bytes
from cuda_experiments.processes import end, start_child

if TYPE_CHECKING:
    from cuda_experiments.setting import Note, Setting

_NUM_KILLS = 3
# NVML's count varies by this much without any cause here.
_NOISE_BYTES = 64 << 20
_PATIENCE_SECONDS = 30.0
_LARGE_SECONDS = 30.0


def killed_in_a_step(setting: Setting, note: Note) -> None:
    """Kill a computing process that holds memory; time its end and the return of its memory."""
    for turn in range(1 if setting.cut_down else _NUM_KILLS):
        before = used_bytes()
        process = start_child("hold", setting.environment(), num_bytes=setting.budget_bytes)
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            held = used_bytes() - before
            started = time.monotonic()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        finally:
            end(process)
        gone = time.monotonic() - started
        while (
            used := used_bytes()
        ) > before + _NOISE_BYTES and time.monotonic() - started < _PATIENCE_SECONDS:
            time.sleep(0.02)
        note(
            f"kill {turn + 1}",
            {
                "said": said.strip(),
                "held_bytes": held,
                "seconds until the end": round(gone, 3),
                "seconds until the memory is back": round(time.monotonic() - started, 3),
                "left_bytes": used - before,
            },
        )


def large_tensors(setting: Setting, note: Note) -> None:
    """Cross 2^31 elements in each operation, in a fork of its own."""
    with setting.server("large") as server:
        names = server.ask("operations", _LARGE_SECONDS)["answer"]
        for name in setting.some(dict.fromkeys(names), "relu"):
            if name in note:
                continue
            note(name, server.ask("large", _LARGE_SECONDS, operation=name))
