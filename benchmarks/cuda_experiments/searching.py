"""Experiments 4, 7 and 14: largest batches beside the simulation's, and cold searches."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cuda_experiments.models import LEAST, SMALL, WORKLOADS, main_workload
from cuda_experiments.processes import variables
from cuda_experiments.setting import told
from harness.batch_search.histories import recorded_histories
from harness.batch_search.training import SCOUTING_STEPS
from harness.search.search import search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cuda_experiments.setting import Note, Setting
    from harness.measurement import Probe
    from harness.probes.runner import ProbeRunner
    from harness.search.search import SearchResult

_STEPS = 3
_NUM_COLD, _NUM_TURNS = 5, 2
_MAXIMUM = 65536
_EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
_ALLOCATOR = "expandable segments"
CONFIGURATIONS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "plain": ({}, {}),
    _ALLOCATOR: (_EXPANDABLE, {}),
    "cudnn.benchmark": ({}, {"benchmark": True}),
    "expandable segments, cudnn.benchmark": (_EXPANDABLE, {"benchmark": True}),
}
"""The environment and the Trainer's settings of each configuration."""


@contextmanager
def ahead(
    make: Callable[[str], ProbeRunner], names: list[str]
) -> Iterator[Iterator[tuple[str, ProbeRunner | Exception]]]:
    """Yield an iterator over runners; while one is used, the zygote of the next one is started.

    A zygote never starts CUDA, so what is measured on the GPU meanwhile stays the same. A runner
    that cannot be started is its exception. Each is closed before the next one is handed out.
    """
    runners = {name: make(name) for name in names}
    # Zygotes die with the thread that has started them: this one lives as long as all of them.
    starter = ThreadPoolExecutor(1)

    def each() -> Iterator[tuple[str, ProbeRunner | Exception]]:
        if not names:
            return
        coming = starter.submit(runners[names[0]].__enter__)
        for name, following in zip(names, [*names[1:], None], strict=True):
            try:
                runner: ProbeRunner | Exception = coming.result()
            except Exception as error:  # noqa: BLE001 - the other runners go on
                runner = error
            if following is not None:
                coming = starter.submit(runners[following].__enter__)
            yield name, runner
            runners[name].close()

    try:
        yield each()
    finally:
        # This ends a start that is under way, too; one may just begin. Where the start waits for
        # its zygote at this moment, it goes on to its end: two threads cannot wait for one process.
        for runner in runners.values():
            with suppress(RuntimeError):
                runner.close()
        starter.shutdown(cancel_futures=True)
        for runner in runners.values():
            runner.close()


def find_largest(
    runner: ProbeRunner, note: Note, name: str, locked: int | None = None
) -> SearchResult[Probe]:
    """Search as gpu-profile does, with a validation batch in every probe; note each of them."""
    with recorded_histories(runner, allow_thrashing=True) as histories:

        def probe(size: int) -> Probe:
            found = trained(runner, size, histories.file(size))
            note(f"{name}, batch {size}", facts_of(found))
            return found

        def scout(size: int) -> Probe:
            found = runner.train(
                size,
                steps=SCOUTING_STEPS,
                validation_steps=1,
                settle=False,
                history=histories.file(size),
            )
            note(f"{name}, scout {size}", facts_of(found))
            return found

        return search(
            probe,
            scout=scout,
            memory_limit_bytes=_limit_of(runner),
            locked=locked,
            estimator=histories.estimator(_limit_of(runner)),
        )


def trained(runner: ProbeRunner, size: int, history: Path | None = None) -> Probe:
    """Probe one batch as gpu-profile does."""
    return runner.train(size, steps=_STEPS, validation_steps=1, history=history)


def facts_of(probe: Probe) -> dict[str, Any]:
    """Return what a probe has shown; bytes are those of torch's allocator."""
    return {
        "outcome": probe.outcome,
        "phase": probe.phase,
        "allocated_bytes": probe.peak_allocated_bytes,
        "reserved_bytes": probe.peak_memory_bytes,
        "non_torch_bytes": probe.non_torch_bytes,
        "retries": probe.alloc_retries,
        "seconds": round(probe.seconds, 2),
        "detail": probe.detail,
    }


