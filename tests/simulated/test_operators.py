"""What torch's operators find in NVIDIA's libraries: each runs forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from simulated_worlds import MIB, h100

if TYPE_CHECKING:
    from simulated_worlds import Worlds

pytestmark = pytest.mark.simulated


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "settings",
    ["{}", "{'num_layers': 2, 'bidirectional': True}", "{'bias': False}", "{'num_layers': 2, 'dropout': 0.5}"],
)  # fmt: skip
def test_recurrent_layers_keep_their_weights(worlds: Worlds, kind: str, settings: str) -> None:
    """In one flat buffer each weight keeps its shape; they fill it and do not overlap."""
    same, filled, starts_at_zero = worlds.run(
        worlds.make(),
        f"model = torch.nn.{kind}(16, 32, **{settings}); before = [p.shape for p in model.parameters()]\n"
        "model = model.cuda(); model.flatten_parameters(); after = [p.shape for p in model.parameters()]\n"
        "tell(before == after)\n"
        "places = sorted((p.storage_offset(), p.numel()) for p in model.parameters())\n"
        "tell(all(a + n <= b for (a, n), (b, _) in zip(places, places[1:])) and\n"
        "     len({p.untyped_storage().data_ptr() for p in model.parameters()}) == 1)\n"
        "tell(places[0][0]); model(torch.randn(5, 3, 16, device='cuda'))[0].sum().backward()",
    )
    assert [True, True, 0] == [same, filled, starts_at_zero]


def test_gates_lie_in_the_order_of_cudnn(worlds: Worlds) -> None:
    """Matrices of all layers first, the biases behind them; input before state."""
    told = worlds.run(
        worlds.make(),
        "model = torch.nn.LSTM(16, 32, num_layers=2).cuda()\n"
        "tell([n for n, _ in sorted(model.named_parameters(), key=lambda p: p[1].storage_offset())])\n"
        "tell([p.storage_offset() for p in model.parameters()][:2])",
    )
    names = ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"]
    assert [
        [*names, "bias_ih_l0", "bias_hh_l0", "bias_ih_l1", "bias_hh_l1"],
        [0, 4 * 32 * 16],
    ] == told


def test_reserve_is_that_of_the_predictions(worlds: Worlds) -> None:
    """The reserve of an LSTM is the one that predictions compute."""
    told = worlds.run(
        worlds.make(),
        "model = torch.nn.LSTM(64, 256, num_layers=3).cuda(); x = torch.randn(50, 64, 64, device='cuda')\n"
        "before = torch.cuda.memory_allocated(); y, _ = model(x); reserve = y.grad_fn._saved_result3\n"
        "tell(reserve.numel() * reserve.element_size())",
    )
    assert [(6 * 3 - 1) * 50 * 64 * 256 * 4] == told


def test_projections_and_packed_sequences(worlds: Worlds) -> None:
    """An LSTM with projections trains, and one over sequences of several lengths."""
    told = worlds.run(
        worlds.make(),
        "model = torch.nn.LSTM(16, 32, proj_size=8, num_layers=2).cuda()\n"
        "y, _ = model(torch.randn(5, 3, 16, device='cuda')); y.sum().backward(); tell(list(y.shape))\n"
        "x = torch.nn.utils.rnn.pack_padded_sequence(torch.randn(5, 3, 16, device='cuda'), [5, 3, 2])\n"
        "y = torch.nn.LSTM(16, 32).cuda()(x)[0].data; y.sum().backward(); tell(list(y.shape))",
    )
    assert [[5, 3, 8], [10, 32]] == told


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("FLASH_ATTENTION", "ScaledDotProductFlashAttentionBackward0"),
        ("EFFICIENT_ATTENTION", "ScaledDotProductEfficientAttentionBackward0"),
        ("CUDNN_ATTENTION", "ScaledDotProductCudnnAttentionBackward0"),
    ],
)
def test_attention_runs_by_each_kernel(worlds: Worlds, backend: str, expected: str) -> None:
    """Torch finds that an H100 can do it, and does it."""
    told = worlds.run(
        worlds.make(),
        f"from torch.nn.attention import SDPBackend, sdpa_kernel\n"
        "q = torch.randn(2, 4, 128, 64, device='cuda', dtype=torch.bfloat16, requires_grad=True)\n"
        f"with sdpa_kernel(SDPBackend.{backend}): y = torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)\n"
        "y.sum().backward(); tell(type(y.grad_fn).__name__)",
    )
    assert [expected] == told


@pytest.mark.parametrize("benchmark", [False, True])
def test_convolutions_train(worlds: Worlds, benchmark: bool) -> None:
    """In both memory formats, transposed, grouped, in one to three dimensions."""
    told = worlds.run(
        worlds.make(),
        f"torch.backends.cudnn.benchmark = {benchmark}; nn = torch.nn\n"
        "model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8)).cuda()\n"
        "for form in (torch.contiguous_format, torch.channels_last):\n"
        "    y = model.to(memory_format=form)(torch.randn(4, 3, 32, 32, device='cuda').to(memory_format=form)); y.sum().backward()\n"
        "    tell([list(y.shape), y.is_contiguous(memory_format=form)])\n"
        "nn.Conv3d(3, 4, 3).cuda()(torch.randn(1, 3, 8, 8, 8, device='cuda')).sum().backward()\n"
        "nn.Conv1d(3, 4, 3).cuda()(torch.randn(1, 3, 8, device='cuda')).sum().backward()",
    )
    assert 2 * [[[4, 8, 30, 30], True]] == told


def test_engines_workspace_is_allocated(worlds: Worlds) -> None:
    """What the world says that a convolution needs shows at the allocator's peak."""
    script = (
        "model = torch.nn.Conv2d(1, 1, 1).cuda(); x = torch.zeros(1, 1, 4, 4, device='cuda')\n"
        "model(x); tell(torch.cuda.max_memory_allocated() >> 20)"
    )
    peaks = [
        worlds.run(worlds.make(h100(workspace_bytes=size * MIB)), script)[0] for size in (0, 64)
    ]
    assert [0, 64] == peaks


