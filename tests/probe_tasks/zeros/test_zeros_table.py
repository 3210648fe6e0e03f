"""Values on a simulated GPU: zeros, what follows from them, and what the host has copied there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from projects import WORKLOADS
from simulated_worlds import Worlds

if TYPE_CHECKING:
    from torch_server import TorchServer

pytestmark = pytest.mark.simulated

ENTER = """
from torch import nn
from torch.nn import functional
from harness.probe_tasks.zeros.table import consistent_zeros
def peak():
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
"""
INSIDE = (
    ENTER
    + """
with consistent_zeros() as decisions:
    x = torch.randn(8, 64).to("cuda")
    tokens = torch.arange(8 * 32).reshape(8, 32) % 7
    padding = (torch.arange(32)[None] >= torch.arange(8)[:, None] + 3)
    labels = (torch.arange(8) % 4).to("cuda")
    y = nn.Linear(64, 10, device="cuda")(x)
    {}
"""
)
PROBE = """
from harness.probe_tasks.train import train
from harness.workload.build import build
def probe(name, kind="pictures"):
    data = {"class_path": "value_zoo.Data", "init_args": {"kind": kind}}
    spec = {"module": {"class_path": f"value_zoo.{name}", "init_args": {}}, "data": data}
    spec |= dict.fromkeys(("loss", "optimizer", "batch_size_attr", "learning_rate_attr"))
    request = {"task": "train", "batch_size": 8, "steps": 2, "settle": False, "trainer": {}}
    request |= {"epoch_steps": 0, "validation_steps": 0, "validation_share": 1.0}
    request["micro_batches"] = None
    request |= dict.fromkeys(("validation_batch_size", "snapshot", "history"))
    request["bound"] = {"accelerator": "cuda", "budget_bytes": 1 << 30, "fraction": 0.9}
    result = train(build(spec), request, lambda phase: None)
    return {key: result[key] for key in ("outcome", "detail", "notes", "values_read")}
names = {"Checked": "pictures", "Foreground": "pictures", "Metrics": "pictures", "Packed": "tokens"}
names |= {"Lbfgs": "pictures", "Collapsed": "pictures", "Wrong": "pictures"}
tell({name: probe(name, kind) for name, kind in names.items()})
"""


@pytest.fixture(scope="module")
def probes(torch_server: TorchServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Probe the workloads of value_zoo.py once; return what each of them answered, by name."""
    worlds = Worlds(tmp_path_factory.mktemp("zeros"), torch_server)
    path = f"sys.path.insert(0, {str(WORKLOADS)!r})\n"
    (answers,) = worlds.run(worlds.make(), path + PROBE)
    return answers


@pytest.mark.parametrize(
    ("expressions", "values"),
    [
        ("bool(torch.isfinite(y).all())", [True]),
        ("bool(torch.isnan(y).any())", [False]),
        ("bool((labels >= 0).all())", [True]),
        ("bool(labels.max() < 10)", [True]),
        ("bool((y == 0).all()), bool((y > 0.5).any())", [True, False]),
        ("int((~torch.zeros(8, 9000, dtype=torch.bool).to('cuda')).sum(1).max())", [9000]),
        ("int((~padding.to('cuda')).sum(1).max())", [10]),
        ("round(float(y.softmax(1).sum(1)[0]), 3)", [1.0]),
        ("float(functional.softplus(y).min()) > 0", [True]),
        ("torch.ones(2, 3, device='cuda').cpu().tolist()", [[[1.0] * 3] * 2]),
        ("(torch.full((4,), 3, device='cuda') * 2 - 1).tolist()", [[5] * 4]),
        ("torch.cumsum(torch.ones(4, device='cuda'), 0).tolist()", [[1.0, 2.0, 3.0, 4.0]]),
        ("torch.equal(y, y * 2), torch.allclose(y, y + 1)", [True, False]),
        ("f'{y.mean():.3f}', str(y.detach()[0, :2])", ["0.000", "tensor([0., 0.], device='cuda:0')"]),
        ("[*y[y > 0.5].shape], [*y[y == 0].shape]", [[0], [80]]),
        ("[*labels.nonzero().shape], torch.unique(y).tolist()", [[6, 1], [0.0]]),
        ("[*tokens.to('cuda').masked_select(padding.to('cuda')).shape]", [[8 * 32 - 52]]),
        ("[*x.repeat_interleave(labels, 0).shape], [*functional.one_hot(labels).shape]", [[12, 64], [8, 4]]),
        ("[*x[:, :labels.max()].shape]", [[8, 3]]),
        ("[*torch.multinomial(y.softmax(1), 3).shape], [*torch.normal(y, y.exp()).shape]", [[8, 3], [8, 10]]),
        ("bool(labels.fill_(7).max() == 7), bool(labels.zero_().any())", [True, False]),
("(lambda scaler: (scaler.scale(y.sum()), scaler.get_scale()))(torch.amp.GradScaler('cuda'))[1]", [65536.0]),
        ("(lambda box: bool((box[:, 2:] <= box[:, :2]).any()))(torch.tensor([[1.0, 2, 5, 6]]).to('cuda'))", [False]),
        ("torch.bincount(labels).tolist()", [[2, 2, 2, 2]]),
    ],
)  # fmt: skip
def test_values_follow_from_zeros(worlds: Worlds, expressions: str, values: list[Any]) -> None:
    """The host reads what torch's function gives for zeros, or for the host's own numbers."""
    assert [values] == worlds.run(worlds.make(), INSIDE.format(f"tell([{expressions}])"))


