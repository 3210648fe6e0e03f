"""Suggests learning rate and batch size in an Optuna study, inside of what a lock knows to work.

Asks the trial alone, so it imports no Optuna.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.global_batch.divisors import micro_batches
from harness.lockfile.rates import locked_range

if TYPE_CHECKING:
    from harness.lockfile.profiles import LockedProfile

INSTALL = "pip install 'pytest-gpu-profile[optuna]'"


def suggest_learning_rate(trial: Any, tuned: LockedProfile, name: str = "learning_rate") -> float:
    """Suggest a learning rate, log-uniform inside of the locked `learning_rate_range`.

    The range is for the tuned batch. At another batch size hand the suggestion to
    `harness.scale_learning_rate(rate, tuned.batch_size, batch_size, rule)`.

    trial: `optuna.Trial`, or anything with its methods. name: the parameter's in the study.

    Raises HarnessError, with the reason, when the profile has no learning rate or no range.
    """
    low, high = locked_range(tuned)
    return float(_method(trial, "suggest_float")(name, low, high, log=True))


def suggest_batch_size(trial: Any, tuned: LockedProfile, name: str = "batch_size") -> int:
    """Suggest one of `batch_sizes(tuned)`; arguments as of `suggest_learning_rate`.

    The sizes are categories, which one study cannot change: begin a new study, under another name,
    when the lock has changed.
    """
    return int(_method(trial, "suggest_categorical")(name, batch_sizes(tuned)))


def batch_sizes(tuned: LockedProfile) -> list[int]:
    """Return the sizes that are known to fit: powers of two, and the tuned batch, the largest.

    Where the case has a global batch, they are its divisors, so that whole micro-batches make it.
    Where it asks for multiples (`search.round_to`), they are that number times powers of two.
    None is below `search.min_batch_size`, nor below 2, because normalisation over a batch needs
    two samples, unless the tuned batch itself is.

    The sizes are those of training. Validation is known to fit at `tuned.validation_batch_size`,
    which `harness.apply` sets. It may be smaller where validation was searched on its own.
    """
    unit = _setting(tuned, "search.round_to")
    least = max(2, _setting(tuned, "search.min_batch_size"))
    if tuned.global_batch_size is not None:
        whole = micro_batches(tuned.global_batch_size, least, tuned.batch_size, unit)
        return [*(size for size in whole if size < tuned.batch_size), tuned.batch_size]
    sizes = [unit << power for power in range(tuned.batch_size.bit_length())]
    fitting = [size for size in sizes if least <= size < tuned.batch_size]
    return [*fitting, tuned.batch_size]


def _setting(tuned: LockedProfile, name: str) -> int:
    """Return a setting that is a whole number; the lock leaves out those that are the default."""
    value = tuned.settings.get(name, 1)
    return value if isinstance(value, int) and value > 0 else 1


def _method(trial: Any, name: str) -> Any:
    found = getattr(trial, name, None)
    if not callable(found):
        raise HarnessError(
            f"trial={type(trial).__name__}: an optuna.Trial is needed, which has {name}. "
            f"`{INSTALL}` installs Optuna"
        )
    return found