def eight_workloads(setting: Setting, note: Note) -> None:
    """Train given batches of each workload, and search its B, beside the simulation's values.

    The search begins with the simulation's B. Where that is not known, it begins with nothing.
    """
    specs = LEAST if setting.cut_down else WORKLOADS
    known = setting.expected.get("workloads", {})
    left = [name for name in specs if name not in note]
    with ahead(lambda name: setting.runner(name, specs[name]), left) as runners:
        for name, runner in runners:
            try:
                _one_workload(note, name, runner, known.get(name, {}))
            except Exception as error:  # noqa: BLE001 - the other workloads go on
                note(name, {"error": told(error)})


def _one_workload(
    note: Note,
    name: str,
    runner: ProbeRunner | Exception,
    expected: dict[str, Any],
) -> None:
    if isinstance(runner, Exception):
        raise runner
    runner.describe()
    known = expected.get("batches", {})
    # The peaks first: a search may take the rest of the time.
    _at_given_batches(note, name, runner, [int(size) for size in known], known)
    started = time.monotonic()
    result = find_largest(runner, note, name, expected.get("B"))
    fact = {
        "B": result.max_batch_size,
        "bounded_by": result.bounded_by,
        "exact": result.exact,
        "limit_bytes": runner.memory_limit_bytes,
        "seconds": round(time.monotonic() - started, 1),
        "simulated": {key: value for key, value in expected.items() if key != "batches"},
    }
    if not known:
        sizes = {max(1, result.max_batch_size // part) for part in (4, 2)}
        _at_given_batches(note, name, runner, sorted(sizes), {})
    note(name, fact)


def _at_given_batches(
    note: Note, name: str, runner: ProbeRunner, sizes: list[int], known: dict[str, Any]
) -> None:
    for size in sizes:
        key = f"{name}, given batch {size}"
        if key not in note:
            simulated = {"simulated": known[str(size)]} if known else {}
            note(key, facts_of(trained(runner, size)) | simulated)


def cold_searches(setting: Setting, note: Note) -> None:
    """Run five cold searches in new zygotes: of ConvNeXt, whose searches are short."""
    first = SMALL if setting.cut_down else "convnext"
    spec = (LEAST | WORKLOADS)[first]
    turns = [f"{first}, turn {turn + 1}" for turn in range(1 if setting.cut_down else _NUM_COLD)]
    turns = [turn for turn in turns if turn not in note]
    with ahead(lambda name: setting.runner(name, spec), turns) as runners:
        for name, runner in runners:
            _cold(note, name, runner)


def configured_searches(setting: Setting, note: Note) -> None:
    """Run cold searches of ResNet-50, in turn for each configuration."""
    spec = main_workload(cut_down=setting.cut_down)
    for turn in range(1 if setting.cut_down else _NUM_TURNS):
        for name, (environment, trainer) in setting.some(CONFIGURATIONS, _ALLOCATOR).items():
            key = f"{name}, turn {turn + 1}"
            if key in note:
                continue
            with variables(environment), setting.runner(key, spec, trainer) as runner:
                _cold(note, key, runner)


def _cold(note: Note, name: str, runner: ProbeRunner | Exception) -> None:
    """Search with nothing known; an error is the turn's fact, and the other turns go on."""
    try:
        note(name, _searched(note, name, runner))
    except Exception as error:  # noqa: BLE001 - any error is the fact
        note(name, {"error": told(error)})


def _searched(note: Note, name: str, runner: ProbeRunner | Exception) -> dict[str, Any]:
    if isinstance(runner, Exception):
        raise runner
    runner.describe()
    started = time.monotonic()
    result = find_largest(runner, note, name)
    return {
        "B": result.max_batch_size,
        "bounded_by": result.bounded_by,
        "exact": result.exact,
        "num_probes": len(result.probes),
        "seconds": round(time.monotonic() - started, 1),
    }


def _limit_of(runner: ProbeRunner) -> int:
    bound = runner.device.bound
    assert bound["accelerator"] == "cuda", "experiments run on a GPU"
    budget = bound["budget_bytes"] or runner.device.identity.memory_bytes
    return int(budget * bound["fraction"])
