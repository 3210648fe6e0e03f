"""Traces of a training: fake tensors take what real ones take, and operators are CUDA's."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from projects import workload
from torch._subclasses import FakeTensorMode

from harness.errors import WorkloadError
from harness.predict.cuda_operators.attention import Inputs, choose
from harness.predict.trace_request import take_traces
from harness.predict.tracing.kernel_scratch import scratch_of
from harness.predict.tracing.recorder import Recorder
from harness.predict.tracing.task import Tracer
from harness.predict.tracing.untraceable import refuse_compiled_code, why_untraceable
from harness.workload import build as workloads

if TYPE_CHECKING:
    from projects import StartRunner

    from harness.predict.trace import Trace
    from harness.protocol import WorkloadSpec

TURING, AMPERE, ADA, BLACKWELL_RTX = (7, 5), (8, 0), (8, 9), (12, 0)
DIGITS = "profiles.workloads.Digits"


def traced(spec: WorkloadSpec, *, fake: bool) -> Trace:
    """Trace a workload at batch 8, as the CPU computes it."""
    tracer = Tracer(workloads.build(spec), 8, fake=fake)
    try:
        return tracer.run({}, validation_steps=1)
    finally:
        tracer.recorder.close()


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning"
)  # Lightning's, and of fake data pointers
@pytest.mark.parametrize("arch", ["alexnet", "resnet", "vit"])
def test_fake_tensors_take_what_real_ones_take(arch: str) -> None:
    """The peak of two steps and validation is that of the same training on the CPU, to the byte."""
    spec = workload(
        "profiles.workloads.ImageClassifier", DIGITS, module_args={"arch": arch, "resolution": 16}
    )
    assert spec["data"] is not None
    spec["data"]["init_args"] = {"resolution": 16}
    assert traced(spec, fake=False).peak_bytes == traced(spec, fake=True).peak_bytes


def test_trace_names_what_holds_memory(start: StartRunner) -> None:
    """A trace tells parameters, gradients, optimizer state, activations and phases apart."""
    (trace,) = take_traces(start(workload("zoo.Net")), [4], 1, AMPERE)
    sums = dict.fromkeys(("parameter", "gradient", "optimizer"), 0)
    for block in trace.blocks:
        if block.kind in sums:
            sums[block.kind] += block.num_bytes
    assert sums["parameter"] > 0
    assert {"model", "step 1 forward", "step 2 optimizer", "validation"} <= {
        mark.phase for mark in trace.marks
    }
    assert any(block.module for block in trace.blocks if block.kind == "activation")


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)
def test_compute_capability_reaches_the_kernels_of_attention(start: StartRunner) -> None:
    """In bf16 the fused kernels need Ampere: a GPU before it keeps the matrix of scores too."""
    spec = workload(
        "profiles.workloads.ImageClassifier", DIGITS, module_args={"arch": "vit", "resolution": 16}
    )
    assert spec["data"] is not None
    spec["data"]["init_args"] = {"resolution": 16}
    runner = start(spec, trainer={"precision": "bf16-mixed"})
    (older,), (newer,) = (take_traces(runner, [8], 0, gpu) for gpu in (TURING, AMPERE))
    assert older.peak_bytes > newer.peak_bytes


def test_workload_that_cannot_be_traced_says_where(start: StartRunner) -> None:
    """The error of a step is reported with its phase and message."""
    with pytest.raises(
        WorkloadError, match=r"cannot be traced in .*: ValueError: labels must be sorted"
    ):
        take_traces(start(workload("zoo.Raises")), [4], 0, AMPERE)


@pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)
@pytest.mark.parametrize(
    ("model", "line", "message"),
    [
        ("Masked", 15, ": what aten.nonzero.default returns depends on the values of a tensor"),
        ("Counted", 23, " reads a whole number from a tensor"),
        ("Compiled", 32, " runs code that torch.compile compiles, which allocates otherwise"),
        ("Synchronized", 40, " needs a GPU, and a trace runs without one"),
        ("Renamed", None, None),
    ],
)
def test_what_stops_a_trace_is_named(model: str, line: int | None, message: str | None) -> None:
    """The reason has the user's file and line; an error of the workload itself has no reason."""
    tracer = Tracer(workloads.build(workload(f"untraceable_zoo.{model}")), 8)
    refuse_compiled_code()
    try:
        with pytest.raises(Exception, match=r".") as caught:
            tracer.run({}, validation_steps=0)
    finally:
        torch.compiler.set_stance("default")
        tracer.recorder.close()
    why = why_untraceable(caught.value)
    if message is None:
        assert why is None
    else:
        assert why is not None
        assert f"untraceable_zoo.py:{line}{message}" in why


