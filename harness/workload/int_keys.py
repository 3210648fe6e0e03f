"""Carries mappings whose keys are whole numbers through JSON, which has texts alone for keys.

Arguments have such mappings, as a schedule by epoch: `{0: 8, 4: 4}`. On their way to the zygote
they are specs of a call that makes them, as LightningCLI writes calls.
"""

from __future__ import annotations

from typing import Any


def for_json(value: Any) -> Any:
    """Return plain data with each mapping that has a whole number for a key as a spec."""
    if isinstance(value, dict):
        made = {key: for_json(item) for key, item in value.items()}
        if all(isinstance(key, str) for key in made):
            return made
        pairs = [list(pair) for pair in made.items()]
        return {"class_path": f"{__name__}.{mapping.__name__}", "init_args": {"pairs": pairs}}
    return [for_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def mapping(pairs: list[Any]) -> dict[Any, Any]:
    """Return the mapping of these keys and values."""
    return dict(pairs)
