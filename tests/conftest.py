"""Fixtures shared by the tests that run probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.devices.cpu import CpuDevice
from harness.probe import ProbeRunner

TESTS = Path(__file__).parent
MIB = 1 << 20


def workload(module: str, data: str | None = "zoo.Numbers", **more: Any) -> dict[str, Any]:
    """Make the workload mapping of a case from class paths in the zoo."""
    return {
        "module": {"class_path": module, "init_args": more.pop("module_args", {})},
        "data": {"class_path": data, "init_args": more.pop("data_args", {})} if data else None,
        "loss": None,
        "optimizer": None,
        "batch_size_attr": None,
        "learning_rate_attr": None,
    } | more


StartRunner = Callable[..., ProbeRunner]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartRunner]:
    """Start runners on the CPU; they are closed with the test."""
    with ExitStack() as stack:

        def start(
            spec: dict[str, Any],
            budget: int = 64 * MIB,
            trainer: dict[str, Any] | None = None,
            timeout: float = 120.0,
        ) -> ProbeRunner:
            import sys  # noqa: PLC0415 - only to extend the probes' path

            runner = ProbeRunner(
                spec,
                CpuDevice(budget),
                trainer or {},
                tmp_path / "logs",
                sys_path=[str(TESTS), *sys.path],
                timeout=timeout,
            )
            return stack.enter_context(runner)

        yield start
