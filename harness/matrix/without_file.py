"""Makes cases of mappings instead of a file, by the same checks: mistakes name keys, and no lines.

A mapping of a model is written as an entry below `models`, and that of a GPU as one below `gpus`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, get_args

from harness.case_names import LABEL
from harness.errors import HarnessError
from harness.matrix.cases import parse_matrix
from harness.matrix.file_model import ModelSettings, Overrides
from harness.matrix.mistakes import MatrixError
from harness.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.case_names import Scalar
    from harness.matrix.case import Case

OVERRIDES = tuple(Overrides.model_fields)
"""The blocks of settings that a model and a GPU may have: trainer, search and so on."""


def make_cases(
    model: Mapping[str, Any],
    gpu: Mapping[str, Any],
    *,
    labels: tuple[str, str],
    resolutions: Sequence[Scalar] = (1,),
    search_path: Sequence[str] = (),
) -> tuple[Case, ...]:
    """Return the cases of one model on one GPU, one for each resolution.

    labels: those of model and GPU. search_path: as in `load_matrix`.

    Raises HarnessError with all mistakes, each behind its key: `search.steps: unknown key`.
    """
    label, of_gpu = labels
    matrix = {
        "version": 1,
        "matrix": {"model": [label], "gpu": [of_gpu], "resolution": list(resolutions)},
        "models": {label: model},
        "gpus": {of_gpu: gpu},
    }
    try:
        return parse_matrix(as_yaml(matrix), "", search_path)
    except MatrixError as error:
        places = {f"models.{label}.": "", f"gpus.{of_gpu}.": "gpu.", f"gpus.{of_gpu}:": "gpu:"}
        messages = (problem.message for problem in error.problems)
        raise HarnessError(
            "\n".join(dict.fromkeys(_with_key(message, places) for message in messages))
        ) from error


def refuse_unknown(settings: Mapping[str, Any]) -> None:
    """Raise HarnessError for a name that no entry below `models` has, and name the nearest one.

    A name from inside of a block, such as `max_batch_size`, is shown at its place.
    """
    known = ModelSettings.model_fields
    for name, value in settings.items():
        if name in known:
            continue
        blocks = (block for block in OVERRIDES if name in _keys_of(block))
        block = next(blocks, None)
        if block is not None:
            raise HarnessError(
                f"{name} is a key of {block}: write {block}={{{name!r}: {value!r:.40}}}"
            )
        raise HarnessError(f"{name}: unknown setting; {nearest(name, known, 'settings')}")


def as_label(text: str) -> str:
    """Return a text as the label of a model or a GPU: `NVIDIA H200` as `NVIDIA-H200`."""
    words = re.findall(r"[A-Za-z0-9._]+", text)
    label = "-".join(words)
    assert not label or re.fullmatch(LABEL, label), "words with dashes between them"
    return label or "model"


def as_yaml(value: Any) -> str:
    """Return plain data as YAML: JSON, except for the keys that are whole numbers."""
    if isinstance(value, dict):
        pairs = (
            f"{json.dumps(key, ensure_ascii=False)}: {as_yaml(item)}" for key, item in value.items()
        )
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_yaml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _keys_of(block: str) -> Mapping[str, Any]:
    """Return the keys of a block of settings."""
    kinds: tuple[Any, ...] = get_args(Overrides.model_fields[block].annotation)
    return next(kind.model_fields for kind in kinds if hasattr(kind, "model_fields"))


def _with_key(message: str, places: Mapping[str, str]) -> str:
    """Return a mistake behind the key that the caller has written."""
    for place, shown in places.items():
        if message.startswith(place):
            return shown + message.removeprefix(place)
    return message
