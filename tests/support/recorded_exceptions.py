"""Records the exceptions that torch's own code raises, on a simulated GPU.

    python tests/support/recorded_exceptions.py

replaces the records of these rows in `tests/data/cuda_exceptions.json`, but those that a real GPU
has shown. It needs torch's CUDA build; one before 2.8 records the rows that are its own. What CUDA
and its libraries answer is given by a fault, by the words of their documentation; what torch makes
of it is torch's.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "benchmarks")]

import torch
from cuda_experiments import failing
from cuda_experiments.failures import break_nvml
from simulated_worlds import CONTEXT, H100_TOTAL, MIB, Worlds, h100, inside
from torch_server import TorchServer

from harness.simulated.faults import Fault
from harness.simulated.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "data" / "cuda_exceptions.json"
# What the source of a record says that was made here, before the place in torch's code.
_SOURCE = re.compile(r"recorded from torch \S+ on a simulated GPU(: )?")
_BUDGET = 4 << 30
# Others leave so little that a failure means the device's memory.
_SHORT = h100(foreign_bytes=H100_TOTAL - CONTEXT - 256 * MIB)
_EXPANDABLE = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
_CONVOLVE = "model = torch.nn.Conv2d(1, 1, 1).cuda(); x = torch.zeros(1, 1, 4, 4, device='cuda')"
_MULTIPLY = "x = torch.zeros(4, 4, device='cuda')"
_FIND = "torch.backends.cudnn.benchmark = True; " + _CONVOLVE
_LAUNCH = "x = torch.zeros(4, device='cuda'); torch.cuda.synchronize()"
_LOADER = (
    "from torch.utils.data import DataLoader, TensorDataset; torch.zeros(1, device='cuda')\n"
    "loader = DataLoader(TensorDataset(torch.zeros(4, 4)), 2, num_workers=1, pin_memory=True)"
)


@dataclass(frozen=True)
class Scenario:
    """How a row comes about on a simulated GPU."""

    call: str | None = None
    """The expression that fails; None: as on a real GPU, by `cuda_experiments.failing`."""
    prepare: str = ""
    """Statements before it."""
    faults: tuple[Fault, ...] = ()
    gpu: Any = field(default_factory=h100)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that torch reads while it is imported, so that the row has a process of its own."""
    nvml_error: int = 0
    """What NVML answers from the moment on in which CUDA has begun."""
    broken_nvml: bool = False
    """Whether NVML finds no driver."""


def _launch(code: int) -> Scenario:
    # The first kernel fills the tensor, the second is the one that fails.
    fails = "(x + 1, torch.cuda.synchronize())"
    return Scenario(fails, _LAUNCH, (Fault("launch", code=code, nth=2),))


def _library(call: str, prepare: str, fault: Fault, *, short: bool = True) -> Scenario:
    return Scenario(call, prepare, (fault,), _SHORT if short else h100())


