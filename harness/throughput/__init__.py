"""Finds the smallest batch size whose samples/s cannot be told from the best.

Runs in pytest's process. Pure: imports neither torch nor pytest, and of this package only the types
of `harness.measurement` and, for its plot, `harness.figures`.
"""

from harness.throughput.choice import Choice, choose, sizes_to_time
from harness.throughput.rounds import Rounds, speed_of
from harness.throughput.sizes import candidates, spaced, without_hopeless

__all__ = [
    "Choice",
    "Rounds",
    "candidates",
    "choose",
    "sizes_to_time",
    "spaced",
    "speed_of",
    "without_hopeless",
]
