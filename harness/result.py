"""One case's outcome in one run: what its test came to, what was measured, and how that compares with the lock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.bounds import Violation
from harness.lockfile import LockedProfile
from harness.measurement import DeviceIdentity, Measurement, Scalar
