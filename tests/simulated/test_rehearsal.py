"""The session on a GPU, rehearsed on a simulated one: both calls, and what its rows give back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import cuda_session
import psutil
import pytest
from cuda_experiments.convolutions import KINDS, rows_of
from cuda_experiments.models import SMALL
from cuda_experiments.processes import SYS_PATH, ForkServer
from simulated_worlds import MIB, h100, inside

from harness.simulated.mark import WORLD

if TYPE_CHECKING:
    from pathlib import Path

    from simulated_worlds import Worlds

    from harness.simulated.world import World

pytestmark = pytest.mark.simulated

WORKSPACE = 7 * MIB + 3
WATCHED = """
sys.path[:0] = {path!r}
from cuda_experiments.workspaces import record
for dtype in {dtypes!r}:
    record(networks=["resnet18", "unet"], batch_size=2, dtype=dtype)
"""


def call(world: World, path: Path, *arguments: str) -> tuple[int, str]:
    """Run the session in a world; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, cuda_session.__file__, "--json", path, *arguments],
        env=inside(world),
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout


def statuses(path: Path) -> dict[str, str]:
    """Return the status of each experiment on disk; all are marked as simulated."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert {True} == {one["simulated"] for one in [content, *content["experiments"].values()]}
    return {number: one["status"] for number, one in content["experiments"].items()}


def done_in(found: dict[str, str]) -> set[str]:
    """Return the numbers of the experiments that are done."""
    return {number for number, status in found.items() if status == "done"}


def inhabitants(world: World) -> list[int]:
    """Return the processes that live in a world."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(WORLD) == str(world.path):
                found.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def test_both_calls_end_in_their_time(worlds: Worlds) -> None:
    """Each ends by itself with its facts on disk; the second one repeats nothing that is done."""
    world, path = worlds.make(), worlds.folder / "s.json"
    code, output = call(world, path, "--call", "1", "--cut-down", "--seconds", "18")
    first = statuses(path)
    assert (0, "1", []) == (code, min(first, key=int), inhabitants(world)), output
    assert {"done", "out of time"} >= set(first.values())
    left = [number for number in cuda_session.EXPERIMENTS if first.get(number) != "done"]
    told = "; ".join(f"{number} {first.get(number, 'not begun')}" for number in left)
    assert output.splitlines()[-1].endswith(f"left: {told}")
    code, output = call(world, path, "--call", "2", "--cut-down", "--seconds", "16")
    second = statuses(path)
    assert (0, True, []) == (code, "2" in second, inhabitants(world)), output
    assert done_in(first) <= done_in(second)
    # The last line begins with seconds, not with the number of an experiment.
    assert set() == done_in(first) & {line.split()[0] for line in output.splitlines()[:-1]}


@pytest.mark.slow
def test_whole_rehearsal(worlds: Worlds) -> None:
    """Cut down and without a limit, every experiment is done, and none of its parts failed."""
    world, path = worlds.make(), worlds.folder / "s.json"
    numbers = ",".join(cuda_session.EXPERIMENTS)
    code, output = call(world, path, "--only", numbers, "--cut-down")
    assert (0, set(cuda_session.EXPERIMENTS)) == (code, set(statuses(path))), output
    assert {"done"} == set(statuses(path).values())
    experiments = json.loads(path.read_text(encoding="utf-8"))["experiments"]
    failed = {
        f"{number}, {name}": fact
        for number, one in experiments.items()
        for name, fact in one["facts"].items()
        if isinstance(fact, dict) and ("error" in fact or fact.get("answer", "") is None)
    }
    assert {} == failed
    found = [experiments[n]["facts"][name] for n, name in (("7", SMALL), ("4", f"{SMALL}, turn 1"))]
    assert [(True, found[0]["B"])] * 2 == [(fact["exact"], fact["B"]) for fact in found]
    assert [0, 0] == [fact["exit_code"] for fact in experiments["9"]["facts"].values()]


def test_rows_give_back_the_workspace_of_the_world(worlds: Worlds) -> None:
    """Forward and both gradients of each convolution have the workspace that the world sets."""
    pytest.importorskip("torchvision")
    world = worlds.make(h100(workspace_bytes=WORKSPACE))
    dtypes = ["float32", "bfloat16"]
    told = worlds.run(world, WATCHED.format(path=SYS_PATH, dtypes=dtypes))
    facts = [(line["network"], line["fact"]) for line in told if "network" in line]
    found = [(name, row) for name, fact in facts for row in rows_of(fact)]
    assert {WORKSPACE} == {row["workspace"] for _, row in found}
    # ResNet-18 has 20 convolutions, and no gradient of its images; both dtypes are counted.
    assert [40, 38, 40] == [
        sum(row["count"] for name, row in found if (name, row["kind"]) == ("resnet18", kind))
        for kind in KINDS
    ]
    assert {(dtype, backend) for dtype in dtypes for backend in ("Cudnn", "CudnnTranspose")} == {
        (row["dtype"], row["backend"]) for _, row in found
    }


def test_row_has_what_a_convolution_is(worlds: Worlds) -> None:
    """The first convolution of ResNet-18 has its shapes, stride, formats and what it returns."""
    pytest.importorskip("torchvision")
    told = worlds.run(worlds.make(), WATCHED.format(path=SYS_PATH, dtypes=["float32"]))
    (fact,) = (line["fact"] for line in told if line.get("network") == "resnet18")
    first, last = (
        next(row for row in rows_of(fact) if row["kind"] == kind and 7 in row["weight"])
        for kind in ("fprop", "wgrad")
    )
    expected: dict[str, Any] = {
        "dtype": "float32", "input": [2, 3, 224, 224], "weight": [64, 3, 7, 7],
        "stride": [2, 2], "padding": [3, 3], "dilation": [1, 1], "transposed": False,
        "groups": 1, "backend": "Cudnn", "passing": [], "at_once": 0, "count": 1, "workspace": 0,
    }  # fmt: skip
    for row, gradient, kept in (
        (first, None, [2 * 64 * 112 * 112 * 4]),
        (last, [2, 64, 112, 112], [64 * 3 * 7 * 7 * 4]),
    ):
        more = {"kind": row["kind"], "gradient": gradient, "kept": kept}
        formats = ["contiguous"] * (2 if gradient is None else 3)
        assert expected | more | {"formats": formats} == row


def test_request_that_hangs_or_dies_leaves_its_server(worlds: Worlds) -> None:
    """A fork that takes too long is killed, one that fails tells why, and the next is answered."""
    world = worlds.make()
    with ForkServer(inside(world), worlds.folder) as server:
        hung = server.ask("hold", 2.0, num_bytes=MIB)
        unknown = server.ask("nonsense", 60.0)
        done = server.ask(
            "fail",
            60.0,
            row="caching allocator, at the fraction",
            budget_bytes=64 * MIB,
            seen_on_gpu=False,
        )
    assert (None, 2.0, -9) == (hung["answer"], hung["timed_out"], hung["exit_code"])
    assert (None, 1) == (unknown["answer"], unknown["exit_code"])
    assert "KeyError: 'nonsense'" in unknown["stderr"]
    record = done["answer"]["record"]
    assert ("torch.OutOfMemoryError", "device", False) == (
        record["type"],
        record["expected"],
        record["seen_on_gpu"],
    )
    assert [] == inhabitants(world)
