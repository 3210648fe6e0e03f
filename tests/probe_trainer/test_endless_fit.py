"""What a workload reads of its Trainer's length, and that a probe does not obey it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import zoo
from lr_sweep_workloads import run
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR
from torch.utils.data import DataLoader, IterableDataset
from training_probes import Probing

pytestmark = pytest.mark.filterwarnings("ignore")

READ: list[dict[str, Any]] = []
STEPPED: list[int] = []
NAMES = (
    "max_epochs",
    "max_steps",
    "min_epochs",
    "min_steps",
    "estimated_stepping_batches",
    "num_training_batches",
    "limit_train_batches",
    "limit_val_batches",
    "val_check_interval",
    "val_check_batch",
    "check_val_every_n_epoch",
    "num_sanity_val_steps",
    "log_every_n_steps",
)


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


class Reads(zoo.Net):
    """Keeps what its Trainer says when it makes its optimizer, and steps a schedule."""

    def __init__(self) -> None:
        super().__init__(8)

    def configure_optimizers(self) -> Any:
        """Read everything."""
        steps = self.trainer.estimated_stepping_batches  # this sets up the loader
        READ.append({name: getattr(self.trainer, name) for name in NAMES})
        READ[-1]["fit_loop.max_epochs"] = self.trainer.fit_loop.max_epochs
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        schedule = OneCycleLR(optimizer, self.lr, total_steps=int(steps))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_train_start(self) -> None:
        """Forget the steps of the last training."""
        STEPPED.clear()

    def lr_scheduler_step(self, scheduler: Any, _metric: Any) -> None:
        """Count the steps of the schedule."""
        STEPPED.append(self.trainer.global_step)
        scheduler.step()

    def on_sanity_check_start(self) -> None:
        """Fail: a probe does not check."""
        raise AssertionError


class ReadsMaxSteps(Reads):
    """Computes its schedules with `max_steps`."""

    def configure_optimizers(self) -> Any:
        """Use one cycle, and a warm-up."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        total = self.trainer.max_steps
        assert total > 0
        warm = LambdaLR(optimizer, lambda step: min(1.0, step / (total // 10)))
        cycle = OneCycleLR(optimizer, self.lr, total_steps=total)
        return [optimizer], [{"scheduler": one, "interval": "step"} for one in (warm, cycle)]


class Endless(IterableDataset[Any]):
    """Gives pairs for ever."""

    def __iter__(self) -> Any:
        while True:
            yield torch.zeros(16), 0


class Stream(zoo.Numbers):
    """Trains on a stream without a length."""

    def train_dataloader(self) -> Any:
        """Return the stream."""
        return DataLoader(Endless(), batch_size=self.batch_size)


class Parts(zoo.Numbers):
    """Trains on a list of two loaders, one ten times as long."""

    def train_dataloader(self) -> Any:
        """Return a combined loader that ends with the shorter one."""
        few = torch.utils.data.Subset(self.train, range(400))
        loaders = [DataLoader(data, batch_size=self.batch_size) for data in (self.train, few)]
        return pl.utilities.CombinedLoader(loaders, "min_size")


class FirstPart(Reads):
    """Trains on the first of its loaders."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Return the loss of the first batch."""
        return super().training_step(batch[0], batch_idx)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    READ.clear()
    return Probing(monkeypatch)


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        # 4096 samples in batches of 8.
        ({}, {"max_epochs": 1000, "max_steps": 1_000_000, "num_training_batches": 512}),
        ({}, {"estimated_stepping_batches": 512_000, "limit_train_batches": 1.0}),
        ({}, {"num_sanity_val_steps": 2, "val_check_interval": 1.0, "val_check_batch": 512}),
        ({"max_epochs": 3}, {"max_epochs": 3, "max_steps": -1, "fit_loop.max_epochs": 3}),
        ({"max_epochs": 3}, {"estimated_stepping_batches": 1536}),
        (
            {"max_epochs": 3, "accumulate_grad_batches": 5},
            {"estimated_stepping_batches": 309},
        ),
        ({"max_steps": 5}, {"max_steps": 5, "max_epochs": -1, "estimated_stepping_batches": 5}),
        ({"max_epochs": -1}, {"estimated_stepping_batches": 1_000_000}),
        (
            {"max_epochs": 2, "limit_train_batches": 10, "val_check_interval": 4},
            {"num_training_batches": 10, "limit_train_batches": 10, "val_check_batch": 4},
        ),
        (
            {"max_epochs": 2, "limit_train_batches": 0.25, "val_check_interval": 0.5},
            {"num_training_batches": 128, "limit_train_batches": 0.25, "val_check_batch": 64},
        ),
        (
            {"min_epochs": 4, "min_steps": 900, "check_val_every_n_epoch": 7},
            {"min_epochs": 4, "min_steps": 900, "check_val_every_n_epoch": 7},
        ),
        (
            {"limit_val_batches": 0.5, "num_sanity_val_steps": 0, "log_every_n_steps": 1},
            {"limit_val_batches": 0.5, "num_sanity_val_steps": 0, "log_every_n_steps": 1},
        ),
    ],
)
def test_workload_reads_the_length_of_the_users_training(
    probe: Probing, trainer: dict[str, Any], told: dict[str, Any]
) -> None:
    """The Trainer says what the user's would; the probe still ends after its own steps."""
    found = probe(here("Reads"), trainer=trainer)
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert 3 * 8 * trainer.get("accumulate_grad_batches", 1) == found["samples"]
    assert "validation" in probe.phases
    assert told == {name: READ[-1][name] for name in told}


@pytest.mark.parametrize("trainer", [{}, {"max_steps": 5}, {"max_epochs": 2}, {"max_epochs": -1}])
def test_stream_has_a_finite_number_of_steps(probe: Probing, trainer: dict[str, Any]) -> None:
    """A stream's number of batches is infinite; that of its steps is the given one, or large."""
    found = probe(here("Reads"), here("Stream"), trainer=trainer)
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert trainer.get("max_steps", 1_000_000) == READ[-1]["estimated_stepping_batches"]
    assert float("inf") == READ[-1]["num_training_batches"]


def test_combined_loaders_have_the_length_of_their_mode(probe: Probing) -> None:
    """Of two loaders in the mode `min_size` the shorter one counts."""
    found = probe(here("FirstPart"), here("Parts"), trainer={"max_epochs": 1})
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert 50 == READ[-1]["num_training_batches"]


def test_probe_longer_than_the_training_leaves_its_schedule_at_its_end(probe: Probing) -> None:
    """11 steps of a training of 5: the schedule, which refuses a sixth step, takes 5."""
    found = probe(here("Reads"), trainer={"max_steps": 5, "min_steps": 50}, steps=11)
    assert ("fits", None, 11 * 8) == (found["outcome"], found["detail"], found["samples"])
    assert [1, 2, 3, 4, 5] == STEPPED


def test_batch_beyond_the_data_is_bounded_by_them(probe: Probing) -> None:
    """No schedule fails over a pass without batches: the data end the probe."""
    found = probe(here("Reads"), batch_size=5000, trainer={"max_epochs": 20})
    assert "dataset" == found["outcome"]


def test_schedules_on_max_steps_train_without_one(probe: Probing) -> None:
    """Where the matrix gives no length, `max_steps` is a number."""
    found = probe(here("ReadsMaxSteps"))
    assert ("fits", None) == (found["outcome"], found["detail"])


def test_sweep_is_as_long_as_asked() -> None:
    """A sweep of 9 steps runs in a training of 5."""
    found = run(here("Reads"), rates=[0.01] * 9, trainer={"max_steps": 5, "limit_train_batches": 2})
    assert (None, 9) == (found["refusal"], len(found["losses"]))


def test_other_lightning_package_is_told_too(probe: Probing) -> None:
    """A Trainer of `pytorch_lightning` has the same loops."""
    found = probe(
        "zoo.OlderPackageNet", "zoo.OlderPackageNumbers", trainer={"max_steps": 1, "min_steps": 99}
    )
    assert ("fits", None) == (found["outcome"], found["detail"])
