"""Says what a case with several GPUs cannot be asked for, and makes one of another case.

Runs in pytest's process, as `harness.matrix` does, and imports nothing but that.
"""

from harness.matrix.ranks.other_devices import MOST_DEVICES, with_devices
from harness.matrix.ranks.refusals import number_of, per_rank, refusals

__all__ = ["MOST_DEVICES", "number_of", "per_rank", "refusals", "with_devices"]
