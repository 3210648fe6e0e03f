"""Training and describing probes in this process, with a memory bound that only records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pytest
import zoo
from projects import workload
from training_probes import Probing, Recorded

from harness.probe_tasks.describe import describe
from harness.workload.build import build

if TYPE_CHECKING:
    from harness.protocol.messages import DescribeRequest

# Lightning warns about few workers and short loaders, which these tests have on purpose.
pytestmark = pytest.mark.filterwarnings("ignore")


DESCRIBE: DescribeRequest = {
    "task": "describe",
    "batch_size": 1,
    "trainer": {},
    "bound": {"accelerator": "cpu", "budget_bytes": 1},
    "workload": None,
}


MB = 1_000_000


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    return Probing(monkeypatch)


def ignore(phase: str) -> None:
    """Ignore a phase."""


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


class Small(zoo.Net):
    """The network of the zoo, 8 wide."""

    def __init__(self) -> None:
        super().__init__(8)


class FrozenForGood(Small):
    """Trains its last layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers[0].requires_grad_(False)


class ThawsLater(FrozenForGood):
    """Trains all of its layers from its second epoch on."""

    def on_train_epoch_start(self) -> None:
        """Thaw."""
        if self.current_epoch == 1:
            self.requires_grad_(True)


class RunsOut(Small):
    """Runs out of memory in the first step."""

    def training_step(self, *_: Any) -> Any:
        """Fail as an allocation does."""
        raise MemoryError


class EndsEpoch(Small):
    """Ends its epoch before the first batch."""

    def on_train_batch_start(self, *_: Any) -> int:
        """Skip the rest."""
        return -1


class StopsItself(Small):
    """Ends its training after the first batch."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop."""
        self.trainer.should_stop = True


class Configured(Small):
    """Has callbacks that would stop, save, search, and log."""

    def configure_callbacks(self) -> Any:
        """Return the callbacks."""
        kinds = pl.callbacks
        return [
            kinds.EarlyStopping("missing"),
            kinds.ModelCheckpoint(),
            kinds.BatchSizeFinder(),
            kinds.LearningRateFinder(),
            kinds.LearningRateMonitor(),
        ]


class Verbose(Small):
    """Raises an error with a very long first line."""

    def training_step(self, _batch: zoo.Batch, _batch_idx: int) -> Any:
        """Raise."""
        raise ValueError("x" * 100_000 + "\nsecond line")


class TwoValidationLoaders(zoo.Numbers):
    """Validates on two sets."""

    def val_dataloader(self) -> Any:
        """Return two loaders."""
        return {"near": super().val_dataloader(), "far": super().val_dataloader()}


class ValidatesTwice(Small):
    """Validates on both loaders; fails for a batch that does not have the searched size."""

    def validation_step(self, batch: zoo.Batch, _batch_idx: int, dataloader_idx: int = 0) -> None:
        """Check the size."""
        assert 20 == len(batch[0]), dataloader_idx


def test_phases_are_told_in_their_order(probe: Probing) -> None:
    """The order is set-up, then data, forward, backward and optimizer per step, then validation."""
    probe(here("Small"), steps=2)
    step = ["forward", "backward", "optimizer", "data"]
    assert ["setup", "data", *step, *step, "validation", "end of training"] == probe.phases


def test_limit_holds_from_the_start_of_the_fit_to_its_end(probe: Probing) -> None:
    """The bound starts, engages with the module, warms up, is rescaled to validate, is lifted."""
    probe(here("Small"), validation_share=0.5)
    assert ["start", "Small", "warm", 0.5, "lift"] == probe.bound.asked


def test_validation_that_is_varied_has_a_peak_of_its_own(probe: Probing) -> None:
    """While the validation batch is searched for, the reported peak is validation's."""
    result = probe(here("Small"), peaks=(1000,), validation_batch_size=16)
    assert (77, ["start", "Small", 1.02, "warm", 1.0, "validation", "lift"]) == (
        result["peak_memory_bytes"],
        probe.bound.asked,
    )


def test_what_the_allocator_tells_is_part_of_the_result(probe: Probing) -> None:
    """The result of a probe has the facts of its bound."""
    assert 5 == probe(here("Small"))["alloc_retries"]


def test_snapshot_is_taken_while_the_failure_is_alive(probe: Probing) -> None:
    """The history is recorded from the start, and written before the limit is lifted."""
    result = probe(here("RunsOut"), snapshot="here.pickle")
    assert "oom" == result["outcome"]
    assert [
        "start",
        "record with stacks",
        "RunsOut",
        "dump here.pickle",
        "lift",
        "lift",
        "lift",
    ] == probe.bound.asked


