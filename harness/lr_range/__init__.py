"""Reads the curves of an LR range test: one learning rate, or a refusal with its reason.

Pure: imports neither torch nor pytest. Runs in pytest's process. A sweep's own process asks
`diverged` whether it can stop. `plot` imports matplotlib when it draws.
"""

from harness.lr_range.suggestion import Suggestion, diverged, geometric_sweep, suggest

__all__ = ["Suggestion", "diverged", "geometric_sweep", "suggest"]