def inputs(dtype: torch.dtype, features: int = 64, *, masked: bool = False, **more: Any) -> Inputs:
    """Return tensors without memory, that take part in training."""
    tensor = torch.empty(2, 4, 16, features, dtype=dtype, device="meta", requires_grad=True)
    return Inputs(
        tensor, tensor, tensor, torch.empty(16, 16, device="meta") if masked else None, **more
    )


@pytest.mark.parametrize(
    ("given", "capability", "kernel"),
    [
        (inputs(torch.bfloat16), AMPERE, "flash"),
        (inputs(torch.float16), TURING, "efficient"),
        (inputs(torch.bfloat16), TURING, "math"),
        (inputs(torch.float32), AMPERE, "efficient"),
        (inputs(torch.float32, 6), AMPERE, "math"),
        (inputs(torch.float32, 6), TURING, "efficient"),
        (inputs(torch.bfloat16, masked=True), AMPERE, "efficient"),
        (inputs(torch.bfloat16, 20), AMPERE, "flash"),
        (inputs(torch.bfloat16, 512), AMPERE, "efficient"),
        (inputs(torch.bfloat16, 208), AMPERE, "flash"),
        (inputs(torch.bfloat16, 208), ADA, "efficient"),
        (inputs(torch.bfloat16, 256), BLACKWELL_RTX, "flash"),
        (inputs(torch.bfloat16, 256, dropout=0.1), BLACKWELL_RTX, "efficient"),
        (
            inputs(torch.bfloat16, causal=True)._replace(query=torch.empty(2, 4, 8, 64).bfloat16()),
            AMPERE,
            "efficient",
        ),
        (inputs(torch.float64), AMPERE, "math"),
    ],
)
def test_kernel_of_attention(given: Inputs, capability: tuple[int, int], kernel: str) -> None:
    """Flash takes unmasked half precision from Ampere on; of others, efficient what is aligned."""
    assert kernel == choose(given, capability)


KERNELS = {
    "flash": torch.ops.aten._scaled_dot_product_flash_attention_backward.default,
    "efficient": torch.ops.aten._scaled_dot_product_efficient_attention_backward.default,
}


@pytest.mark.parametrize(
    ("kernel", "shape", "expected"),
    [
        ("flash", (2, 4, 100, 40), 2 * 4 * 128 * 4 * (1 + 64)),
        ("flash", (2, 4, 128, 160), 2 * 4 * 128 * 4 * (1 + 192)),
        ("efficient", (2, 4, 100, 40), 2 * 4 * (100 * 4 + 2 * (64 * 64 * 4 + 16))),
        ("efficient", (2, 4, 64, 96), 2 * 4 * (64 * 4 + 2 * (64 * 64 * 4 + 16))),
    ],
)
def test_scratch_of_attention(kernel: str, shape: tuple[int, ...], expected: int) -> None:
    """The backward pass of a fused kernel sums in float32, over whole blocks."""
    gradient = query = torch.empty(shape, device="meta", dtype=torch.float16)
    assert ("attention", expected) == scratch_of(KERNELS[kernel], (gradient, query))


def images(memory_format: torch.memory_format, channels: int = 3) -> torch.Tensor:
    """Return float32 of 2 * channels * 5 * 5 numbers without memory."""
    return torch.empty(2, channels, 5, 5, device="meta").to(memory_format=memory_format)


@pytest.mark.parametrize(
    ("data", "weight", "copied"),
    [
        (torch.contiguous_format, torch.contiguous_format, ()),
        (torch.channels_last, torch.channels_last, ()),
        (torch.channels_last, torch.contiguous_format, ("weight",)),
        (torch.contiguous_format, torch.channels_last, ("data",)),
    ],
)
def test_scratch_of_convolution(
    data: torch.memory_format, weight: torch.memory_format, copied: tuple[str, ...]
) -> None:
    """A tensor that is not in the memory format for cuDNN is copied."""
    tensors = {"data": images(data), "weight": images(weight)}
    expected = sum(tensors[name].numel() * 4 for name in copied)
    forward = scratch_of(torch.ops.aten.convolution.default, tuple(tensors.values()))
    gradient = images(torch.channels_last if torch.channels_last in (data, weight) else data, 4)
    backward = scratch_of(
        torch.ops.aten.convolution_backward.default, (gradient, *tensors.values())
    )
    assert 2 * [("convolutions", expected)] == [forward, backward]


