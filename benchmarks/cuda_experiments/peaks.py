"""Experiments 5 and 6: the memory of each step, and the speed of batches close to the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cuda_experiments.models import called, main_workload
from cuda_experiments.searching import find_largest

if TYPE_CHECKING:
    from cuda_experiments.processes import ForkServer
    from cuda_experiments.setting import Note, Setting
    from harness.protocol.case import WorkloadSpec

_SGD = called("torch.optim.SGD", lr=0.01, momentum=0.9)
_SHARES = (1.0, 0.98, 0.95)
_NUM_ROUNDS = 3
_BATCH = 16
_IMPORTED = ("lightning.pytorch", "torchvision")
# Compiling takes the longest.
_CHILD_SECONDS = 90.0


def variants(setting: Setting) -> dict[str, tuple[WorkloadSpec, dict[str, Any]]]:
    """Return workload and Trainer's settings of each variant."""
    plain = main_workload(cut_down=setting.cut_down)
    every: dict[str, tuple[WorkloadSpec, dict[str, Any]]] = {
        "SGD": ({**plain, "optimizer": _SGD}, {}),
        "AdamW": (plain, {}),
        "16-mixed": (plain, {"precision": "16-mixed"}),
        "bf16-mixed": (plain, {"precision": "bf16-mixed"}),
        "cudnn.benchmark": (plain, {"benchmark": True}),
        "compile": ({**plain, "module": called("torch.compile", model=plain["module"])}, {}),
    }
    return setting.some(every, "SGD")


def step_peaks(setting: Setting, note: Note) -> None:
    """Train ten steps and validate, in each variant."""
    with setting.server("steps", *_IMPORTED) as server:
        for name, (spec, trainer) in variants(setting).items():
            if name not in note:
                note(name, _steps(setting, server, spec, trainer, _BATCH))


def speed_at_the_edge(setting: Setting, note: Note) -> None:
    """Find B, and train alternately at B and just below."""
    spec = main_workload(cut_down=setting.cut_down)
    known = setting.expected.get("workloads", {}).get("resnet50", {}).get("B")
    with setting.runner("edge", spec) as runner:
        runner.describe()
        largest = find_largest(runner, note, "search", known).max_batch_size
    note("B", largest)
    with setting.server("edge", *_IMPORTED) as server:
        for turn in range(1 if setting.cut_down else _NUM_ROUNDS):
            for share in _SHARES:
                batch_size = max(1, int(share * largest))
                ended = _steps(setting, server, spec, {}, batch_size)
                speed = _speed(ended, batch_size) | {"child": ended}
                if setting.simulated:
                    del speed["samples_per_second"]  # it computes nothing
                note(f"{share:g} B, turn {turn + 1}", speed)


def _steps(
    setting: Setting,
    server: ForkServer,
    spec: WorkloadSpec,
    trainer: dict[str, Any],
    batch_size: int,
) -> dict[str, Any]:
    """Train ten steps and a validation batch in a fork; return a record of each."""
    return server.ask(
        "steps",
        _CHILD_SECONDS,
        spec=spec,
        bound=setting.device().bound,
        trainer=trainer,
        batch_size=batch_size,
        num_steps=10,
    )


def _speed(ended: dict[str, Any], batch_size: int) -> dict[str, Any]:
    """Return samples per second and the allocator's retries, without the first three steps."""
    steps = [
        step for step in (ended["answer"] or {"steps": []})["steps"] if step["what"] == "train"
    ]
    settled = steps[3:]
    seconds = sum(step["seconds"] for step in settled)
    retries = [step["num_alloc_retries"] for step in steps if "num_alloc_retries" in step]
    return {
        "batch_size": batch_size,
        "samples_per_second": round(len(settled) * batch_size / seconds, 1) if seconds else None,
        "retries": retries[-1] if retries else None,
        "retries after warm-up": retries[-1] - retries[2] if len(retries) > 3 else None,
    }
