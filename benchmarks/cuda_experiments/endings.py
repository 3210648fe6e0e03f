"""Experiments 8 and 10: the return of memory after a kill, and tensors beyond 2^31 elements."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from cuda_experiments.identity import used_bytes
from cuda_experiments.large import OPERATIONS
from cuda_experiments.setting import start_child

if TYPE_CHECKING:
    from cuda_experiments.setting import Facts, Setting

_NUM_KILLS = 3
# NVML's count varies by this much without any cause here.
_NOISE_BYTES = 64 << 20
_PATIENCE_SECONDS = 30.0


def killed_in_a_step(setting: Setting) -> Facts:
    """Kill a computing process that holds memory; time its end and the return of its memory."""
    size = min(setting.budget_bytes, 16 << 30)
    for turn in range(1 if setting.dry_run else _NUM_KILLS):
        before = used_bytes() if setting.cuda else 0
        process = start_child(
            "hold", dict(setting.device().environment), cuda=setting.cuda, num_bytes=size
        )
        assert process.stdout is not None
        said = process.stdout.readline()
        held = used_bytes() - before if setting.cuda else size
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        fact = {
            "said": said.strip(),
            "held_bytes": held,
            "seconds until the end": round(time.monotonic() - started, 3),
        }
        if setting.cuda:
            while (
                used := used_bytes()
            ) > before + _NOISE_BYTES and time.monotonic() - started < _PATIENCE_SECONDS:
                time.sleep(0.02)
            fact |= {
                "seconds until the memory is back": round(time.monotonic() - started, 3),
                "left_bytes": used - before,
            }
        yield f"kill {turn + 1}", fact


def large_tensors(setting: Setting) -> Facts:
    """Cross 2^31 elements in each operation, in a process of its own."""
    setting.require_cuda()
    for name in OPERATIONS:
        yield name, setting.child("large", 90.0, operation=name)
