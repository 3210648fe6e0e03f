"""Finds the cases of `gpu-profile predict`: from the matrix, or from the command line alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.common import find_case
from harness.errors import HarnessError
from harness.matrix.cases import parse_matrix
from harness.matrix.yaml12.reader import read_yaml
from harness.predict.changes import half_of
from harness.wording import shown_path

if TYPE_CHECKING:
    import argparse

    from harness.matrix.case import Case
    from harness.run.paths import Paths

# Stands for the GPU that --gpu names; no product has this name.
_ANY_GPU = {"any": {"name": "*"}}
_COMMAND_LINE = "command line"


def asked_cases(options: argparse.Namespace, paths: Paths) -> list[Case]:
    """Return the cases that the arguments name, one per resolution.

    Raises HarnessError for arguments that exclude each other or cannot be read, and MatrixError for
    mistakes in their values.
    """
    resolutions = [_read("--resolution", text) for text in options.resolution or ()]
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
    return list(_at(resolutions, case, paths)) if resolutions else [case]


def at_half(case: Case, options: argparse.Namespace, paths: Paths) -> Case | None:
    """Return the case of `asked_cases` at half its resolution; None where that is no number."""
    half = half_of(case.resolution)
    if half is None or (options.module is not None and not options.resolution):
        return None
    if options.module is not None:
        return _of_arguments(options, [half], paths)[0]
    return _at([half], case, paths)[0]


def _of_arguments(
    options: argparse.Namespace, resolutions: list[Any], paths: Paths
) -> tuple[Case, ...]:
    if not options.gpu:
        raise HarnessError(
            "--module needs a GPU to predict for: name one with --gpu, such as --gpu H200"
        )
    module = _spec("--module", options.module)
    if (
        options.resolution
        and "${resolution}" not in f"{options.module}{options.data}{options.trainer}"
    ):
        raise HarnessError(
            "--resolution has no effect: write ${resolution} into --module or --data where it "
            "belongs, such as {resolution: '${resolution}'}"
        )
    label = re.sub(
        r"[^A-Za-z0-9._]", "_", str(module.get("class_path", "module")).rpartition(".")[2]
    )
    model = {"module": module}
    if options.data is not None:
        model["data"] = _spec("--data", options.data)
    matrix: dict[str, Any] = {
        "version": 1,
        "matrix": {"model": [label], "gpu": ["any"], "resolution": resolutions},
        "models": {label: model},
        "gpus": _ANY_GPU,
    }
    if options.trainer is not None:
        matrix["trainer"] = _read("--trainer", options.trainer)
    return parse_matrix(json.dumps(matrix), _COMMAND_LINE, ["", *paths.module_path])


def _at(resolutions: list[Any], case: Case, paths: Paths) -> tuple[Case, ...]:
    """Return a case of the matrix at resolutions that the matrix need not list."""
    root = read_yaml(Path(paths.matrix).read_text(encoding="utf-8-sig")).root
    axes = {axis: [value] for axis, value in case.axes.items()} | {"resolution": resolutions}
    return parse_matrix(
        json.dumps({**root, "matrix": axes}), shown_path(paths.matrix), paths.module_path
    )


def _spec(flag: str, text: str) -> dict[str, Any]:
    """Read a class path, or a mapping with one and its init_args."""
    value = _read(flag, text)
    spec = {"class_path": value} if isinstance(value, str) else value
    if not isinstance(spec, dict):
        raise HarnessError(
            f"{flag} {text}: a class path is needed, or {{class_path: …, init_args: {{…}}}}"
        )
    return spec


def _read(flag: str, text: str) -> Any:
    """Read an argument as YAML, in the way of the matrix."""
    document = read_yaml(text)
    if document.problems:
        raise HarnessError(f"{flag} {text}: {document.problems[0].message}")
    return document.root
