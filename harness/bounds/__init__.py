"""Judges measurements by the bounds of their locked profiles, and names likely causes of a change.

Runs in pytest's process. Pure: imports neither torch nor pytest. May import the lockfile, identity,
matrix settings and LR ratios.
"""

from harness.bounds.measured import judge
from harness.bounds.predicted import judge_prediction
from harness.bounds.verdict import Verdict, Violation

__all__ = ["Verdict", "Violation", "judge", "judge_prediction"]
