"""Arguments of `harness.tune` become a case as a matrix makes it; mistakes name the argument."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import harness
from harness.direct.arguments import direct_case
from harness.direct.gpu_argument import asked_gpu
from harness.direct.objects import MODULE, Objects
from harness.errors import HarnessError
from harness.matrix.cases import parse_matrix
from harness.synthetic import SyntheticImages

if TYPE_CHECKING:
    from pathlib import Path

    from harness.matrix.case import Case

LINEAR = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 2}}
MATRIX = """
version: 1
matrix: {model: [Linear], gpu: [cpu-8MiB], resolution: [1]}
models:
  Linear:
    module: {class_path: torch.nn.Linear, init_args: {in_features: 2, out_features: 2}}
    data: {class_path: harness.synthetic.SyntheticImages, init_args: {resolution: 8, num_classes: 2}}
    trainer: {precision: bf16-mixed, callbacks: [{class_path: lightning.pytorch.callbacks.GradientAccumulationScheduler, init_args: {scheduling: {0: 8, 4: 4}}}]}
    search: {max_batch_size: 64}
gpus:
  cpu-8MiB: {accelerator: cpu, budget: 8MiB}
"""


def made(tmp_path: Path, **arguments: Any) -> Case:
    """Return the case of these arguments on the bounded CPU."""
    return direct_case(arguments, asked_gpu("cpu-8MiB"), Objects(tmp_path))


def test_case_is_that_of_a_matrix_with_the_same_settings(tmp_path: Path) -> None:
    """Classes, partials and NumPy's numbers say what class paths and plain numbers say."""
    (expected,) = parse_matrix(MATRIX, "matrix.yaml")
    scheduler = "lightning.pytorch.callbacks.GradientAccumulationScheduler"
    callback = {"class_path": scheduler, "init_args": {"scheduling": {0: 8, 4: 4}}}
    assert expected == made(
        tmp_path,
        module=partial(torch.nn.Linear, in_features=2, out_features=2),
        data=partial(SyntheticImages, resolution=8, num_classes=2),
        trainer={"precision": "bf16-mixed", "callbacks": [callback]},
        search={"max_batch_size": np.int64(64)},
        loss=None,
    )
    assert [] == list(tmp_path.iterdir())


def test_objects_are_named_without_their_folder(tmp_path: Path) -> None:
    """The recipe of a case holds the names of objects, and no path that changes each time."""
    case = made(
        tmp_path, module=torch.nn.Linear(2, 2), data=[(0.0, 1)], loss=functional.cross_entropy
    )
    parts = (case.workload["module"], case.workload["data"], case.workload["loss"])
    assert [f"{MODULE}.{name}" for name in ("Linear", "list", "cross_entropy")] == [
        part["class_path"] for part in parts if part
    ]
    assert str(tmp_path) not in str(case.workload)


def test_text_that_looks_like_a_reference_is_kept(tmp_path: Path) -> None:
    """There are no axes whose value could take its place."""
    case = made(tmp_path, module=LINEAR, data={"class_path": "builtins.list", "init_args": {"a": "${x}"}})  # fmt: skip
    assert case.workload["data"] == {"class_path": "builtins.list", "init_args": {"a": "${x}"}}


def on(name: str, value: Any) -> dict[str, Any]:
    """Return arguments with one that is wrong."""
    return {"module": LINEAR, name: value}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to train: give module= (and data=), or training="),
        (on("serach", {}), "serach: unknown setting; did you mean search?"),
        (on("max_trials", 3), "max_trials is a key of search: write search={'max_trials': 3}"),
        (on("search", {"step": 3}), "search.step: unknown key"),
        (on("search", {"max_trials": 0}), "search.max_trials: 0 is not allowed"),
        (on("search", 3), "search=3: a mapping of its keys is needed"),
        (on("trainer", {"num_nodes": 2}), "trainer.num_nodes: not to be set here"),
        ({"module": "torch.nn.Lineer"}, "module.class_path: cannot be imported"),
        ({"module": {"init_args": {}}}, "module: class_path is missing"),
        ({"training": 3}, "training: this object of type int is made already"),
        (
            on("optimizer", torch.optim.SGD([torch.zeros(1)], lr=1)),
            "optimizer: this object of type SGD is made already, with the parameters of its module",
        ),
        (
            on("data", torch.utils.data.DataLoader([1])),  # type: ignore[arg-type] # a list will do
            "data: a DataLoader has its batch size already; hand over its data set, as data=loader",
        ),
        (
            {"training": "builtins.dict", "data": [1]},
            "data: is not used beside training",
        ),
    ],
)
def test_mistakes_name_the_argument(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    """Each is refused before a process starts, without a file's name and lines."""
    with pytest.raises(HarnessError) as refused:
        made(tmp_path, **arguments)
    assert message in str(refused.value)
    assert ":1:" not in str(refused.value)


def test_an_estimate_has_no_buckets() -> None:
    """It is of one batch size; the error says what to do."""
    with pytest.raises(HarnessError, match="leave them out, and estimate each length by the arg"):
        harness.estimate(
            module="torch.nn.Linear",
            data={"class_path": "torch.nn.Linear", "init_args": {"length": 8}},
            gpu="h100",
            buckets={"field": "length", "edges": [4, 8]},
        )
