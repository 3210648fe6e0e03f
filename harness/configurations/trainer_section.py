"""Takes the keywords of Lightning's Trainer from a configuration, as far as a probe can.

The matrix says how many devices a case has, and a probe has a length of its own. What the matrix
gives goes first.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from harness.lightning_names import TOLD

if TYPE_CHECKING:
    from collections.abc import Mapping

NEUTRAL: dict[str, Any] = {
    "accelerator": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "strategy": "auto",
    "max_time": None,
    "fast_dev_run": False,
    "overfit_batches": 0.0,
    "limit_test_batches": None,
    "limit_predict_batches": None,
    "default_root_dir": None,
    "profiler": None,
    "barebones": False,
    "logger": None,
}
"""Keywords that a probe sets, or that have no place in one, with what stands in for them.

A strategy, a profiler or a logger is not even made: some start processes or connect to a service.
"""

_ONE_DEVICE = ("auto", "single_device", None)


def take(
    lightning: Any, given: Mapping[str, Any], where: str
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return what a probe takes, what of that changes the meaning of a batch, and what is left.

    lightning: the package of the Trainer.
    given: the section, as plain data.
    where: names the section in notes.
    """
    parameters = inspect.signature(lightning.Trainer.__init__).parameters
    known = {name: one.default for name, one in parameters.items() if name != "self"}
    differ = {name: value for name, value in given.items() if value != known.get(name)}
    taken = {name: value for name, value in differ.items() if name in known and name not in NEUTRAL}
    notes = []
    if several := _several_devices(differ):
        notes.append(
            f"{where} has {', '.join(several)}, and a case has the devices of the matrix: set "
            "trainer.devices and trainer.strategy there"
        )
    if differ.get("overfit_batches"):
        notes.append(
            f"{where} has overfit_batches: {differ['overfit_batches']}, and probes train on all "
            "of the data"
        )
    if unknown := [name for name in given if name not in known and not name.startswith("_")]:
        notes.append(
            f"{where} has {', '.join(unknown)}, which Lightning's Trainer does not take: probes "
            "train without"
        )
    if isinstance(taken.get("strategy"), str) and taken["strategy"] in _ONE_DEVICE:
        del taken["strategy"]
    if "logger" in differ and differ["logger"] is not None:
        taken["logger"] = differ["logger"]
    return taken, {name: one for name, one in taken.items() if name not in TOLD}, notes


def _several_devices(differ: Mapping[str, Any]) -> list[str]:
    """Return the keywords that spread a training over devices, as `devices: 4`."""
    found = []
    devices, nodes = differ.get("devices", 1), differ.get("num_nodes", 1)
    several = str(devices) not in ("1", "auto") and devices not in ([0], (0,))
    strategy = differ.get("strategy")
    if strategy not in _ONE_DEVICE:
        named = strategy.get("class_path", strategy) if isinstance(strategy, dict) else strategy
        found.append(f"strategy: {named}")
    if several:
        found.append(f"devices: {devices}")
    if nodes != 1:
        found.append(f"num_nodes: {nodes}")
    return found
