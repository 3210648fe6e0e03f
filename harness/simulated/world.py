"""Makes the worlds that processes share: a mapped file with GPUs, their memory, and faults.

    world = World.create(path, [SimulatedGpu(name="NVIDIA H100 80GB HBM3", total_bytes=..., ...)])
    subprocess.run(..., env={**os.environ, **environment(world)})
    world.held(0)

CUDA and NVML of each process in the world answer from this file, so it may be changed while they
run. The places of GPUs are counted as `create` was given them.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.errors import HarnessError
from harness.files import replacing
from harness.simulated.faults import NUMBERS, Fault
from harness.simulated.layout import (
    MAGIC,
    MAX_EVENTS,
    MAX_FAULTS,
    MAX_GPUS,
    MAX_PEAKS,
    NO_GPU,
    SIZE,
    TEXT,
    VERSION,
    WORKSPACE_OF_CUDNN,
    RawEvent,
    RawFault,
    RawGpu,
    RawWorld,
)
from harness.simulated.peaks import peak_of
from harness.wording import shown_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulated.peaks import Peak

MIB = 1 << 20
# nvmlEventType: of double-bit ECC errors and of Xids.
_ECC_EVENT, _XID_EVENT = 2, 8
# An assumption that no measurement stands behind yet: half a GiB, as nvidia-smi shows for idle
# processes on recent GPUs. Batches do not depend on it, because the limit is on reserved bytes.
CONTEXT_BYTES = 530 * MIB
_NANOSECONDS = 1e9


@dataclass(frozen=True, slots=True)
class SimulatedGpu:
    """One GPU, or an instance of a GPU in MIG mode."""

    name: str
    """NVML's product name."""
    total_bytes: int
    """The memory as CUDA sees it."""
    capability: tuple[int, int]
    sm_count: int = 132
    nvml_bytes: int | None = None
    """NVML's total; None: the same."""
    uuid: str | None = None
    """GPU-… or MIG-… with 32 hexadecimal digits; None: one by the place."""
    bus_id: str | None = None
    """None: one by the place; an instance has its GPU's."""
    context_bytes: int = CONTEXT_BYTES
    """What a process's first use takes."""
    foreign_bytes: int = 0
    """What others hold."""
    foreign_pid: int = 0
    """The process that NVML names for it; 0: none."""
    foreign_name: str = ""
    workspace_bytes: int | None = None
    """What each convolution asks for; None: what the cuDNN beside torch chooses for this GPU."""
    mig: bool = False
    """Whether it is in MIG mode; its instances follow it."""
    parent: int | None = None
    """The place of an instance's GPU."""
    instance: tuple[int, int] = (0, 0)
    """NVML's ids of an instance: of the GPU instance, and of the compute instance in it."""
    prohibited: bool = False
    """Whether no program may use it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process of a world and what it holds on one GPU."""

    pid: int
    held_bytes: int


