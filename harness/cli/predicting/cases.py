"""Finds the cases of `gpu-profile predict`: from the matrix, or from the command line alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.cli.common import case_named, find_case
from harness.cli.yaml_arguments import cases_with, read_argument, read_spec
from harness.errors import HarnessError
from harness.matrix.ranks import MOST_DEVICES
from harness.matrix.without_file import as_label, make_cases
from harness.predict.changes import half_of
from harness.predict.gpus import by_label, by_name
from harness.probes.ranks import num_local
from harness.simulated.layout import MAX_GPUS
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.run.paths import Paths

# No number of devices has more.
_DIGITS = 4
# Stands for the GPU that --gpu names; no product has this name.
_ANY_GPU = {"name": "*"}


def asked_cases(options: argparse.Namespace, paths: Paths) -> list[Case]:
    """Return the cases that the arguments name, one per resolution.

    Raises HarnessError for arguments that exclude each other or cannot be read, and MatrixError for
    mistakes in their values.
    """
    if options.all:
        _refuse_beside_all(options)
        return list(cases_named(None, paths, named_gpus=bool(options.gpu)))
    resolutions = [read_argument("--resolution", text) for text in options.resolution or ()]
    if (options.case is None) == (options.module is None):
        raise HarnessError(
            "name either a CASE of the matrix, or a workload with --module and --data, or --all"
        )
    if options.module is not None:
        return list(_of_arguments(options, resolutions or [1], paths))
    if options.data is not None or options.trainer is not None:
        raise HarnessError(
            f"--data and --trainer are for --module: {options.case} has its own in the matrix"
        )
    case = find_case(options.case, paths)
    return (
        list(cases_with(case, paths, axes={"resolution": resolutions})) if resolutions else [case]
    )


def asked_devices(texts: Sequence[str]) -> list[int]:
    """Return the numbers of devices that `--devices` names, each once, in this order.

    Raises HarnessError for one that cannot be had.
    """
    return list(dict.fromkeys(_number(text) for text in texts))


def _number(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0
    if not 1 <= number <= MOST_DEVICES:
        raise HarnessError(f"--devices {text}: a whole number from 1 to {MOST_DEVICES} is needed")
    if num_local(number) > MAX_GPUS:
        below = number // num_local(MOST_DEVICES) * num_local(MOST_DEVICES)
        raise HarnessError(
            f"--devices {number}: more than {MAX_GPUS} GPUs are machines of "
            f"{num_local(MOST_DEVICES)}: name a multiple of it, such as {below}"
        )
    return number


def cases_named(name: str | None, paths: Paths, *, named_gpus: bool) -> tuple[Case, ...]:
    """Return the case of this id, or all that can be predicted.

    named_gpus: whether other GPUs replace the cases' own, so that those of the CPU count, too.

    Raises HarnessError where the matrix has no such case, or none that names a GPU.
    """
    if name is not None:
        return (case_named(name, paths),)
    cases = paths.cases()
    found = tuple(one for one in cases if named_gpus or one.device.name is not None)
    if not found:
        raise HarnessError(
            f"{shown_path(paths.matrix)} has no case that names a GPU: name one with --gpu"
        )
    return found


def gpus_of(case: Case, labels: Sequence[str]) -> list[GpuFacts]:
    """Return the GPUs with these labels, or else the case's own.

    Raises HarnessError for a label that is not known, and where the case runs on the CPU.
    """
    if labels:
        return [by_label(label) for label in labels]
    if case.device.name is None:
        raise HarnessError(
            f"{case.id} runs on the CPU, where it is measured: name a GPU with --gpu"
        )
    return [by_name(case.device.name, case.device.memory)]


def _refuse_beside_all(options: argparse.Namespace) -> None:
    others = {
        "CASE": options.case,
        "--module": options.module,
        "--data": options.data,
        "--trainer": options.trainer,
        "--resolution": options.resolution,
        "--devices": options.devices,
        "--what-if": options.what_if or None,
        "--plot": options.plot,
        "--snapshot": options.snapshot,
    }
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise HarnessError(
            f"--all predicts the cases of the matrix as they are, so {given[0]} does not go with "
            "it; --gpu and --compare do"
        )


def at_half(case: Case, options: argparse.Namespace, paths: Paths) -> Case | None:
    """Return the case of `asked_cases` at half its resolution; None where that is no number."""
    half = half_of(case.resolution)
    if half is None or (options.module is not None and not options.resolution):
        return None
    if options.module is not None:
        return _of_arguments(options, [half], paths)[0]
    return cases_with(case, paths, axes={"resolution": [half]})[0]


def _of_arguments(
    options: argparse.Namespace, resolutions: list[Any], paths: Paths
) -> tuple[Case, ...]:
    if not options.gpu:
        raise HarnessError(
            "--module needs a GPU to predict for: name one with --gpu, such as --gpu H200"
        )
    module = read_spec("--module", options.module)
    if (
        options.resolution
        and "${resolution}" not in f"{options.module}{options.data}{options.trainer}"
    ):
        raise HarnessError(
            "--resolution has no effect: write ${resolution} into --module or --data where it "
            "belongs, such as {resolution: '${resolution}'}"
        )
    model = {"module": module}
    if options.data is not None:
        model["data"] = read_spec("--data", options.data)
    if options.trainer is not None:
        model["trainer"] = read_argument("--trainer", options.trainer)
    label = as_label(str(module.get("class_path", "module")).rpartition(".")[2])
    return make_cases(
        model,
        _ANY_GPU,
        labels=(label, "any"),
        resolutions=resolutions,
        search_path=["", *paths.module_path],
    )
