"""Experiments 5 and 6: the memory of each step, and the speed of batches close to the largest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cuda_experiments.models import called, main_workload
from cuda_experiments.searching import find_largest

if TYPE_CHECKING:
    from cuda_experiments.setting import Facts, Setting
    from harness.protocol import WorkloadSpec

_SGD = called("torch.optim.SGD", lr=0.01, momentum=0.9)
_SHARES = (1.0, 0.98, 0.95)
_NUM_ROUNDS = 3


def variants(setting: Setting) -> dict[str, tuple[WorkloadSpec, dict[str, Any]]]:
    """Return workload and Trainer's settings of each variant; a dry run has only two."""
    plain = main_workload(dry_run=setting.dry_run)
    both: dict[str, tuple[WorkloadSpec, dict[str, Any]]] = {
        "SGD": ({**plain, "optimizer": _SGD}, {}),
        "AdamW": (plain, {}),
    }
    if setting.dry_run:
        return both
    return both | {
        "16-mixed": (plain, {"precision": "16-mixed"}),
        "bf16-mixed": (plain, {"precision": "bf16-mixed"}),
        "compile": ({**plain, "module": called("torch.compile", model=plain["module"])}, {}),
        "cudnn.benchmark": (plain, {"benchmark": True}),
    }


def step_peaks(setting: Setting) -> Facts:
    """Train ten steps and validate, in each variant."""
    for name, (spec, trainer) in variants(setting).items():
        yield (
            name,
            setting.child(
                "steps",
                150.0,
                spec=spec,
                bound=setting.device().bound,
                trainer=trainer,
                batch_size=4 if setting.dry_run else 16,
                num_steps=10,
            ),
        )


def speed_at_the_edge(setting: Setting) -> Facts:
    """Find B, and train alternately at B and just below."""
    spec = main_workload(dry_run=setting.dry_run)
    with setting.runner("edge", spec) as runner:
        runner.describe()
        largest = find_largest(runner).max_batch_size
    yield "B", largest
    for turn in range(1 if setting.dry_run else _NUM_ROUNDS):
        for share in _SHARES:
            batch_size = max(1, int(share * largest))
            ended = setting.child(
                "steps",
                120.0,
                spec=spec,
                bound=setting.device().bound,
                trainer={},
                batch_size=batch_size,
                num_steps=10,
            )
            yield f"{share:g} B, turn {turn + 1}", _speed(ended, batch_size) | {"child": ended}


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
