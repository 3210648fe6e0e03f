"""The largest batch of a bare model, by probes of its own, and the mistakes that are refused."""

from __future__ import annotations

import copy
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
import torch
from projects import make_files

import harness
from harness.errors import HarnessError, WorkloadError
from harness.workload.bare import MeanSquare

if TYPE_CHECKING:
    from pathlib import Path


def small() -> torch.nn.Module:
    """Return a convolutional network whose classes every process can import."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.BatchNorm2d(16), torch.nn.ReLU()
    )


@pytest.mark.probes
def test_largest_batch_is_found_and_the_table_shows_what_was_tried() -> None:
    """The result is a number to train with, 0.9 of a batch that fits while the next one does not.

    The model of the caller is as it was.
    """
    model = small().eval()
    before = copy.deepcopy(model.state_dict())
    found = harness.find_optimal_batch_size(model, (3, 64, 64), budget="24MiB")
    outcomes = {probe.batch_size: probe.outcome for probe in found.probes}
    assert ("fits", "oom") == (
        outcomes[found.max_batch_size],
        outcomes[found.max_batch_size + 1],
    )
    assert int(found.max_batch_size * 0.9) == found
    assert ("memory", "cpu", 24 << 20) == (
        found.bounded_by,
        found.device,
        found.memory_limit_bytes,
    )
    heading, _, *rows = found.table.splitlines()
    assert ["batch", "size", "outcome", "peak", "seconds"] == heading.split()
    assert sorted(probe.batch_size for probe in found.probes) == [
        int(row.split()[0]) for row in rows
    ]
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    assert not model.training
    again = copy.deepcopy(found)
    assert (found, found.max_batch_size) == (again, again.max_batch_size)
    samples: Any = torch.zeros(1, 1)
    assert found == torch.utils.data.DataLoader(samples, batch_size=found).batch_size


@pytest.mark.probes
def test_model_that_does_not_take_the_shape_ends_with_its_own_error() -> None:
    """Where no size trains, the error names the range of sizes and what the model said."""
    with pytest.raises(
        WorkloadError, match=r"^Sequential: no batch size from 2 to 8 trains"
    ) as raised:
        harness.find_optimal_batch_size(small(), (1, 8, 8), max_batch_size=8, budget="16MiB")
    assert "expected input[2, 1, 8, 8] to have 3 channels" in str(raised.value)


@pytest.mark.probes
def test_class_may_stand_in_the_script_itself(tmp_path: Path) -> None:
    """A script finds the batch of a model that it defines; the cap bounds it."""
    pytest.importorskip("cloudpickle")
    script = """
import torch
import harness

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, x):
        return {"scores": self.layer(x), "parts": [x]}

found = harness.find_optimal_batch_size(
    Net(), [4], max_batch_size=4, safety_factor=0.5, budget="16MiB"
)
print(found, found.max_batch_size, found.bounded_by)
"""
    make_files(tmp_path, {"train.py": script})
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ("2 4 cap\n", 0) == (done.stdout, done.returncode), done.stderr


def test_script_without_cloudpickle_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library, a class of the script itself is named, with the command to install."""
    monkeypatch.setitem(sys.modules, "cloudpickle", None)  # as if it were missing
    kind = type("Net", (torch.nn.Linear,), {"__module__": "__main__"})
    with pytest.raises(HarnessError) as refused:
        harness.find_optimal_batch_size(kind(1, 1), (1,), budget="16MiB")
    assert (
        "model: Net stands in the script itself, which the probes cannot import: move it to a module of "
        "its own, or install cloudpickle: `pip install 'pytest-gpu-profile[cloudpickle]'`"
        == str(refused.value)
    )


def test_model_that_cannot_be_copied_is_refused() -> None:
    """The reason of pickle is kept, and the way round is named."""
    model: Any = small()
    model.output = sys.stdout
    model.open = (one for one in "generator")
    with pytest.raises(
        HarnessError, match="model: Sequential cannot be copied to the probes' processes"
    ):
        harness.find_optimal_batch_size(model, (3, 8, 8), budget="16MiB")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": torch.nn.Linear}, "model=Linear: an object of torch.nn.Module is needed"),
        ({"model": "resnet18"}, "model=str: an object of torch.nn.Module is needed"),
        ({"input_shape": 224}, "input_shape=224: the sizes of one input are needed"),
        ({"input_shape": (3, 0)}, "input_shape[1]=0: a whole number from 1 is needed"),
        ({"min_batch_size": 0}, "min_batch_size=0: a whole number from 1 is needed"),
        ({"max_batch_size": 2.5}, "max_batch_size=2.5: a whole number from 1 is needed"),
        ({"min_batch_size": 9, "max_batch_size": 8}, "min_batch_size=9 is more than max_batch"),
        (
            {"safety_factor": 1.5, "budget": "1MiB"},
            "safety_factor=1.5: a number above 0 and up to 1 is needed",
        ),
        ({"safety_factor": True}, "safety_factor=True: a number above 0 and up to 1 is needed"),
        ({"budget": "8 gigs"}, 'budget: "8 gigs" has no known unit'),
    ],
)
def test_bad_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    """Each argument that is not allowed is named, before a process starts."""
    values: dict[str, Any] = {"model": small(), "input_shape": (3, 8, 8), **arguments}
    with pytest.raises(HarnessError) as refused:
        harness.find_optimal_batch_size(**values)
    assert str(refused.value).startswith(message)


def test_cpu_needs_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU and without a budget nothing would end the search but the machine's memory."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(HarnessError, match=r'on the CPU, which needs a budget: .* budget="1GiB"$'):
        harness.find_optimal_batch_size(small(), (3, 8, 8))


def test_loss_reaches_every_output() -> None:
    """The mean of the squares of all floating outputs, whatever holds them."""
    ones, twos = torch.ones(3), torch.full((1,), 2.0)
    output = {"a": ones, "b": [(twos,), None], "c": torch.arange(4)}
    assert 7 / 4 == MeanSquare()(output, None).item()


def test_doors_of_training_scripts_import_no_search() -> None:
    """`import harness` costs a script nothing of it until it is asked for."""
    code = "import sys, harness; print('harness.train_time.bare_model' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False False\n" == done.stdout
    assert import_module("harness.train_time.bare_model").FoundBatchSize is harness.FoundBatchSize
