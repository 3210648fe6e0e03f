"""GPU profiling for pytest: batch size and learning rate as tested, committed facts.

The public names are for training scripts. `import harness` alone imports none of their modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness.errors import HarnessError as HarnessError
    from harness.lockfile.profiles import LockedProfile as LockedProfile
    from harness.train_time.apply import apply as apply
    from harness.train_time.load_profile import load_profile as load_profile

__all__ = ["HarnessError", "LockedProfile", "apply", "load_profile"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "HarnessError": "harness.errors",
        "LockedProfile": "harness.lockfile.profiles",
        "apply": "harness.train_time.apply",
        "load_profile": "harness.train_time.load_profile",
    },
)