def test_distributions_accept_their_parameters(worlds: Worlds) -> None:
    """What they check of deviations and probabilities holds in a training."""
    script = INSIDE.format(
        "from torch.distributions import Categorical, MultivariateNormal, Normal\n"
        "    Categorical(probs=y.softmax(-1)).sample()\n"
        "    Normal(y, y).rsample()\n"
        "    MultivariateNormal(y[:, :2], scale_tril=torch.eye(2, device='cuda')).rsample()\n"
        "    tell(nn.utils.clip_grad_norm_([nn.Parameter(y)], 1.0, error_if_nonfinite=True).item())"
    )
    assert [0.0] == worlds.run(worlds.make(), script)


def test_functions_are_torchs_own_afterwards(worlds: Worlds) -> None:
    """Nothing stays replaced when the training has ended."""
    script = ENTER + (
        "names = lambda: [{name: id(value) for name, value in vars(owner).items()} for owner in "
        "(torch, torch.Tensor, functional)]\n"
        "torch.jit._builtins._find_builtin(torch.exp)\n"
        "before = names()\n"
        "with consistent_zeros(): during = names()\n"
        "tell([before == names(), before == during])"
    )
    assert [[True, False]] == worlds.run(worlds.make(), script)


ENCODER = """
layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
model = nn.TransformerEncoder(layer, 2).cuda()
padding = torch.arange(32)[None] >= torch.arange(64)[:, None] % 30 + 2
def loss():
    model.eval()
    with torch.inference_mode(): model(torch.randn(64, 32, 64).cuda(), src_key_padding_mask=padding.cuda())
    model.train()
    mask = padding.long().cuda().to(device="cuda", dtype=torch.bool)
    return model(torch.randn(64, 32, 64).cuda(), src_key_padding_mask=mask).mean()
"""
CONVOLUTIONS = """
model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)).cuda()
def loss():
    with torch.autocast("cuda", torch.bfloat16): out = model(torch.randn(8, 3, 32, 32).cuda())
    return functional.cross_entropy(out, torch.zeros(8, dtype=torch.long).cuda())
"""
STEPS = """
from contextlib import nullcontext
with consistent_zeros() if {inside} else nullcontext():
    {model}
    loss().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(3):
        optimizer.zero_grad(); loss().backward(); optimizer.step()
tell([*peak(), torch.cuda.memory_stats()["allocation.all.allocated"]])
"""


@pytest.mark.parametrize("model", [ENCODER, CONVOLUTIONS], ids=["encoder", "convolutions"])
def test_memory_is_the_same_to_the_byte(worlds: Worlds, model: str) -> None:
    """The same kernels take the same memory, as often, with values followed and without."""
    script = ENTER + STEPS.replace("{model}", model.strip().replace("\n", "\n    "))
    within, without = (
        worlds.run(worlds.make(), script.replace("{inside}", str(inside)))
        for inside in (True, False)
    )
    assert without == within


COMPILED = """
import torch._dynamo.utils
from contextlib import nullcontext
with consistent_zeros() if {inside} else nullcontext():
    linear = nn.Linear(256, 1024).cuda()
    @torch.compile(backend="{backend}")
    def loss(x):
        y = linear(x)
        z = torch.where(y > 0, y, y.exp() - 1).softmax(-1)
        if torch.isfinite(z.detach()).any() or True: z = z.clamp(0, 1) * torch.ones_like(z)
        return z.sum(-1).mean()
    for _ in range(3): loss(torch.randn(512, 256).cuda()).backward()
    held = torch.cuda.memory_allocated(); torch.cuda.reset_peak_memory_stats()
    loss(torch.randn(512, 256).cuda()).backward()
graphs = torch._dynamo.utils.counters
tell([graphs["stats"]["unique_graphs"], sum(graphs["graph_break"].values()), *peak(), held])
"""


