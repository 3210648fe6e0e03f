"""Finds the cases of `gpu-profile predict`: from the matrix, or from the command line alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.cli.common import find_case
from harness.cli.yaml_arguments import cases_with, read_argument, read_spec
from harness.errors import HarnessError
from harness.matrix.without_file import as_label, make_cases
from harness.predict.changes import half_of

if TYPE_CHECKING:
    import argparse

    from harness.matrix.case import Case
    from harness.run.paths import Paths

# Stands for the GPU that --gpu names; no product has this name.
_ANY_GPU = {"name": "*"}


def asked_cases(options: argparse.Namespace, paths: Paths) -> list[Case]:
    """Return the cases that the arguments name, one per resolution.

    Raises HarnessError for arguments that exclude each other or cannot be read, and MatrixError for
    mistakes in their values.
    """
    resolutions = [read_argument("--resolution", text) for text in options.resolution or ()]
    if (options.case is None) == (options.module is None):
        raise HarnessError(
            "name either a CASE of the matrix, or a workload with --module and --data"
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
