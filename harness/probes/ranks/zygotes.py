"""Chooses what is asked for the probes on a device: one zygote, or one for each rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.probes.ranks.group import RankGroup
from harness.probes.ranks.lone import LoneRank
from harness.probes.zygote_client import ZygoteClient

if TYPE_CHECKING:
    from pathlib import Path

    from harness.devices.device import Device
    from harness.protocol.case import WorkloadSpec


def zygote_of(
    directory: Path, device: Device, workload: WorkloadSpec
) -> ZygoteClient | RankGroup | LoneRank:
    """Return what is asked for the probes on a device; the logs are below `directory`.

    The program of a command starts its ranks by itself.
    """
    if workload.get("command") is not None:
        return ZygoteClient(directory)
    if device.stands_for is not None:
        return LoneRank(directory, device)
    number = device.identity.count
    return ZygoteClient(directory) if number == 1 else RankGroup(directory, number)
