"""The JSON document of `gpu-profile predict`, with `--what-if` and without."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from harness.case_names import Scalar
from harness.cli.elsewhere.growth import GrownHolderData
from harness.device_identity import DeviceIdentity
from harness.measurement import BoundedBy, Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.matrix.case import Case
    from harness.predict.holders import PeakHolders
    from harness.predict.prediction import Prediction


class HolderData(TypedDict):
    """The memory of one kind that one line of one module holds at the peak."""

    kind: str
    """parameter, gradient, optimizer, workspace, input, activation or activation gradient."""
    module: str | None
    """Dotted; null outside of all modules, or where the kind is counted as a whole."""
    line: str | None
    """The innermost line of the user's code."""
    num_bytes: int


class PeakData(TypedDict):
    """What holds the memory of a training at its peak."""

    batch_size: int
    live_bytes: int
    """As the training asks for it: without what the allocator adds."""
    phase: str | None
    """`step 2 backward`, `model`, `batch` or `validation`."""
    holders: list[HolderData]
    """The largest first; together they are `live_bytes`."""


class PredictionData(TypedDict):
    """The largest batch of one case on one GPU. Nothing ran on a GPU."""

    case: str
    """Its id in the matrix, where it may have another GPU."""
    model: str
    gpu: str
    """The label of the GPU that it is predicted for."""
    resolution: Scalar
    device: DeviceIdentity
    """That GPU: its product name, NVML's total, and how many of them."""
    max_batch_size: int
    """0 where nothing fits."""
    safe_batch_size: int
    """A batch size to train with before any measurement."""
    samples_per_step: int
    """Of all ranks, at `max_batch_size`: accumulated micro-batches count."""
    bounded_by: BoundedBy
    peak_memory_bytes: int
    """Reserved at `max_batch_size`, or at the smallest batch that is allowed if none fits."""
    memory_limit_bytes: int
    held_at_peak: PeakData | None
    """null where nothing can tell."""
    made_with: dict[str, str]
    notes: list[str]
    """What to know before the values are used."""
    probes: list[Probe]
    plot: str | None
    """The path of its picture, if `--plot` asks for one."""
    snapshot: str | None
    """The path of its snapshot, if `--snapshot` asks for one."""


class WhatIfData(TypedDict):
    """A change that `--what-if` has tried."""

    change: str
    """`as it is` for the case without a change."""
    prediction: PredictionData | None
    message: str | None
    """Why there is no prediction."""


class RefusedCaseData(TypedDict):
    """A case that cannot be predicted."""

    case: str
    gpu: str | None
    """The label of the GPU; null where that is not known."""
    devices: int
    """How many of it the case spans."""
    message: str


class ComparedSideData(TypedDict):
    """One of the two environments of `--compare`."""

    requirement: str
    replaced: dict[str, str]
    """The version of each package that is not that of the present environment."""
    conflicts: list[str]
    """What pip finds broken in it, and not in the present environment."""
    problem: str | None
    """Why nothing was predicted in it."""


class ComparedCaseData(TypedDict):
    """A case, predicted in two environments."""

    case: str
    gpu: str
    """The label of the GPU."""
    first: int | None
    """The largest batch in the first environment; null where it could not be predicted."""
    second: int | None
    allowed: int | None
    """The smallest batch in the second one that `bounds.batch_size` allows."""
    problems: list[str]
    """Why a side could not be predicted."""
    grown: list[GrownHolderData]
    """At the peak of `first`, in the second environment; the largest growth first."""


class ComparisonData(TypedDict):
    """The answer of `--compare`."""

    first: ComparedSideData
    second: ComparedSideData
    cases: list[ComparedCaseData]


class PredictDocument(TypedDict):
    """The answer of `predict`."""

    predictions: list[PredictionData]
    """One for each case and GPU; with `--what-if` the case as it is."""
    what_if: list[WhatIfData]
    """The largest batch first; empty without `--what-if`."""
    refused: list[RefusedCaseData]
    """What could not be predicted under `--all`, or of several `--devices`."""
    comparison: ComparisonData | None
    """null without `--compare`, which leaves `predictions` empty."""


def predict_document(
    predictions: Sequence[PredictionData] = (),
    what_if: Sequence[WhatIfData] = (),
    refused: Sequence[RefusedCaseData] = (),
    comparison: ComparisonData | None = None,
) -> PredictDocument:
    """Return the document; what is not given was not asked for."""
    return {
        "predictions": [*predictions],
        "what_if": [*what_if],
        "refused": [*refused],
        "comparison": comparison,
    }


def prediction_data(case: Case, prediction: Prediction) -> PredictionData:
    """Return a prediction as JSON documents have it; it has no files yet."""
    gpu = prediction.gpu
    return {
        "case": case.id,
        "model": case.model,
        "gpu": gpu.label,
        "resolution": case.resolution,
        "device": DeviceIdentity(gpu.name, gpu.nvml_bytes, case.num_ranks),
        "max_batch_size": prediction.max_batch_size,
        "safe_batch_size": prediction.safe_batch_size,
        "samples_per_step": samples_per_step(case, prediction),
        "bounded_by": prediction.bounded_by,
        "peak_memory_bytes": prediction.peak_memory_bytes,
        "memory_limit_bytes": prediction.memory_limit_bytes,
        "held_at_peak": None if prediction.holders is None else _peak(prediction.holders),
        "made_with": dict(prediction.made_with),
        "notes": list(prediction.notes),
        # Their logs are in a folder that is gone.
        "probes": [replace(probe, log=None) for probe in prediction.probes],
        "plot": None,
        "snapshot": None,
    }


def samples_per_step(case: Case, prediction: Prediction) -> int:
    """Return the samples of an optimizer step on all ranks at the largest batch."""
    largest = prediction.max_batch_size
    return largest * case.accumulation(largest) * case.num_ranks if largest else 0


def _peak(holders: PeakHolders) -> PeakData:
    return {
        "batch_size": holders.batch_size,
        "live_bytes": holders.peak_bytes,
        "phase": holders.phase or None,
        "holders": [
            {
                "kind": holder.kind,
                "module": holder.module or None,
                "line": holder.line or None,
                "num_bytes": holder.num_bytes,
            }
            for holder in holders.holders
        ],
    }
