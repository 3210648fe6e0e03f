"""Buckets of lengths on the CPU: searched, locked, read, and given to a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from projects import MIB, Project, StartRunner, copy_into, workload

import harness

if TYPE_CHECKING:
    from harness.protocol.messages import BucketBatch

MATRIX = """
version: 1
matrix: {model: [net, none], gpu: [cpu-16MiB], resolution: [64]}
models:
  net:
    module: {class_path: buckets_zoo.Reader}
    data: {class_path: buckets_zoo.Tokens, init_args: {length: "${resolution}", few: 40}}
    buckets: {field: resolution, edges: [16, 32, 64]}
  none:
    module: {class_path: buckets_zoo.Reader}
    data: {class_path: buckets_zoo.NoShortTokens, init_args: {length: 64}}
    buckets: {field: length, edges: [16, 64]}
gpus:
  cpu-16MiB: {accelerator: cpu, budget: 16MiB}
lr_range: {when: never}
"""


def batch(edge: int, batch_size: int) -> BucketBatch:
    """Return a batch of the bucket with this edge."""
    init_args: dict[str, Any] = {"length": edge, "few": 40}
    data = {"class_path": "buckets_zoo.Tokens", "init_args": init_args}
    return {"bucket": {"edge": edge, "data": data, "collate_fn": None}, "batch_size": batch_size}  # type: ignore[typeddict-item] # an ObjectSpec


def test_buckets_are_exact_locked_and_read(project: Project, start: StartRunner) -> None:
    """Alone each fits, and one more does not; together they train; few samples are the bound."""
    copy_into(project.path / "profiles", "buckets_zoo.py")
    (project.path / "profiles" / "matrix.yaml").write_text(MATRIX)
    first = project.run("--gpu-profile", "--gpu-profile-update")
    first.stdout.fnmatch_lines(
        [
            "*no batch size of the bucket up to 16 trains, though one of a longer bucket does: *",
            "ValueError: no texts of 16 tokens",
        ]
    )
    first.stdout.fnmatch_lines(["*net-cpu-16MiB-64: batch sizes by bucket: 16: *, 32: *, 64: *"])
    tuned = harness.load_profile("net", gpu="cpu-16MiB", lock=project.lock)
    sizes = {bucket.edge: bucket.max_batch_size for bucket in tuned.buckets}
    assert ["dataset", "memory", "memory"] == [bucket.bounded_by for bucket in tuned.buckets]
    assert (40, tuned.max_batch_size) == (sizes[16], sizes[64])
    runner = start(workload("buckets_zoo.Reader", "buckets_zoo.Tokens"), 16 * MIB)
    alone = {
        (edge, more): runner.train(
            sizes[edge] + more, steps=3, buckets=[batch(edge, sizes[edge] + more)]
        ).outcome
        for edge, more in [(16, 0), (16, 1), (32, 0), (32, 1)]
    }
    assert {(16, 0): "fits", (16, 1): "dataset", (32, 0): "fits", (32, 1): "oom"} == alone
    together = [batch(edge, size) for edge, size in tuned.bucket_batch_sizes.items()]  # type: ignore[arg-type] # whole numbers
    assert "fits" == runner.train(tuned.batch_size, steps=9, buckets=together).outcome