class World:
    """The world in one file, open in this process."""

    def __init__(self, path: Path) -> None:
        """Open a world; raises HarnessError where the file is none of this version."""
        self.path = Path(os.path.realpath(path))
        try:
            with self.path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), SIZE)
        except (OSError, ValueError) as error:
            raise HarnessError(
                f"{shown_path(path)}: cannot be read as a simulated world ({error}): make it anew"
            ) from error
        self.raw = RawWorld.from_buffer(self._memory)
        if (self.raw.magic, self.raw.version, self.raw.size) != (MAGIC, VERSION, SIZE):
            raise HarnessError(
                f"{shown_path(path)}: is no simulated world of this version: make it anew"
            )

    @classmethod
    def create(
        cls,
        path: Path,
        gpus: Sequence[SimulatedGpu],
        *,
        driver: str = "580.95.05",
        cuda_version: int = 13000,
        late_seconds: float = 0.0,
    ) -> Self:
        """Write a world into a file, and open it.

        gpus: in the order of their PCI bus ids, the instances of a GPU behind it.
        late_seconds: how long the memory of a process that has ended stays taken.

        Raises HarnessError where there are too many GPUs.
        """
        if len(gpus) > MAX_GPUS:
            raise HarnessError(_too_many(len(gpus)))
        raw = RawWorld(magic=MAGIC, version=VERSION, size=SIZE, num_gpus=len(gpus))
        raw.driver = driver.encode()
        raw.cuda_version = cuda_version
        raw.late = int(late_seconds * _NANOSECONDS)
        for place, gpu in enumerate(gpus):
            raw.gpus[place] = _raw(place, gpu, gpus)
        with replacing(path) as temporary:
            temporary.write_bytes(bytes(raw))
        return cls(path)

    def add(self, fault: Fault) -> None:
        """Add a fault, from now on. Raises HarnessError where there are too many."""
        number = self.raw.num_faults
        if number >= MAX_FAULTS:
            raise HarnessError(f"a simulated world has at most {MAX_FAULTS} faults: make it anew")
        self.raw.faults[number] = RawFault(
            kind=NUMBERS[fault.kind],
            code=fault.code,
            gpu=NO_GPU if fault.gpu is None else fault.gpu,
            sticky=fault.sticky,
            each_process=fault.each_process,
            xid=fault.xid,
            nth=fault.nth,
            times=fault.times,
            neighbour=fault.neighbour_bytes,
        )
        # Processes look at the fault only after this.
        self.raw.num_faults = number + 1

    def become(self, gpu: SimulatedGpu, place: int = 0) -> None:
        """Put another GPU into a place; no process of the world may use a GPU meanwhile."""
        self.raw.gpus[place] = _raw(place, gpu, [gpu])

    def show(self, number: int) -> None:
        """Give the world so many GPUs, those of the first places; when, as `become` says.

        Raises HarnessError where there are too many.
        """
        if number > MAX_GPUS:
            raise HarnessError(_too_many(number))
        self.raw.num_gpus = number

    def counted(self, number: int = 0) -> int:
        """Return how many calls a fault has seen, over all processes."""
        return int(self.raw.faults[number].seen)

    def raise_xid(self, xid: int, gpu: int = 0) -> None:
        """Add an Xid to NVML's events."""
        self._event(_XID_EVENT, xid, gpu)

    def raise_ecc_error(self, gpu: int = 0) -> None:
        """Add an uncorrected error of the memory to NVML's events, and count it."""
        self.raw.gpus[gpu].ecc_errors += 1
        self._event(_ECC_EVENT, 0, gpu)

    def lose(self, gpu: int = 0, nvml_error: int = 15) -> None:
        """Make NVML answer every question about a GPU with an error: 15, that it is lost."""
        self.raw.gpus[gpu].nvml_error = nvml_error

    def take(self, foreign_bytes: int, gpu: int = 0) -> None:
        """Set the memory of a GPU that others hold."""
        self.raw.gpus[gpu].foreign = foreign_bytes

    def holders(self, gpu: int = 0) -> list[Holder]:
        """Return the processes that the file has, those included that have ended unnoticed."""
        return [
            Holder(process.pid, process.held[gpu])
            for process in self.raw.processes
            if process.pid and process.contexts & 1 << gpu
        ]

    def living(self) -> list[int]:
        """Return the ids of the processes that have used a GPU of the world and still run."""
        return [
            process.pid
            for process in self.raw.processes
            if process.pid and process.contexts and _start_of(process.pid) == process.started
        ]

    def used_bytes(self, gpu: int = 0) -> int:
        """Return what is in use on a GPU, by processes of the world and by others."""
        held = sum(process.held[gpu] for process in self.raw.processes)
        return int(self.raw.gpus[gpu].foreign + held)

    def peak_used_bytes(self, gpu: int = 0) -> int:
        """Return the most that was in use on a GPU at once, contexts and others included."""
        return int(self.raw.gpus[gpu].peak)

    @property
    def workspaces_known(self) -> bool:
        """Whether cuDNN told the workspaces of all convolutions that it was asked about."""
        return not any(gpu.workspaces_unknown for gpu in self.raw.gpus[: self.raw.num_gpus])

    def peaks(self) -> list[Peak]:
        """Return what each process needed, in the order of their first use of a GPU.

        A process has an entry for each GPU that it used. `num_peaks` tells how many there would be.
        """
        listed = self.raw.peaks[: min(self.num_peaks, MAX_PEAKS)]
        return [peak_of(raw, self.raw.gpus[raw.gpu].context) for raw in listed]

    @property
    def num_peaks(self) -> int:
        """How many entries were begun; `peaks` has the first 1024 of them."""
        return int(self.raw.num_peaks)

    def _event(self, kind: int, data: int, gpu: int) -> None:
        found = self.raw.gpus[gpu]
        physical = gpu if found.parent == NO_GPU else found.parent
        self.raw.events[self.raw.num_events % MAX_EVENTS] = RawEvent(
            type=kind, data=data, gpu=physical, gpu_instance=found.gpu_instance
        )
        self.raw.num_events += 1


def _too_many(number: int) -> str:
    return f"a simulated world has at most {MAX_GPUS} GPUs and instances, and {number} are given"


def _start_of(pid: int) -> int | None:
    """Return when a process was started, by the kernel's clock; None where it has ended."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # Behind the name, which may hold anything: the state, and 18 numbers further the start.
    state, *numbers = facts.rpartition(b")")[2].split()
    return None if state in {b"Z", b"X"} else int(numbers[18])


def _raw(place: int, gpu: SimulatedGpu, gpus: Sequence[SimulatedGpu]) -> RawGpu:
    parent = None if gpu.parent is None else gpus[gpu.parent]
    siblings = [other for other in gpus[:place] if other.parent == gpu.parent]
    bus_id = gpu.bus_id or f"00000000:{16 + place:02X}:00.0"
    if parent is not None:
        assert gpu.parent is not None
        bus_id = parent.bus_id or f"00000000:{16 + gpu.parent:02X}:00.0"
    kind = "GPU" if parent is None else "MIG"
    raw = RawGpu(
        name=_text(gpu.name),
        uuid=_text(gpu.uuid or f"{kind}-51000000-0000-4000-8000-{place:012x}"),
        bus_id=bus_id.encode(),
        foreign_name=_text(gpu.foreign_name),
        total=gpu.total_bytes,
        nvml_total=gpu.nvml_bytes or gpu.total_bytes,
        context=gpu.context_bytes,
        foreign=gpu.foreign_bytes,
        workspace=WORKSPACE_OF_CUDNN if gpu.workspace_bytes is None else gpu.workspace_bytes,
        foreign_pid=gpu.foreign_pid,
        sm_count=gpu.sm_count,
        parent=NO_GPU if gpu.parent is None else gpu.parent,
        mig_slot=len(siblings),
        mig_mode=gpu.mig,
    )
    raw.major, raw.minor = gpu.capability
    raw.gpu_instance, raw.compute_instance = gpu.instance if parent else (-1, -1)
    # nvmlComputeMode_t.
    raw.compute_mode = 2 if gpu.prohibited else 0
    return raw


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) >= TEXT:
        raise HarnessError(f"{text[:TEXT]}…: a simulated GPU's names have less than {TEXT} bytes")
    return data