@pytest.mark.parametrize(
    ("peaks", "num_steps", "growing"),
    [
        ((1000,), 3, False),
        ((950 * MB, 960 * MB, 970 * MB, 980 * MB, 981 * MB), 5, False),
        (tuple(range(850 * MB, 1500 * MB, 20 * MB)), 3 + 8, True),
        (tuple(range(2 * MB, 100 * MB, 2 * MB)), 3, False),
    ],
    ids=["steady", "steady after 5", "growing without end", "growing far from the limit"],
)
def test_probe_goes_on_until_the_peak_stands_still(
    probe: Probing, peaks: tuple[int, ...], num_steps: int, *, growing: bool
) -> None:
    """A peak that grows by over a thousandth of the limit, and may reach it, adds up to 8 steps."""
    found = probe(here("Small"), peaks=peaks)
    assert ("fits", num_steps * 8, growing) == (
        found["outcome"],
        found["samples"],
        found["growing"],
    )


def test_history_is_written_of_a_training_that_fits(probe: Probing) -> None:
    """It has no stacks, begins before the module is on its device, and ends with validation."""
    probe(here("Small"), history="here.json")
    assert ["start", "record", "Small", "warm", 1.0, "history here.json", "lift"] == (
        probe.bound.asked
    )


def test_a_few_pages_are_no_growth_on_a_small_budget(
    probe: Probing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A late allocation of a library is no growth, even if it exceeds a thousandth of the limit."""
    monkeypatch.setattr(Recorded, "limit_bytes", 32 * MB)
    found = probe(
        here("Small"), peaks=(31 * MB, 31 * MB + 50_000, 31 * MB + 150_000, 31 * MB + 250_000)
    )
    assert (3 * 8, False) == (found["samples"], found["growing"])


def test_single_step_is_enough_when_asked_for(probe: Probing) -> None:
    """A single requested step needs no second one to compare its peak with."""
    assert 8 == probe(here("Small"), steps=1)["samples"]


@pytest.mark.parametrize(("module", "done"), [("EndsEpoch", 0), ("StopsItself", 1)])
def test_training_that_ends_itself_did_not_fit(probe: Probing, module: str, done: int) -> None:
    """A training that ends before its steps is an error, which says what to look for."""
    found = probe(here(module))
    assert "error" == found["outcome"]
    assert (
        f"the training ended itself after {done} of 3 optimizer steps: see what sets"
        in found["detail"]
    )


def test_accumulation_that_a_callback_sets_is_read(probe: Probing) -> None:
    """A probe takes its steps over as many batches as the Trainer accumulates, however many."""
    scheduler = {
        "class_path": "lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "init_args": {"scheduling": {0: 400}},
    }
    found = probe(here("Small"), trainer={"callbacks": [scheduler]})
    assert ("fits", None) == (found["outcome"], found["detail"])
    assert (3, 3 * 400 * 8) == (found["steps"], found["samples"])


@pytest.mark.parametrize(
    ("module", "notes"), [("FrozenForGood", 0), ("ThawsLater", 1), ("Small", 0)]
)
def test_parts_that_thaw_later_are_noted(probe: Probing, module: str, notes: int) -> None:
    """Only what something would thaw is news; the hooks of the probe itself are nothing."""
    told = probe(here(module))["notes"]
    assert ["ThawsLater.on_train_epoch_start may thaw them later" in note for note in told] == (
        [True] * notes
    )


def test_usual_callbacks_do_no_harm(probe: Probing) -> None:
    """A module's early stopping, checkpoints and finders are left out; its LR monitor stays."""
    found = probe(here("Configured"))
    assert ("fits", None, 24) == (found["outcome"], found["detail"], found["samples"])


def test_long_message_is_cut_in_the_detail_only(probe: Probing) -> None:
    """The detail is one line of bounded length; the traceback is complete."""
    found = probe(here("Verbose"))
    assert ("error", 500 + len("ValueError: "), "…") == (
        found["outcome"],
        len(found["detail"]),
        found["detail"][-1],
    )
    assert "second line" in found["traceback"]


def test_several_validation_loaders_take_the_size_searched_for(probe: Probing) -> None:
    """Each loader of a dict validates with full batches of the validation batch size."""
    found = probe(here("ValidatesTwice"), here("TwoValidationLoaders"), validation_batch_size=20)
    assert ("fits", None) == (found["outcome"], found["detail"])


def test_description_leaves_the_usual_callbacks_out(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Describing a workload trains nothing and writes nothing, whatever its callbacks are."""
    monkeypatch.chdir(tmp_path)
    found = describe(build(workload(here("Configured"))), DESCRIBE, ignore, {})
    assert found["outcome"] == "fits"
    assert (4096, True) == (found["num_samples"], found["validation"])
    assert [] == list(tmp_path.iterdir())


def test_set_up_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in the user's set-up becomes the result, with its traceback."""

    def setup(_self: Any, stage: str) -> None:
        raise FileNotFoundError("no data")

    monkeypatch.setattr(zoo.Numbers, "setup", setup)
    found = describe(build(workload("zoo.Net")), DESCRIBE, ignore, {})
    assert found["outcome"] == "error"
    assert "FileNotFoundError: no data" == found["detail"]
    assert "in setup" in (found["traceback"] or "")
