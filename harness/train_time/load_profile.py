"""Finds the locked profile for this machine at train time.

Imports neither torch nor pytest nor pydantic, and NVML's binding only to identify this machine's
GPU.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.case_names import label
from harness.errors import HarnessError
from harness.lockfile import precisions
from harness.lockfile.profiles import Lock, LockedProfile, read_lock
from harness.wording import RELOCK, closest, listed, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.case_names import Scalar
    from harness.devices.nvml.gpu import Gpu
    from harness.measurement import DeviceIdentity

LOCK_VARIABLE = "GPU_PROFILE_LOCK"
# An error lists no more GPUs; a lockfile may have thousands of labels.
_MAX_GPUS = 20
_LOCK_NAMES = ("profiles/gpu-profile.lock", "gpu-profile.lock")
# Cases that `_warn_of_prediction` has warned of.
_warned: set[str] = set()


def load_profile(
    model: str,
    *,
    resolution: Scalar | None = None,
    gpu: str | None = None,
    lock: str | Path | None = None,
    **axes: Scalar,
) -> LockedProfile:
    """Return the locked profile of a model, by its label in the matrix, on this machine's GPU.

    `resolution`, and further axes as keywords, may be left out where only one value is locked.
    `precision="recommended"` takes the fastest of the locked precisions whose LR range test kept
    its signal. `gpu` is a label of the matrix, used instead of NVML's answer. Only a label selects
    an emulated or CPU profile. `lock` is the lockfile; by default the one that GPU_PROFILE_LOCK
    names, else the nearest profiles/gpu-profile.lock or gpu-profile.lock in the working directory
    or above it.

    A profile that was only predicted is returned with a warning: its batch size is below the
    predicted maximum.

    Raises HarnessError, which lists what is locked, when no profile or more than one fits. Raises
    LockError when the lockfile cannot be used.
    """
    path = find_lock(lock)
    known = read_lock(path)
    if not known.exists:
        raise HarnessError(f"{shown_path(path)}: there is no such lockfile; `{RELOCK}` makes one")
    found = _of_model(known, model)
    wanted = axes if resolution is None else {"resolution": resolution, **axes}
    here = None if gpu is not None else _this_device(found, path)
    on_gpu = [profile for profile in found if _on(profile, gpu, here)]
    if not on_gpu:
        where = f"the GPU label {gpu}" if here is None else f"this machine's {_shown_device(here)}"
        raise HarnessError(
            f"{shown_path(path)}: {model} is not locked for {where}. {_listing(found)}. "
            f"{_remedy(gpu)}"
        )
    asks = wanted.get(precisions.AXIS) == precisions.RECOMMENDED
    others = precisions.group_of(wanted) if asks else wanted
    fitting = [profile for profile in on_gpu if _has(profile, others)]
    if here is None:
        fitting = _not_simulated(fitting, path)
    if asks and fitting:
        fitting = _recommended(fitting, path)
    if len(fitting) == 1:
        _warn_of_prediction(fitting[0])
        return fitting[0]
    asked = ", ".join(f"{axis} {label(value)}" for axis, value in wanted.items())
    if asks and not any(precisions.AXIS in profile.axes for profile in on_gpu):
        raise HarnessError(
            f"{shown_path(path)}: no precision of {model} can be recommended: its matrix has no axis "
            f"`{precisions.AXIS}`, so one precision alone is locked. Leave {precisions.AXIS}= out"
        )
    if not fitting:
        raise HarnessError(
            f"{shown_path(path)}: {model} is not locked at {asked}. {_listing(found)}. Ask for one "
            f"of them, or lock this one with `{RELOCK}`"
        )
    raise HarnessError(
        f"{shown_path(path)}: {len(fitting)} profiles of {model} fit: "
        f"{listed(profile.case_id for profile in fitting)}. Say which: {_telling_apart(fitting)}"
    )


def find_lock(lock: str | Path | None = None) -> Path:
    """Return the lockfile's path: the argument, else GPU_PROFILE_LOCK, else the nearest lockfile.

    The nearest one is searched in the working directory and above it. Raises HarnessError, which
    says where it was searched, when there is none.
    """
    if lock is not None:
        return Path(lock)
    if named := os.environ.get(LOCK_VARIABLE):
        return Path(named)
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in _LOCK_NAMES:
            if (folder / name).is_file():
                return folder / name
    raise HarnessError(
        f"no lockfile: neither {' nor '.join(_LOCK_NAMES)} in {here} or above it. Pass lock=PATH, "
        f"set {LOCK_VARIABLE}, or make one with `{RELOCK}`"
    )


def _of_model(known: Lock, model: str) -> list[LockedProfile]:
    found = [profile for profile in known if profile.axes["model"] == model]
    if found:
        return found
    models = sorted({str(profile.axes["model"]) for profile in known})
    near = closest(model, models)
    hint = f"Did you mean {near}? " if near else ""
    raise HarnessError(
        f"{shown_path(known.path)}: no model {model} is locked. {hint}The lockfile holds "
        f"{listed(models) or 'no profile at all'}. Lock {model} with "
        f"`{RELOCK}`"
    )


def _this_device(found: Sequence[LockedProfile], path: Path) -> DeviceIdentity:
    """Return the GPU that is CUDA's device 0.

    Raises HarnessError, which lists the locked profiles, when it cannot be found.
    """
    from harness.devices.nvml import gpus as nvml  # noqa: PLC0415 - a given label needs no NVML

    advice = f"Name a label of the matrix with gpu=. {_listing(found)}"
    try:
        gpus = nvml.visible_gpus()
    except HarnessError as error:
        raise type(error)(
            f"{shown_path(path)}: cannot find out which GPU this machine has: {error}. {advice}"
        ) from error
    if not gpus:
        raise HarnessError(
            f"{shown_path(path)}: this machine shows no GPU (CUDA_VISIBLE_DEVICES, nvidia-smi -L). "
            f"{advice}"
        )
    _warn_of_unclear_order(gpus)
    return gpus[0].identity


def _not_simulated(fitting: list[LockedProfile], path: Path) -> list[LockedProfile]:
    """Return the profiles of real devices.

    Raises HarnessError when all that fit are of simulated ones.
    """
    real = [profile for profile in fitting if not profile.device.simulated]
    if fitting and not real:
        raise HarnessError(
            f"{shown_path(path)}: {fitting[0].case_id} was found on a simulated GPU and never "
            f"measured: measure it with `{RELOCK}` on {fitting[0].device.product}"
        )
    return real


def _recommended(fitting: Sequence[LockedProfile], path: Path) -> list[LockedProfile]:
    """Return the profiles that differ in the precision alone as one, that of the recommended one.

    Raises HarnessError, which says why each precision was left out, when none is recommended.
    """
    fitting = [profile for profile in fitting if precisions.AXIS in profile.axes]
    groups = [precisions.group_of(profile.axes) for profile in fitting]
    by_precision = {profile.axes[precisions.AXIS]: profile for profile in fitting}
    if any(group != groups[0] for group in groups) or len(by_precision) < len(fitting):
        return fitting  # other axes, or devices, must tell them apart first
    if not fitting:
        return []
    found = precisions.recommend(groups[0], by_precision)
    if found.precision is None:
        raise HarnessError(
            f"{shown_path(path)}: {found}. Ask for one of them by name, as precision=, or measure "
            f"with an LR range test and lock with `{RELOCK}`"
        )
    return [by_precision[found.precision]]


def _warn_of_prediction(profile: LockedProfile) -> None:
    """Warn, once per process and case, that the profile was predicted and never measured."""
    if profile.source == "measured" or profile.case_id in _warned:
        return
    _warned.add(profile.case_id)
    import logging  # noqa: PLC0415 - several ms that only this case costs

    logging.getLogger("harness").warning(
        "%s was predicted and never measured: its batch size is %d, the predicted largest one is "
        "%d, and it has no learning rate; measure it with "
        "`%s` on %s",
        profile.case_id,
        profile.batch_size,
        profile.max_batch_size,
        RELOCK,
        profile.device.name,
    )


def _warn_of_unclear_order(gpus: Sequence[Gpu]) -> None:
    # CUDA puts the fastest GPU first unless told otherwise; NVML does not know which one that is.
    mixed = any(not gpu.identity.matches(gpus[0].identity) for gpu in gpus)
    if mixed and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        import logging  # noqa: PLC0415 - several ms that only this rare case costs

        logging.getLogger("harness").warning(
            "this machine has different GPUs; taking the profile of %s, the first on the PCI bus. "
            "CUDA_DEVICE_ORDER=PCI_BUS_ID makes it CUDA's device 0 as well",
            gpus[0].name,
        )


def _on(profile: LockedProfile, gpu: str | None, here: DeviceIdentity | None) -> bool:
    if here is None:
        return profile.axes["gpu"] == gpu
    return not profile.emulated and profile.device.name != "cpu" and profile.device.matches(here)


def _has(profile: LockedProfile, wanted: dict[str, Scalar]) -> bool:
    """Return whether a profile has the axes, compared as labels: the text 224 equals the number."""
    return all(
        axis in profile.axes and label(profile.axes[axis]) == label(value)
        for axis, value in wanted.items()
    )


def _listing(profiles: Iterable[LockedProfile]) -> str:
    """Return `Locked for resnet18: h200 at 224, 288; a100 at 224`."""
    at: dict[str, list[LockedProfile]] = {}
    for profile in profiles:
        at.setdefault(str(profile.axes["gpu"]), []).append(profile)
        model = profile.axes["model"]
    parts = []
    for gpu, group in at.items():
        rest = [
            [value for axis, value in profile.axes.items() if axis not in ("model", "gpu")]
            for profile in group
        ]
        rest.sort(key=lambda values: [(isinstance(value, str), value) for value in values])
        parts.append(
            f"{gpu} at " + listed(dict.fromkeys("-".join(map(label, values)) for values in rest))
        )
    more = "; …" if len(parts) > _MAX_GPUS else ""
    return f"Locked for {model}: {'; '.join(parts[:_MAX_GPUS])}{more}"


def _shown_device(device: DeviceIdentity) -> str:
    return f"{device.name} ({device.memory_bytes / 1024**3:.1f} GiB)"


def _remedy(gpu: str | None) -> str:
    lock_it = f"lock it on this machine with `{RELOCK}`"
    return (
        f"Name one of them, or {lock_it}"
        if gpu
        else f"Name one of these labels with gpu=, or {lock_it}"
    )


def _telling_apart(profiles: Sequence[LockedProfile]) -> str:
    """Return the arguments in which profiles differ, with their values."""
    names = dict.fromkeys(axis for profile in profiles for axis in profile.axes)
    parts = []
    for axis in names:
        values = dict.fromkeys(
            label(profile.axes[axis]) if axis in profile.axes else "-" for profile in profiles
        )
        if len(values) > 1:
            best = f" or {precisions.RECOMMENDED}" if axis == precisions.AXIS else ""
            parts.append(f"{axis}= one of {listed(values)}{best}")
    return " and ".join(parts) or "remove all but one; they differ only in the device"
