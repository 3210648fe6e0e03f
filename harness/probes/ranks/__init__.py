"""Runs the probes of a case that spans several GPUs: one process for each rank.

Runs in pytest's process, as `harness.probes` does, and imports neither torch nor Lightning.
"""

from harness.probes.ranks.group import log_of, zygote_or_group

__all__ = ["log_of", "zygote_or_group"]
