"""Asks a case's zygote for probes.

Runs in pytest's process; knows no torch. May import devices, descriptions of failures and the
protocol's types.
"""

from harness.probes.answers import Sweep
from harness.probes.description import Description
from harness.probes.open_cases import OpenCase, Surroundings, open_case
from harness.probes.runner import ProbeRunner

__all__ = ["Description", "OpenCase", "ProbeRunner", "Surroundings", "Sweep", "open_case"]
