"""Finds a learning rate and its range by trials, or refuses with a reason.

`suggest` reads a rate off sweeps alone. Pure: imports neither torch nor pytest. Runs in pytest's
process. A probe asks `diverged`, or for a trial `can_stop`, whether it can stop. `plot` imports
matplotlib when it draws.
"""

from harness.lr_range.suggestion import Suggestion, diverged, geometric_sweep, suggest

__all__ = ["Suggestion", "diverged", "geometric_sweep", "suggest"]