def test_gradient_scaler_steps(worlds: Worlds) -> None:
    """It finds no infinity, so that the optimizer has its state after one step."""
    told = worlds.run(
        worlds.make(),
        "scaler = torch.amp.GradScaler(); model = torch.nn.Linear(8, 8).cuda(); optimizer = torch.optim.Adam(model.parameters())\n"
        "x = torch.ones(2, 8).cuda()\n"
        "with torch.autocast('cuda', dtype=torch.float16): loss = model(x).float().sum()\n"
        "scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update(); tell(len(optimizer.state))",
    )
    assert [2] == told


@pytest.mark.parametrize(
    "script",
    [
        "torch.fft.rfft2(torch.randn(4, 64, 64, device='cuda', requires_grad=True)).abs().sum().backward()",
        "[getattr(torch.linalg, name)(torch.eye(4, device='cuda')) for name in ('inv', 'qr', 'svd', 'eigh', 'det', 'cholesky', 'lu', 'pinv')]",
        "torch.sparse.mm(torch.sparse_coo_tensor(torch.tensor([[0, 1], [1, 0]], device='cuda'), torch.ones(2, device='cuda'), (2, 2)), torch.ones(2, 3, device='cuda'))",
        "torch.eye(4).to_sparse_csr().cuda() @ torch.ones(4, 4, device='cuda')",
        "torch.nn.functional.ctc_loss(torch.randn(5, 2, 4, device='cuda').log_softmax(2).requires_grad_(), torch.ones(2, 3, dtype=torch.long, device='cuda'), torch.tensor([5, 5]), torch.tensor([3, 3])).backward()",
        "s = torch.ones((), device='cuda'); a = torch.zeros(32, 32, device='cuda').to(torch.float8_e4m3fn); torch._scaled_mm(a, a.t(), s, s, out_dtype=torch.bfloat16)",
        "torch.complex(torch.zeros(2, device='cuda'), torch.zeros(2, device='cuda')).prod(); torch.special.bessel_j0(torch.zeros(2, device='cuda'))",
        "print(torch.randn(4, device='cuda')); torch.nonzero(torch.ones(3, device='cuda')); torch.unique(torch.zeros(3, device='cuda'))",
    ],
    ids=["fft", "linalg", "sparse", "csr", "ctc", "float8", "jit", "print"],
)  # fmt: skip
def test_other_libraries_answer(worlds: Worlds, script: str) -> None:
    """cuFFT, cuSOLVER, cuSPARSE, cuBLASLt and torch's own just-in-time compiler."""
    assert [None] == worlds.run(worlds.make(), script + "; torch.cuda.synchronize(); tell(None)")


def test_graphs_are_captured_and_replayed(worlds: Worlds) -> None:
    """A capture has its kernels, and its memory stays in its pool."""
    told = worlds.run(
        worlds.make(),
        "graph = torch.cuda.CUDAGraph(); x = torch.zeros(8, device='cuda')\n"
        "with torch.cuda.graph(graph): y = x * 2; tell(torch.cuda.is_current_stream_capturing())\n"
        "graph.replay(); torch.cuda.synchronize(); tell(torch.cuda.is_current_stream_capturing())",
    )
    assert [True, False] == told


def test_profiler_runs(worlds: Worlds) -> None:
    """Torch's profiler finds CUPTI's functions, and no kernels."""
    told = worlds.run(
        worlds.make(),
        "from torch.profiler import ProfilerActivity, profile\n"
        "with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found: torch.zeros(3, device='cuda') + 1\n"
        "tell('aten::add' in {event.name for event in found.events()})",
    )
    assert [True] == told
