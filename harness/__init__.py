"""GPU profiling for pytest: batch size and learning rate as tested, committed facts.

The public names are for training scripts. `import harness` alone imports none of their modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness._lazy import lazy

if TYPE_CHECKING:
    from harness import optuna as optuna
    from harness.direct.estimate import Estimate as Estimate
    from harness.direct.estimate import estimate as estimate
    from harness.direct.tune import tune as tune
    from harness.direct.tuned import Tuned as Tuned
    from harness.errors import HarnessError as HarnessError
    from harness.lockfile.profiles import LockedProfile as LockedProfile
    from harness.train_time.apply import apply as apply
    from harness.train_time.bare_model import FoundBatchSize as FoundBatchSize
    from harness.train_time.bare_model import find_optimal_batch_size as find_optimal_batch_size
    from harness.train_time.bucket_sampler import BucketBatchSampler as BucketBatchSampler
    from harness.train_time.callback import profile_callback as profile_callback
    from harness.train_time.load_profile import load_profile as load_profile
    from harness.train_time.scaling import calculate_adjusted_epochs as calculate_adjusted_epochs
    from harness.train_time.scaling import epochs_for_equal_updates as epochs_for_equal_updates
    from harness.train_time.scaling import scale_learning_rate as scale_learning_rate

__all__ = [
    "BucketBatchSampler",
    "Estimate",
    "FoundBatchSize",
    "HarnessError",
    "LockedProfile",
    "Tuned",
    "apply",
    "calculate_adjusted_epochs",
    "epochs_for_equal_updates",
    "estimate",
    "find_optimal_batch_size",
    "load_profile",
    "optuna",
    "profile_callback",
    "scale_learning_rate",
    "tune",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "BucketBatchSampler": "harness.train_time.bucket_sampler",
        "Estimate": "harness.direct.estimate",
        "FoundBatchSize": "harness.train_time.bare_model",
        "HarnessError": "harness.errors",
        "LockedProfile": "harness.lockfile.profiles",
        "Tuned": "harness.direct.tuned",
        "apply": "harness.train_time.apply",
        "calculate_adjusted_epochs": "harness.train_time.scaling",
        "epochs_for_equal_updates": "harness.train_time.scaling",
        "estimate": "harness.direct.estimate",
        "find_optimal_batch_size": "harness.train_time.bare_model",
        "load_profile": "harness.train_time.load_profile",
        "optuna": "harness.optuna",
        "profile_callback": "harness.train_time.callback",
        "scale_learning_rate": "harness.train_time.scaling",
        "tune": "harness.direct.tune",
    },
)