def test_scratch_is_live_only_within_its_operator() -> None:
    """Scratch is freed before the results of its operator are allocated."""
    size = (2, 4, 128, 32)
    with FakeTensorMode(), Recorder() as recorder:
        tensor, sums = torch.empty(size), torch.empty(size[:-1])
        seeds = torch.empty(2, dtype=torch.int64)
        recorder.events.clear()
        KERNELS["flash"](*[tensor] * 5, sums, None, None, 128, 128, 0.0, False, seeds, seeds)
    scratch = recorder.events[0]
    assert 2 * 4 * 128 * 4 * (1 + 32) == recorder.blocks[scratch].num_bytes
    assert recorder.events[:2] == [scratch, ~scratch]


AS_CUDA = """
import torch
from torch._subclasses import FakeTensorMode
from harness.predict.cuda_operators import autocast, install as as_cuda
from harness.predict.tracing.recorder import Recorder

as_cuda.install((8, 0))
F = torch.nn.functional
with FakeTensorMode(), torch.autocast("cpu", torch.bfloat16):
    x, w = torch.empty(4, 8), torch.nn.Parameter(torch.empty(8, 8))
    y = F.linear(x, w)
    F.linear(x, w)
    results = y, F.layer_norm(y, (8,)), F.softmax(y, 1), F.relu(y), y + x
    print(*[result.dtype for result in results])
    results = F.mse_loss(y, y), y.sum(), torch.cat([y, x]), F.gelu(y)
    print(*[result.dtype for result in results], len(autocast._casts))
    print(type(F.dropout(w, 0.5).grad_fn).__name__)
    q = torch.nn.Parameter(torch.empty(2, 4, 16, 8))
    print(type(F.scaled_dot_product_attention(q, q, q).grad_fn).__name__)
print(len(autocast._casts))
weight = torch.ones(8, dtype=torch.bfloat16)
half = torch.empty(4, 8, dtype=torch.bfloat16, requires_grad=True)
with Recorder() as recorder:
    normed = F.rms_norm(half, (8,), weight)
print(sorted(block.num_bytes for block in recorder.blocks))
normed.sum().backward()
print(tuple(half.grad.shape), F.rms_norm(half, (8,), torch.ones(8)).dtype)
last = torch.empty(2, 4, 3, 3).to(memory_format=torch.channels_last)
batch_normed = F.batch_norm(last, None, None, training=True)
print(F.group_norm(last, 2).is_contiguous(), batch_normed.is_contiguous())
"""


def test_operators_are_those_of_cuda() -> None:
    """Autocast, dropout, attention and norms are CUDA's; casts of parameters end with autocast."""
    done = subprocess.run(
        [sys.executable, "-c", AS_CUDA], capture_output=True, text=True, check=True
    )
    assert [
        "torch.bfloat16 torch.float32 torch.float32 torch.bfloat16 torch.float32",
        "torch.float32 torch.float32 torch.float32 torch.bfloat16 1",
        "NativeDropoutBackward0",
        "ScaledDotProductFlashAttentionBackward0",
        "0",
        # Of the norm: one float32 for each of the four rows, and the result.
        "[16, 64]",
        "(4, 8) torch.float32",
        "True False",
    ] == done.stdout.splitlines()


RECURRENT = """
import torch
from torch._subclasses import FakeTensorMode
from harness.predict.cuda_operators import install as as_cuda
from harness.predict.tracing.recorder import Recorder

as_cuda.install((8, 0))
with FakeTensorMode(), Recorder() as recorder:
    for layer, share in ((torch.nn.LSTM, 6), (torch.nn.GRU, 7)):
        net = layer(123, 320, num_layers=4)
        x = torch.empty(50, 10, 123)
        before = len(recorder.blocks)
        out, _ = net(x)
        made = {block.num_bytes for block in recorder.blocks[before:]}
        print(type(out.grad_fn).__name__, (share * 4 - 1) * 50 * 10 * 320 * 4 in made)
        out.sum().backward()
        print(all(p.grad is not None and p.grad.shape == p.shape for p in net.parameters()))
    both = torch.nn.LSTM(8, 16, bidirectional=True, batch_first=True)
    print(tuple(both(torch.empty(5, 3, 8))[0].shape))
"""


def test_recurrent_layers_are_those_of_cudnn() -> None:
    """One operator computes all layers, with cuDNN's published reserve and all gradients."""
    done = subprocess.run(
        [sys.executable, "-c", RECURRENT], capture_output=True, text=True, check=True
    )
    assert [
        *["_RecurrentBackward True", "True"] * 2,
        "(5, 3, 32)",
    ] == done.stdout.splitlines()
