"""Holds several GPUs of one kind for the ranks of one case.

Each of them is a `CudaDevice`, which waits for its memory and watches its health.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.devices.cuda import CudaDevice
from harness.devices.cuda_environment import showing
from harness.devices.gpu_locks import lock_gpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.devices.nvml.gpu import Gpu


class CudaGroup:
    """As many GPUs as a case has ranks, of those that are alike.

    Args:
        count: the GPUs of the case.
        gpus: the GPUs that match; all have the name and memory of the first.
        options: those of the `CudaDevice` of each GPU.

    """

    can_snapshot = True
    stands_for = None

    def __init__(
        self,
        count: int,
        gpus: Sequence[Gpu],
        *options: *tuple[int | None, float, float, float],
    ) -> None:
        self.gpus = gpus
        self.count = count
        self._options = options
        self._devices = self._of(gpus[:count])
        first = self._devices[0]
        self.total_bytes = first.total_bytes
        self.emulated = first.emulated
        self.identity = replace(first.identity, count=count)
        self.bound = first.bound
        self.versions = first.versions
        self.memory_settings = first.memory_settings

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment variables that show a process these GPUs and no others."""
        return showing(",".join(one.gpu.uuid for one in self._devices))

    @property
    def share(self) -> float:
        """The number of GPUs that a case takes: it never shares one."""
        return float(self.count)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Lock the GPUs for one case, all or none, and wait for the memory of each.

        Raises MachineError as `CudaDevice.hold` does.
        """
        held = lock_gpus(self.gpus, self.count, self._devices[0].lock_seconds)
        try:
            self._devices = self._of(held.gpus)
            with ExitStack() as stack:
                for device in self._devices:
                    stack.enter_context(device.watched(held))
                yield
        finally:
            held.release()

    def settle(self) -> None:
        """Wait until a probe's memory is free again on each GPU, and check their health."""
        for device in self._devices:
            device.settle()

    def notes(self) -> tuple[str, ...]:
        """Return the notes about each GPU."""
        return tuple(
            f"{device.gpu.uuid}: {note}" for device in self._devices for note in device.notes()
        )

    def _of(self, gpus: Sequence[Gpu]) -> list[CudaDevice]:
        return [CudaDevice([gpu], *self._options) for gpu in gpus]
