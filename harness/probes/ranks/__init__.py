"""Runs the probes of a case that spans several GPUs.

There is one process for each rank; on simulated GPUs one process can stand for all ranks.

Runs in pytest's process, as `harness.probes` does, and imports neither torch nor Lightning.
"""

from harness.probes.ranks.group import log_of
from harness.probes.ranks.lone import num_local
from harness.probes.ranks.zygotes import zygote_of

__all__ = ["log_of", "num_local", "zygote_of"]