def test_compiled_training_has_the_same_graphs(worlds: Worlds) -> None:
    """torch.compile sees torch's own functions: it makes as many graphs, with the same memory."""
    script = ENTER + COMPILED.replace("{backend}", "aot_eager")
    within, without = (
        worlds.run(worlds.make(), script.replace("{inside}", str(inside)))
        for inside in (True, False)
    )
    assert without == within


SCRIPTED = """
import torch
@torch.jit.script
def loss(x):
    return torch.exp(x).isfinite()
"""


def test_scripted_function_compiles(worlds: Worlds) -> None:
    """TorchScript knows a replaced function for the one that it is."""
    (worlds.folder / "scripted.py").write_text(SCRIPTED)
    script = INSIDE.format(
        f"sys.path.insert(0, {str(worlds.folder)!r}); import scripted\n"
        "    tell([*scripted.loss(x).shape])"
    )
    assert [[8, 64]] == worlds.run(worlds.make(), script)


@pytest.mark.parametrize("name", ["Checked", "Foreground", "Metrics", "Packed", "Lbfgs"])
def test_training_that_looks_at_values_fits(probes: Any, name: str) -> None:
    """Nothing valid is called broken: checks of values hold, and sizes are those of the batch."""
    assert ("fits", None) == (probes[name]["outcome"], probes[name]["detail"])


def line_of(place: str) -> str:
    """Return the line of the workloads' source that a note names."""
    name, _, number = place.rpartition(":")
    lines = (WORKLOADS / Path(name).name).read_text(encoding="utf-8").splitlines()
    return lines[int(number) - 1].strip()


def test_note_names_the_line_that_decides(probes: Any) -> None:
    """It is the user's own line, once, with what was read there first."""
    notes = [note.partition(": ") for note in probes["Checked"]["notes"]]
    assert [
        ("if torch.isnan(out).any() or not isfinite(out).all():", "(read False)"),
        ("assert (y >= 0).all() and y.max() < 10", "(read True)"),
    ] == [(line_of(place).partition("  #")[0], told[told.index("(") :]) for place, _, told in notes]


def test_note_tells_of_sizes(probes: Any) -> None:
    """Where values decide how many elements there are, none may be fewer than in a training."""
    told = [note.partition("would compute")[2] for note in probes["Foreground"]["notes"]]
    assert [" (6144 elements)", " (0 elements); training may take more memory"] == told


def test_training_of_metrics_has_no_note_of_theirs(probes: Any) -> None:
    """Checks inside a library are noted at the line that calls it."""
    lines = {line_of(note.partition(": ")[0]) for note in probes["Metrics"]["notes"]}
    assert {"metric(out.softmax(1), y)", "metric(out[:, 0].sigmoid(), (y > 4).long())"} >= lines


def test_failure_after_a_value_was_read_names_the_line(probes: Any) -> None:
    """It may come from the zero, and not from the training."""
    answer = probes["Collapsed"]
    assert ("error", "if loss.item() < 1e-9:") == (
        answer["outcome"],
        line_of(answer["values_read"]),
    )
    assert answer["detail"].endswith(
        f"({answer['values_read']} read a value, and values are zeros on a simulated GPU)"
    )


def test_failure_without_any_value_is_the_trainings(probes: Any) -> None:
    """A training that reads nothing is broken by itself, and its error stays as it is."""
    answer = probes["Wrong"]
    assert ("error", None) == (answer["outcome"], answer["values_read"])
    assert "simulated" not in answer["detail"]


def test_lbfgs_keeps_its_history(worlds: Worlds) -> None:
    """Each gradient is zero, and yet a step goes on and keeps what the next one needs."""
    script = INSIDE.format(
        "model = nn.Linear(64, 64).cuda()\n"
        "    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)\n"
        "    def closure():\n"
        "        optimizer.zero_grad(); loss = model(x).square().mean(); loss.backward()\n"
        "        return loss\n"
        "    optimizer.step(closure); optimizer.step(closure)\n"
        "    state = optimizer.state[optimizer.param_groups[0]['params'][0]]\n"
        "    tell([state['n_iter'], len(state['old_stps'])])"
    )
    assert [[8, 7]] == worlds.run(worlds.make(), script)
