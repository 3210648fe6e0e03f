"""Lets a case go on from the probes that an interrupted run has finished."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import WorkloadError
from harness.probes.kept_answers import NAME, KeptAnswers, forget, remove_logs
from harness.wording import listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.probes.open_cases import OpenCase

_log = logging.getLogger("harness")

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CPU_MODEL = "model name"


@contextmanager
def resuming(
    opened: OpenCase, recipe: str, made_with: Mapping[str, str]
) -> Iterator[KeptAnswers | None]:
    """Answer probes from what an interrupted run has kept, and keep what probes answer.

    An interruption and trouble of the machine leave the answers for the next run. A workload that
    fails is to be seen failing again, so it leaves none. Those of a case that is measured go at the
    end of the run.

    recipe: the digest of the case's recipe.
    made_with: the versions that the values are made with.

    Yields None where nothing can be kept because the workload's code cannot be told.
    """
    runner, sources = opened.runner, opened.description.sources
    path, run = runner.directory / NAME, opened.surroundings.run
    if sources is None:
        _log.info(
            "%s: the code of its workload is no set of files that can be read, so an interrupted "
            "run would begin anew",
            opened.case.id,
        )
        if path.is_file():
            path.unlink()
            remove_logs(runner.directory, runner.num_probes)
        yield None
        return
    valid_for = {
        "the workload": opened.description.fingerprint,
        "the recipe": recipe,
        "the code or a package": sources,
        "the device": _digest(_device(opened)),
        "versions": _digest(dict(made_with)),
    }
    with KeptAnswers(path, valid_for, run) as kept:
        remove_logs(runner.directory, runner.num_probes, kept.logs)
        if kept.changed:
            changed = listed(kept.changed)
            _log.info("%s: an earlier run did not finish, but %s changed", opened.case.id, changed)
        elif len(kept):
            _log.info(
                "%s: going on from %d answers of a run that did not finish",
                opened.case.id,
                len(kept),
            )
        runner.kept = kept
        try:
            yield kept
        except WorkloadError:
            forget(path, run)
            raise
        finally:
            runner.kept = None


def _device(opened: OpenCase) -> dict[str, Any]:
    """Return what tells the device, and what of this machine decides its speed."""
    device = opened.runner.device
    environment = {**os.environ, **device.environment}
    return {
        # A simulated GPU has the name of the real one.
        "kind": type(device).__name__,
        "name": device.identity.name,
        "memory": [device.identity.memory_bytes, device.total_bytes],
        "bound": device.bound,
        "count": device.identity.count,
        "settings": device.memory_settings,
        "threads": [os.cpu_count(), *(environment.get(name) for name in _THREADS)],
        "cpu": _cpu(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line for line in lines if line.startswith(_CPU_MODEL))
    return next(models, platform.machine())


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
