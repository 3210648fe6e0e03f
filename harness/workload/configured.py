"""Keeps what a workload that is being built takes from a configuration of the user's project.

`harness.configurations` notes it, and a probe asks for it. Only they import this module: on the CPU
each module counts in the memory of a probe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.workload import attributes

if TYPE_CHECKING:
    from harness.case_names import Scalar

KEY = "configuration"
"""Begins the names of values in the description of a workload."""

# Probes set these, or the seed: another value is no other workload.
_SET = frozenset(
    {
        *attributes.BATCH_SIZE_NAMES,
        *attributes.LEARNING_RATE_NAMES,
        *attributes.NUM_WORKERS_NAMES,
        *(name for names in attributes.INFERENCE_BATCH_SIZE_NAMES.values() for name in names),
        "seed",
    }
)
# They say where things lie, which is another place on each machine.
_PLACES = ("/", "~", "file:")
# A whole configuration has tens of values, and a lockfile is read by people.
_MAX_VALUES = 200
_MAX_TEXT = 200


@dataclass
class Configured:
    """What one workload takes from configurations."""

    trainer: dict[str, Any] = field(default_factory=dict)
    """Keywords of Lightning's Trainer; objects among them are made."""
    notes: list[str] = field(default_factory=list)
    """What the configuration asks for and a probe does not do."""
    values: dict[str, Any] = field(default_factory=dict)
    """The values that make the workload, by section."""
    trainer_values: dict[str, Any] = field(default_factory=dict)
    """Those of the Trainer's keywords that change what a batch size means."""
    texts: list[str] = field(default_factory=list)
    """The configurations as a whole."""

    def add_notes(self, notes: list[str]) -> None:
        """Add what is new of these; module and data may come from one configuration."""
        self.notes += [note for note in notes if note not in self.notes]

    def described(self, given: Mapping[str, Any], attrs: tuple[str | None, ...]) -> dict[str, Any]:
        """Return the values by dotted name.

        given: the Trainer's keywords that the matrix gives in their place.
        attrs: attributes of the matrix that hold the batch size and the learning rate.
        """
        left_out = _SET | {attr.rpartition(".")[2] for attr in attrs if attr}
        trainer = {name: one for name, one in self.trainer_values.items() if name not in given}
        found: dict[str, Scalar] = dict(_flat({**self.values, "trainer": trainer}, KEY, left_out))
        if len(found) > _MAX_VALUES:
            from hashlib import sha256  # noqa: PLC0415 - seldom

            text = json.dumps(found, sort_keys=True)
            return {KEY: f"sha256:{sha256(text.encode()).hexdigest()}"}
        return found


_now = Configured()


def begin() -> None:
    """Forget what was noted: another workload is built."""
    globals()["_now"] = Configured()


def noted() -> Configured:
    """Return what is noted of the workload that was built last."""
    return _now


def _flat(value: Any, name: str, left_out: frozenset[str]) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key not in left_out:
                yield from _flat(item, f"{name}.{key}", left_out)
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
        for number, item in enumerate(value):
            yield from _flat(item, f"{name}.{number}", left_out)
    elif isinstance(value, bool | int):
        yield name, value
    elif value is not None and not (isinstance(value, str) and value.startswith(_PLACES)):
        # A float is a text, too: a lock rounds what was measured.
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield name, text[:_MAX_TEXT]
