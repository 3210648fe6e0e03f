"""The presets: layers of settings below the explicit keys of a matrix and above the defaults.

A preset says how much a run does, never what the values mean. So what it sets is not part of a
recipe, and a lock is as valid under one preset as under another.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from harness.wording import closest

Preset = Literal["quick", "thorough", "production"]
"""quick: verify what is locked; thorough: search anew, and repeat it; production: measure nothing.
"""

# Beyond the 64 optimizer steps that the longest probe of the search sees, so that memory which a
# stream keeps shows, and few enough for each night.
_SOAK_STEPS = 100
_MAX_WORD = 60

LAYERS: dict[Preset, dict[str, dict[str, Any]]] = {
    "quick": {"lr_range": {"when": "changed"}},
    "thorough": {"search": {"soak_steps": _SOAK_STEPS}, "lr_range": {"seeds": [0, 1, 2, 3, 4]}},
    "production": {},
}
"""The settings of each preset, by their key in the matrix."""


PresetChoice = Preset | Literal["none"]
"""A preset, or the word that leaves out the preset of the ini file or of the matrix."""


def parse_preset(text: str) -> PresetChoice:
    """Return the preset that a flag or an ini key names; raises ValueError for another word."""
    names: tuple[PresetChoice, ...] = (*get_args(Preset), "none")
    for name in names:
        if text == name:
            return name
    close = closest(text[:_MAX_WORD], names)
    hint = "" if close is None else f"; did you mean {close}?"
    raise ValueError(f"{text[:_MAX_WORD]!r} is no preset; allowed: {', '.join(names)}{hint}")
