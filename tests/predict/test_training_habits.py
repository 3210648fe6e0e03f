"""Habits of training steps that a trace must follow.

One process builds all workloads, and its forks trace them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from projects import WORKLOADS, shared_folder, workload
from tracing_zoo import KEPT_FLOATS

from harness.predict.trace import AffineTrace, QuadraticTrace, Trace

if TYPE_CHECKING:
    from pathlib import Path

TRACE_ALL = """
import json, os, sys, warnings
import torch._dynamo
from harness.predict.cuda_operators import install as as_cuda
from harness.predict.tracing.task import trace
from harness.workload import build as workloads

warnings.simplefilter("ignore")
as_cuda.install((8, 0))
jobs = json.load(sys.stdin)
built = [workloads.build(job["spec"]) for job in jobs]
for job, workload in zip(jobs, built):
    pid = os.fork()
    if not pid:
        result = trace(workload, job["request"], lambda _: None)
        with open(job["answer"], "w") as file:
            json.dump(result, file)
        os._exit(0)
    os.waitpid(pid, 0)
"""
HALF = {"precision": "16-mixed"}
JOBS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "plain": ("zoo.Net", {}, (4,)),
    "plain in half": ("zoo.Net", HALF, (4,)),
    "contrastive": ("tracing_zoo.Contrastive", {}, (2, 4, 8, 16)),
    "without autocast": ("tracing_zoo.WithoutAutocast", HALF, (4,)),
    "old autocast": ("tracing_zoo.OldAutocast", {}, (4,)),
    "skips nan": ("tracing_zoo.SkipsNan", {}, (4,)),
    "asserts": ("tracing_zoo.Asserts", {}, (4,)),
    "never steps": ("tracing_zoo.NeverSteps", {}, (4,)),
    "cached": ("tracing_zoo.Cached", {}, (4,)),
    "averaged": ("tracing_zoo.Averaged", {}, (4,)),
    "leaks": ("tracing_zoo.Leaks", {}, (4,)),
    "sparse": ("tracing_zoo.Sparse", {}, (4,)),
}


class Traced:
    """The result and the traces of one workload."""

    def __init__(self, folder: Path, sizes: tuple[int, ...]) -> None:
        self.result: dict[str, Any] = json.loads((folder / "answer").read_text())
        files = [folder / str(size) for size in sizes]
        self.traces = [
            Trace.from_json(json.loads(file.read_text())) for file in files if file.exists()
        ]

    @property
    def peak_bytes(self) -> int:
        """The peak of its only trace."""
        (trace,) = self.traces
        return trace.peak_bytes


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Traced]:
    """Trace all workloads, once for all of xdist's workers."""
    root = shared_folder(tmp_path_factory) / "habits"
    with FileLock(f"{root}.lock"):
        if not root.exists():
            trace_all(root)
    return {name: Traced(root / name, sizes) for name, (_, _, sizes) in JOBS.items()}


def trace_all(root: Path) -> None:
    """Write the traces of each workload into a folder of its own."""
    jobs = []
    for name, (model, trainer, sizes) in JOBS.items():
        folder = root / name
        folder.mkdir(parents=True)
        request = {
            "trainer": trainer,
            "batch_sizes": sizes,
            "validation_steps": 0,
            "files": [str(folder / str(size)) for size in sizes],
            "capability": [8, 0],
        }
        jobs.append({"spec": workload(model), "request": request, "answer": str(folder / "answer")})
    subprocess.run(
        [sys.executable, "-c", TRACE_ALL],
        input=json.dumps(jobs),
        text=True,
        check=True,
        capture_output=True,
        cwd=WORKLOADS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},  # a fork has none of its parent's threads
        timeout=120,
    )


def test_product_of_two_batch_dimensions_is_noticed_and_followed(traced: dict[str, Traced]) -> None:
    """Its sizes lie on no line, but on a parabola that also meets a fourth trace."""
    small, medium, large, fourth = traced["contrastive"].traces
    assert AffineTrace(small, medium).is_outgrown
    assert fourth == QuadraticTrace(small, medium, large).at(16)


@pytest.mark.parametrize(
    ("name", "as_much_as"), [("without autocast", "plain"), ("old autocast", "plain in half")]
)
def test_autocast_by_the_name_of_cuda_is_followed(
    traced: dict[str, Traced], name: str, as_much_as: str
) -> None:
    """Autocast in the module takes the same memory as the Trainer's precision of that kind."""
    assert traced[as_much_as].peak_bytes == traced[name].peak_bytes
    assert traced["plain"].peak_bytes != traced["plain in half"].peak_bytes


@pytest.mark.parametrize("name", ["skips nan", "asserts"])
def test_checks_that_all_is_finite_hold(traced: dict[str, Traced], name: str) -> None:
    """The training goes on as with finite numbers, and a note gives the assumption."""
    (trace,) = traced[name].traces
    assert any(block.kind == "gradient" for block in trace.blocks)
    assert any(
        "tracing_zoo.py" in note and "the trace assumed True" in note for note in trace.notes
    )


def test_training_without_a_step_is_an_error(traced: dict[str, Traced]) -> None:
    """A training whose optimizer never gets a gradient is an error."""
    assert (
        traced["never steps"]
        .result["detail"]
        .startswith("RuntimeError: no optimizer step took effect in ")
    )


def test_tensor_that_is_moved_to_the_module_s_device_stays_there(traced: dict[str, Traced]) -> None:
    """A tensor from the host takes the GPU's memory once it is moved there."""
    grown = traced["cached"].peak_bytes - traced["plain"].peak_bytes
    assert KEPT_FLOATS * 4 <= grown <= KEPT_FLOATS * 4 + 1024


def test_copy_of_the_weights_on_a_gpu_by_name_is_counted(traced: dict[str, Traced]) -> None:
    """An average of the weights takes their size again, and eight bytes for a counter."""
    plain, averaged = (
        sum(
            block.num_bytes
            for trace in traced[name].traces
            for block in trace.blocks
            if block.kind == "parameter"
        )
        for name in ("plain", "averaged")
    )
    assert 2 * plain + 8 == averaged


def test_what_grows_from_step_to_step_is_told(traced: dict[str, Traced]) -> None:
    """A training that keeps tensors of each step has a note; one that keeps nothing has none."""
    (leaking,), (plain,) = traced["leaks"].traces, traced["plain"].traces
    (note,) = leaking.notes
    assert (
        "memory grows from step to step, and only two steps were traced: what stays was made in "
        "layers.0"
    ) == note
    assert () == plain.notes


def test_sparse_gradients_are_traced(traced: dict[str, Traced]) -> None:
    """Sparse gradients, which have no storage, do not stop a trace."""
    assert "fits" == traced["sparse"].result["outcome"]