SCENARIOS: dict[str, Scenario] = {
    "caching allocator, at the fraction": Scenario(),
    "caching allocator, at the fraction, in the backward thread": Scenario(),
    "caching allocator, the device is full": Scenario(),
    "caching allocator, cudaMallocAsync": Scenario(
        environment=failing.ENVIRONMENTS["caching allocator, cudaMallocAsync"]
    ),
    "other CUDA call, the device is full": Scenario(
        "x + 1", _LAUNCH, (Fault("launch", nth=2),), _SHORT
    ),
    "other CUDA call, pinned host memory": Scenario(
        "torch.ones(1 << 20).pin_memory()",
        "torch.zeros(1, device='cuda')",
        (Fault("pinned", times=0),),
    ),
    "other CUDA call, pinned host memory, the loader's thread": Scenario(
        "next(iter(loader))", _LOADER, (Fault("pinned", times=0),)
    ),
    "other CUDA call, the context does not fit": Scenario(faults=(Fault("context", times=0),)),
    "NVML broken, the GPU is lost": Scenario(
        "failing.too_much()", "torch.zeros(1, device='cuda')", nvml_error=15
    ),
    "NVML broken, cannot be initialised": Scenario(broken_nvml=True),
    "expandable segments, at the fraction": Scenario(environment=_EXPANDABLE),
    "expandable segments, the driver": Scenario(
        "torch.zeros(1 << 25, device='cuda')",
        "torch.cuda.init()",
        (Fault("mapping", times=0),),
        _SHORT,
        _EXPANDABLE,
    ),
    "expandable segments, address space": Scenario(
        "torch.zeros(1 << 25, device='cuda')",
        "import resource; torch.cuda.mem_get_info()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (64 << 30, resource.RLIM_INFINITY))",
        environment=_EXPANDABLE,
    ),
    "expandable segments, another driver error": Scenario(
        "torch.zeros(1 << 25, device='cuda')",
        "torch.cuda.init()",
        (Fault("mapping", code=1, times=0),),
        environment=_EXPANDABLE,
    ),
    "cuDNN, no plan had room": Scenario(
        "model(x)", _CONVOLVE, gpu=replace(_SHORT, workspace_bytes=1 << 30)
    ),
    "cuDNN, no plan for the dtype": Scenario(
        "model(x)", _CONVOLVE, (Fault("engine", code=1, times=0),)
    ),
    "cuDNN benchmark, no plan had room": Scenario(
        "model(x)",
        _FIND + "; torch.cuda.set_per_process_memory_fraction(0.1)",
        gpu=h100(workspace_bytes=10 << 30),
    ),
    "cuDNN benchmark, no plan had room on the whole device": Scenario(
        "model(x)", _FIND, gpu=replace(_SHORT, workspace_bytes=1 << 30)
    ),
    "cuDNN benchmark, no plan for the dtype": Scenario(
        "model(x)", _FIND, (Fault("engine", code=1, times=0),)
    ),
    "cuDNN 9, its own allocation on the device": _library(
        "model(x)", _CONVOLVE, Fault("cudnn", code=4004, times=0)
    ),
    "cuDNN 9, its own allocation on the device, with room": _library(
        "model(x)", _CONVOLVE, Fault("cudnn", code=4004, times=0), short=False
    ),
    "cuDNN 9, its own allocation on the host": _library(
        "model(x)", _CONVOLVE, Fault("cudnn", code=4003, times=0), short=False
    ),
    "cuDNN, not contiguous": _library("model(x)", _CONVOLVE, Fault("cudnn", code=3000, times=0)),
    "cuBLAS, handle": _library("x @ x", _MULTIPLY, Fault("cublas", code=3, times=0)),
    "cuBLAS, handle, in other words": _library(
        "x @ x", _MULTIPLY, Fault("cublas", code=1, times=0)
    ),
    "cuBLAS, handle, with room": _library(
        "x @ x", _MULTIPLY, Fault("cublas", code=1, times=0), short=False
    ),
    "cuSOLVER": _library("torch.linalg.qr(x)", _MULTIPLY, Fault("cusolver", times=0)),
    "cuSOLVER, handle, in other words": _library(
        "torch.linalg.qr(x)", _MULTIPLY, Fault("cusolver", code=7, times=0)
    ),
    "never: illegal memory access": _launch(700),
    "never: device-side assert": _launch(710),
    "never: launch failure": _launch(719),
    "never: launch configuration": _launch(9),
    "never: too many resources": _launch(701),
    "never: 32-bit index math": Scenario(
        "torch.nn.functional.pad(x, (1, 1, 1, 1), mode='reflect')",
        "x = torch.empty(1 << 15, 16, 64, 65, dtype=torch.float16, device='cuda')",
    ),
    "Triton, the driver": Scenario(
        "failing.ROWS['never: illegal memory access']()",
        "torch.zeros(1, device='cuda')",
        (Fault("launch", nth=3),),
        _SHORT,
    ),
}
"""The rows that torch's own code decides, since 2.8."""
BEFORE = {
    "other CUDA call, the device is full, before torch 2.8": SCENARIOS[
        "other CUDA call, the device is full"
    ]
}
"""The rows that only an older torch has: it has no AcceleratorError."""
IS_OLD = not hasattr(torch, "AcceleratorError")


def make(worlds: Worlds, row: str) -> dict[str, Any]:
    """Let a row come about; return its record in the form of the fixtures."""
    scenario = (SCENARIOS | BEFORE)[row]
    world = worlds.make(scenario.gpu)
    for fault in scenario.faults:
        world.add(fault)
    script = (
        f"sys.path.insert(0, {str(ROOT / 'benchmarks')!r})\nfrom cuda_experiments import failing\n"
    )
    script += scenario.prepare + "\n"
    if scenario.nvml_error:
        script += (
            "from pathlib import Path; from harness.simulated.world import World\n"
            "world = World(Path(os.environ['GPU_PROFILE_SIMULATED_WORLD']))\n"
            f"world.lose(nvml_error={scenario.nvml_error})\n"
        )
    if scenario.call is None:
        script += f"tell(failing.fail(seen_on_gpu=False, row={row!r}, budget_bytes={_BUDGET}))\n"
    else:
        script += f"tell(failing.provoked({row!r}, lambda: {scenario.call}, seen_on_gpu=False))\n"
    environment = dict(scenario.environment)
    if scenario.broken_nvml:
        folder = break_nvml(worlds.folder)
        environment["LD_LIBRARY_PATH"] = f"{folder}:{inside(world)['LD_LIBRARY_PATH']}"
    run = worlds.fresh if environment else worlds.run
    *_, told = run(world, script, **environment)
    made: dict[str, Any] = told["record"]
    return made | {"message": without_paths(made["message"])}


def without_paths(message: str) -> str:
    """Return a message whose traceback has no folders of this machine."""
    return re.sub(r'File "[^"]*/site-packages/', 'File "', message)


def in_general(message: str) -> str:
    """Return a message without the numbers that differ between torch's versions and machines."""
    return re.sub(r"\d+(\.\d+)?", "N", message)


def recorded(records: list[dict[str, Any]], made: dict[str, Any]) -> None:
    """Put a record in the place of that of its row, whose expectation and place in code it keeps.

    A row that a real GPU has shown stays; a new one is added.
    """
    source = f"recorded from torch {torch.__version__} on a simulated GPU"
    for number, record in enumerate(records):
        if record["row"] == made["row"]:
            if not record["seen_on_gpu"]:
                place = _SOURCE.sub("", record["source"], count=1)
                kept = {"expected": record["expected"], "source": f"{source}: {place}".rstrip(": ")}
                records[number] = made | kept
            return
    records.append(made | {"source": source})


def main() -> None:
    """Replace the records of the fixtures by those that are made now."""
    records: list[dict[str, Any]] = json.loads(FIXTURES.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with TorchServer(inside(World.create(folder / "world", [h100()]))) as server:
            for row in BEFORE if IS_OLD else SCENARIOS:
                recorded(records, make(Worlds(folder, server), row))
    FIXTURES.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
