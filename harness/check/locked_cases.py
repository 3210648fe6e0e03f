"""Compares a lockfile with the cases of a matrix; each workload is built once, on the CPU."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bounds.verdict import Violation
from harness.devices.cpu import UNBOUNDED
from harness.errors import WorkloadError
from harness.identity.fingerprint import mapping_changes, workload_changes
from harness.identity.recipe import recipe
from harness.identity.same_workload import same_workload
from harness.measurement import DeviceIdentity
from harness.probes.open_cases import open_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.lockfile.profiles import Lock, LockedProfile
    from harness.matrix.case import Case
    from harness.probes.description import Description
    from harness.probes.open_cases import OpenCase, Surroundings

_ENVIRONMENT = "environment."


class LockedCases:
    """The locked profiles of cases, beside what the cases are now.

    surroundings: asked for before each workload is built, because pytest extends `sys.path` while
        it collects.
    """

    def __init__(self, lock: Lock, surroundings: Callable[[], Surroundings]) -> None:
        self._lock = lock
        self._surroundings = surroundings
        self._built: dict[str, Description | WorkloadError] = {}

    def profiles(self, case: Case) -> list[LockedProfile]:
        """Return the profiles of a case on devices that its GPU label matches."""
        return [one for one in self._lock.of_case(case.id) if describes(one, case)]

    def stale(self, case: Case) -> list[Violation]:
        """Return what has changed since the profiles of a case were locked.

        The program of a command is not run: only its settings, and so its words, are compared.

        Raises WorkloadError when the workload cannot be built.
        """
        if case.workload.get("command") is not None:
            changes = [recipe_change(profile, case) for profile in self.profiles(case)]
            return [found for found in changes if found is not None]
        built = self._build(case)
        return [
            found for profile in self.profiles(case) for found in why_stale(profile, case, built)
        ]

    def missing(self, case: Case) -> list[Violation]:
        """Return the values that the case's settings ask for, and that are not locked.

        Raises WorkloadError when the workload cannot be built.
        """
        profiles = self.profiles(case)
        if not profiles:
            return [_missing("never locked")]
        # Only a search for the validation batch asks for more than the lock and the matrix.
        validates = case.search.validation == "search" and self._build(case).validation
        return [
            _missing(message)
            for profile in profiles
            for message in _values_missing(profile, case, validates=validates)
        ]

    def _build(self, case: Case) -> Description:
        key = json.dumps([case.workload, case.trainer], sort_keys=True)
        if key not in self._built:
            try:
                with _open_unbounded(case, self._surroundings()) as opened:
                    self._built[key] = opened.description
            except WorkloadError as error:
                self._built[key] = error
        built = self._built[key]
        if isinstance(built, WorkloadError):
            raise built
        return built


def describes(profile: LockedProfile, case: Case) -> bool:
    """Return whether a profile locks this case on a device that its GPU label matches."""
    gpu = case.device
    name = gpu.name if gpu.name is not None else "cpu"
    budget = DeviceIdentity(profile.device.name, gpu.budget or profile.device.memory_bytes)
    return (
        profile.axes == case.axes
        and fnmatchcase(profile.device.name, name)
        and profile.device.matches(budget)
    )


def why_stale(profile: LockedProfile, case: Case, built: Description) -> list[Violation]:
    """Return how a profile differs from the workload, and from the recipe, of today."""
    found = []
    if not same_workload(profile, built):
        why = _because("another workload", workload_changes(profile.workload, built.workload))
        found.append(
            Violation("fingerprint", profile.fingerprint, built.fingerprint, built.fingerprint, why)
        )
    changed = recipe_change(profile, case)
    return found if changed is None else [*found, changed]


def recipe_change(profile: LockedProfile, case: Case) -> Violation | None:
    """Return how a profile differs from the recipe of today; builds no workload."""
    # The environment is that of the machine that locked the case. With the same environment on both
    # sides, only the matrix's part of the recipe is compared.
    locked = {
        name: value for name, value in profile.settings.items() if name.startswith(_ENVIRONMENT)
    }
    current = recipe(case, {_unquoted(name): value for name, value in locked.items()})
    if profile.recipe == current.digest:
        return None
    why = _because("another recipe", mapping_changes(profile.settings, current.settings))
    return Violation("recipe", profile.recipe, current.digest, current.digest, why)


def _values_missing(profile: LockedProfile, case: Case, *, validates: bool) -> Iterator[str]:
    if profile.source == "predicted":
        yield "predicted, never measured"
        return
    if profile.learning_rate is None and case.lr_range.when != "never":
        why = profile.lr_refusal or "the LR range test was not run"
        yield (
            f"no learning rate is locked: {why}; where training has a rate of its own, set "
            "lr_range.when: never"
        )
    if case.search.global_batch_size is not None and profile.accumulate_grad_batches is None:
        yield "no accumulation is locked, and search.global_batch_size asks for one"
    timed = case.search.objective == "throughput" or case.bounds.throughput.max_drop is not None
    if timed and profile.samples_per_second_spread is None:
        yield "no timed speed is locked, and search.objective or bounds.throughput asks for one"
    loads_itself = case.workload.get("training") is not None
    if case.workers.max is not None and profile.num_workers is None and not loads_itself:
        yield (
            "no number of loader workers is locked, and workers.max asks for one; where a "
            "measurement cannot tell it, and warns so, set workers: {max: null} for the model"
        )
    for function in case.search.inference:
        if function not in profile.inference_batch_sizes:
            yield (
                f"no batch size of {function} is locked, and search.inference asks for one; where "
                "none fits, leave it out"
            )
    if validates and profile.validation_batch_size is None:
        yield "no validation batch size is locked, and search.validation: search asks for one"


def _missing(message: str) -> Violation:
    return Violation("missing", None, None, None, message)


@contextmanager
def _open_unbounded(case: Case, surroundings: Surroundings) -> Iterator[OpenCase]:
    """Open a case on the CPU, to train nothing: without a memory limit, and without logs."""
    with tempfile.TemporaryDirectory() as folder:
        around = replace(surroundings, directory=Path(folder))
        with open_case(case, UNBOUNDED, None, around) as opened:
            yield opened


def _because(what: str, changes: Iterable[str]) -> str:
    named = ", ".join(changes) or "by a version of gpu-profile that recorded it differently"
    return f"locked with {what}: {named}"


def _unquoted(name: str) -> str:
    """Return NAME of `environment.NAME`; the recipe quotes a name that has dots."""
    name = name.removeprefix(_ENVIRONMENT)
    try:
        return str(json.loads(name)) if name.startswith('"') else name
    except ValueError:  # written by hand
        return name
