"""Says what a case with several GPUs cannot be asked for.

Runs in pytest's process, as `harness.matrix` does, and imports nothing but that.
"""

from harness.matrix.ranks.refusals import number_of, per_rank, refusals

__all__ = ["number_of", "per_rank", "refusals"]
