"""GPU profiling harness for pytest: batch size and learning rate as tested, committed facts.

The public names are resolved lazily, so that `import harness` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.applying import apply as apply
    from harness.errors import HarnessError as HarnessError
    from harness.lockfile import LockedProfile as LockedProfile
    from harness.tuned import load_profile as load_profile

_HOMES = {
    "HarnessError": "harness.errors",
    "LockedProfile": "harness.lockfile",
    "apply": "harness.applying",
    "load_profile": "harness.tuned",
}

__all__ = ["HarnessError", "LockedProfile", "apply", "load_profile"]


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only paid for by those who use a name

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
