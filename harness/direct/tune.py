"""`harness.tune`: finds batch size and learning rate of a training from a script or a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.devices.device import NoSuchDeviceError
from harness.devices.finding import find_device
from harness.direct.arguments import direct_case
from harness.direct.gpu_argument import asked_gpu
from harness.direct.live_lines import live_lines
from harness.direct.measuring import (
    measure,
    objects_folder,
    refuse_nothing,
    refuse_unusable_lock,
    results_folder,
    surroundings_of,
    with_traceback,
)
from harness.direct.objects import Objects
from harness.direct.tuned import Tuned
from harness.errors import HarnessError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from harness.devices.device import Device
    from harness.direct.gpu_argument import AskedGpu, GpuArgument
    from harness.matrix.case import Case


def tune(
    module: Any = None,
    data: Any = None,
    *,
    training: Any = None,
    gpu: GpuArgument = None,
    lock: str | Path | None = None,
    logs: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **settings: Any,
) -> Tuned:
    """Find the largest batch of a training, tune it, and run an LR range test, in probes.

    This is what a case of a matrix does, without the matrix: the same probes, limits and search.
    Nothing is locked unless `lock` or `Tuned.lock` asks for it, and nothing is written into the
    working directory.

    module, data, training: what a matrix has below `models`, each a class path, a mapping of
        `class_path` and `init_args`, a class or function, also one of this script or notebook, or
        (not for `training`) an object. Objects are copied to the probes and never changed.
    gpu: `"h100"`, `"h100-as-24GiB"` under a budget, `"cpu-2GiB"`, `0`, `"cuda:0"`, or a mapping as
        below `gpus`. None: the GPU of this machine, of several that are alike the first free one.
    lock: a lockfile to write the values into, under the labels of the result's `axes`.
    logs: a folder for the output of the probes. None: a temporary one, which stays after an error.
    progress: show a line for each try.
    settings: the other keys below `models`: `loss`, `optimizer`, `trainer`, `search`, `lr_range`.

    Raises HarnessError for arguments that are not allowed, WorkloadError when it trains at no batch
    size, and MachineError when the machine is in trouble.
    """
    if lock is not None:
        refuse_unusable_lock(lock)
    asked = asked_gpu(gpu)
    with with_traceback(), objects_folder() as folder, results_folder(logs) as results:
        objects = Objects(folder)
        arguments = {"module": module, "data": data, "training": training, **settings}
        case = direct_case(arguments, asked, objects)
        device = device_of(case, asked)
        if case.device.accelerator == "cuda" and objects.on_gpu:
            raise HarnessError(
                f"{' and '.join(objects.on_gpu)} is on a GPU, whose memory this process then "
                "holds: hand it over before it moves there, or as module.cpu(), and give the "
                "memory back with torch.cuda.empty_cache()"
            )
        with live_lines(f"{case.id}: ", shown=progress):
            around = surroundings_of(results, folder)
            found = measure(case, device, around, keeps_files=logs is not None)
        refuse_nothing(case, found)
    tuned = Tuned.of(found)
    if lock is not None:
        tuned.lock(lock)
    return tuned


def device_of(case: Case, asked: AskedGpu) -> Device:
    """Return the device of this machine that was asked for.

    Raises NoSuchDeviceError when it is not here; the message names what predicts it.
    """
    try:
        return find_device(
            case.device,
            case.search.target_memory_fraction,
            uuid=asked.uuid,
            count=case.num_ranks,
        )
    except NoSuchDeviceError as error:
        raise NoSuchDeviceError(
            f"gpu={asked.label!r} {error}. harness.estimate predicts for a GPU that is not here"
        ) from error
