"""Finds the largest training batch of a model that stands in no matrix, by probes as a case's."""

from __future__ import annotations

import inspect
import operator
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.batch_search.training import search_training
from harness.devices import host_memory
from harness.devices.finding import find_device
from harness.devices.nvml.gpus import visible_gpus
from harness.direct.measuring import objects_folder, surroundings_of
from harness.direct.objects import Objects
from harness.direct.tuned import probe_table
from harness.errors import HarnessError, MachineError, WorkloadError
from harness.matrix.without_file import as_label, make_cases
from harness.measure.after_search import refuse_broken_libraries
from harness.probes.open_cases import open_case
from harness.probes.outcomes import describe_outcome
from harness.units import format_bytes, parse_size
from harness.workload.keras_models import BACKEND, is_keras

if TYPE_CHECKING:
    from harness.batch_search.sizes import FoundBatch
    from harness.devices.device import Device
    from harness.matrix.case import Case
    from harness.measurement import BoundedBy, Probe
    from harness.probes.open_cases import Surroundings

_OPTIMIZER_NOTE = "AdamW, and the mean square of the outputs as the loss"


class FoundBatchSize(int):
    """A batch size to train with: a whole number, with the search that found it."""

    max_batch_size: int
    """The largest batch that trained. The number itself is `safety_factor` of it."""
    bounded_by: BoundedBy
    """What kept it from being larger: `memory`, or `cap`, which is `max_batch_size`."""
    device: str
    """The GPU's product name, or `cpu`."""
    memory_limit_bytes: int
    probes: tuple[Probe, ...]
    """All sizes that were tried, in this order."""

    @property
    def table(self) -> str:
        """The sizes that were tried, as a table: a line for each probe, by size."""
        return probe_table(self.probes)


def find_optimal_batch_size(
    model: Any,
    input_shape: Sequence[int],
    min_batch_size: int = 2,
    max_batch_size: int = 4096,
    safety_factor: float = 0.9,
    *,
    budget: str | int | None = None,
) -> FoundBatchSize:
    """Return the batch size to train a bare model with: `safety_factor` x the largest that trains.

    `model` is an `nn.Module`, or a Keras 3 model on the torch backend, that takes one float32 input
    of `input_shape` (without the batch). It is not changed. Each size is tried by a training in a
    process of its own: three steps of noise in float32, with AdamW, and the mean square of the
    outputs as the loss. Where yours differ, leave room, or put the model into a matrix.

    The device is the GPU that CUDA calls device 0, with 90% of its memory or of `budget`, such as
    "8GiB". Call this before this process itself uses the GPU, whose memory has to be free. On a
    machine without a GPU it is the CPU, where `budget` has to be given.

    The result is an int, never below `min_batch_size`, with `max_batch_size`, `bounded_by`,
    `probes` and `table`.

    Raises HarnessError for values that are not allowed, WorkloadError when no size trains, and
    MachineError when the machine is in trouble.
    """
    _refuse_other_models(model)
    least, most = _count("min_batch_size", min_batch_size), _count("max_batch_size", max_batch_size)
    if least > most:
        raise HarnessError(
            f"min_batch_size={least} is more than max_batch_size={most}: the first is at most the "
            "second"
        )
    shape, share, entry = _shape(input_shape), _share(safety_factor), _device(budget)
    with objects_folder() as folder, objects_folder() as results:
        objects = Objects(folder)
        entries = {
            "module": {"class_path": objects.made_path("model", model)},
            "data": {"class_path": "harness.workload.bare.Noise", "init_args": {"shape": shape}},
            "loss": {"class_path": "harness.workload.bare.MeanSquare"},
            "search": {
                "min_batch_size": least,
                "max_batch_size": most,
                "safety_factor": share,
                "init_val": least,
            },
        }
        labels = (as_label(type(model).__name__), "device")
        (case,) = make_cases(entries, entry, labels=labels, search_path=[str(folder)])
        device = find_device(case.device, case.search.target_memory_fraction, count=case.num_ranks)
        found = _search(case, device, surroundings_of(results, folder))
    return _result(case, device, found, least)


def _search(case: Case, device: Device, surroundings: Surroundings) -> tuple[FoundBatch, int]:
    """Return what the search finds, and the limit of the memory."""
    with device.hold():
        host_memory.check_memory(device)
        with open_case(case, device, None, surroundings) as opened:
            found = search_training(opened)
            refuse_broken_libraries(opened, found)
            return found, opened.runner.memory_limit_bytes or 0


def _result(
    case: Case, device: Device, outcome: tuple[FoundBatch, int], least: int
) -> FoundBatchSize:
    found, limit = outcome
    if not found.max_batch_size:
        smallest = min(found.probes, key=lambda probe: probe.batch_size)
        raise WorkloadError(
            f"{case.model}: no batch size from {least} to {case.search.max_batch_size} trains in "
            f"{format_bytes(limit)} with {_OPTIMIZER_NOTE}: {describe_outcome(smallest)}. See "
            "whether the model takes an input of input_shape, and whether a smaller one fits",
            smallest.traceback or "",
        )
    result = FoundBatchSize(max(least, case.search.tuned(found.max_batch_size)))
    result.max_batch_size = found.max_batch_size
    result.bounded_by = found.bounded_by
    result.device = device.identity.name
    result.memory_limit_bytes = limit
    result.probes = found.probes
    return result


def _device(budget: str | int | None) -> dict[str, Any]:
    """Return the entry below `gpus` for the device of this machine."""
    room = {} if budget is None else {"budget": _size(budget)}
    try:
        gpus = visible_gpus()
        why = "this machine shows no GPU (CUDA_VISIBLE_DEVICES, nvidia-smi -L)"
    except MachineError:
        raise
    except HarnessError as error:
        gpus, why = [], str(error)
    if gpus:
        return {"name": gpus[0].name} | room
    if not room:
        raise HarnessError(
            f"{why}. Without a GPU the model trains on the CPU, which needs a budget: the memory "
            'that training may use, such as budget="1GiB"'
        )
    return {"accelerator": "cpu"} | room


def _refuse_other_models(model: Any) -> None:
    if inspect.isclass(model) or not callable(getattr(model, "named_parameters", None)):
        kind = model.__name__ if inspect.isclass(model) else type(model).__name__
        hint = (
            f"; set {BACKEND}=torch before Keras is imported: it is "
            f"{os.environ.get(BACKEND, 'not set')}"
            if is_keras(model)
            else ""
        )
        raise HarnessError(
            f"model={kind}: an object of torch.nn.Module is needed, or a Keras 3 model on the "
            f"torch backend{hint}"
        )


def _count(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or number < 1:
        raise HarnessError(f"{name}={value!r}: a whole number from 1 is needed")
    return number


def _shape(value: Any) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise HarnessError(
            f"input_shape={value!r}: the sizes of one input are needed, without the batch, such as "
            "(3, 224, 224)"
        )
    return [_count(f"input_shape[{place}]", size) for place, size in enumerate(value)]


def _share(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value <= 1:
        raise HarnessError(f"safety_factor={value!r}: a number above 0 and up to 1 is needed")
    return float(value)


def _size(value: Any) -> int:
    try:
        return parse_size(value)
    except ValueError as error:
        raise HarnessError(f"budget: {error}") from None
