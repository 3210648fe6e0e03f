"""A simulated GPU as the device of a case; it becomes one product after another."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness.devices.cuda_environment import allocator_settings, showing
from harness.measurement import DeviceIdentity
from harness.predict.gpus import simulated
from harness.probes.ranks import num_local
from harness.simulated.environment import environment, inside
from harness.simulated.interpreter import torch_of
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.protocol.case import BoundSpec

# More memory than any training takes. Addresses are reserved and never backed, so that it costs
# nothing; a process has 128 TiB of them.
_BOUNDLESS_BYTES = 1 << 44

_NO_WORKSPACES = (
    "the cuDNN beside torch does not say what convolutions take for themselves (from 9.11 on it "
    "does), so their workspaces are not counted"
)


class SimulatedDevice:
    """The GPUs of a world, for probes whose memory is counted and whose values are zeros.

    The world has the GPUs of the machine with rank 0, and that rank stands for all.

    Args:
        case: the case whose share and budget of the memory count.
        gpu: the product that it is at first.
        file: where the world is made.
        every_rank: run each rank of the case, with a GPU of its own.

    Raises HarnessError where a simulated GPU cannot be had: it names what is missing.

    """

    can_snapshot = True

    def __init__(self, case: Case, gpu: GpuFacts, file: Path, *, every_rank: bool = False) -> None:
        self._every_rank = every_rank
        self._world = World.create(file, [simulated(gpu)])
        found = environment(self._world, torch_folder=_torch_of(case))
        if every_rank:
            # torch's ranks send each other objects.
            found |= inside() | showing(",".join(map(str, range(case.num_ranks))))
        else:
            found |= showing("0")  # probes of more ranks see more GPUs
        self.environment: Mapping[str, str] = found
        self.memory_settings: dict[str, Any] = allocator_settings(os.environ)
        self.versions: Mapping[str, str] = {}
        self.become(case, gpu)

    def become(self, case: Case, gpu: GpuFacts) -> None:
        """Be another product, or the device of another case, with its number of ranks."""
        self.gpu = gpu
        self.count = case.num_ranks
        self.stands_for: int | None = None if self._every_rank else _ranks(case)
        self._num_gpus = self.count if self._every_rank else num_local(self.count)
        self._world.show(self._num_gpus)
        # The memory that a case on the CPU may have says nothing of a GPU.
        budget = case.device.budget if case.device.accelerator == "cuda" else None
        fraction = case.search.target_memory_fraction
        self.emulated = budget is not None
        self.total_bytes = gpu.nvml_bytes
        self.identity = DeviceIdentity(gpu.name, budget or gpu.nvml_bytes, self.count)
        self.limit_bytes = int(fraction * min(budget or gpu.total_bytes, gpu.total_bytes))
        self.bound: BoundSpec = {
            "accelerator": "cuda",
            "budget_bytes": budget,
            "fraction": fraction,
        }
        self._fill_world()

    @contextmanager
    def boundless(self) -> Iterator[None]:
        """Give the GPU more memory than any training takes, for probes within the block."""
        kept = self.bound
        self.bound = {"accelerator": "cuda", "budget_bytes": None, "fraction": 0.5}
        self._fill_world(_BOUNDLESS_BYTES)
        try:
            yield
        finally:
            self.bound = kept
            self._fill_world()

    def _fill_world(self, total_bytes: int | None = None) -> None:
        """Make all GPUs of the world the product, with other memory where that is given."""
        for place in range(self._num_gpus):
            self._world.become(simulated(self.gpu, total_bytes), place)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Do nothing: nobody else has this GPU."""
        yield

    def settle(self) -> None:
        """Do nothing: a process gives its memory back when it ends."""

    def notes(self) -> tuple[str, ...]:
        """Return a note where the workspaces of convolutions are not counted."""
        return () if self._world.workspaces_known else (_NO_WORKSPACES,)


def _ranks(case: Case) -> int:
    """Return the ranks of a case; 0 where its training has none.

    A training of its own that is asked for on one device has one, as under `torchrun`.
    """
    trains_itself = case.workload.get("training") is not None and "devices" in case.trainer
    return case.num_ranks if case.num_ranks > 1 or trains_itself else 0


def _torch_of(case: Case) -> Path | None:
    """Return the package of the torch that a command imports; None: that of this environment."""
    command = case.workload.get("command")
    program = None if command is None else shutil.which(command[0])
    return None if program is None else torch_of(program)
