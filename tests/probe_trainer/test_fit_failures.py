"""The place at which a failure is told to have come up."""

from __future__ import annotations

from typing import Any, get_args

import lightning.pytorch as pl
import pytest
import torch
import zoo
from lr_sweep_workloads import run
from training_probes import Probing

from harness.lightning_names import Hook

pytestmark = pytest.mark.filterwarnings("ignore")

# Lightning calls these only in trainings that are set up for them, or never in a fit that failed.
UNCALLED = {"configure_gradient_clipping", "on_fit_end", "teardown"}
# These are the data module's, and the others the module's.
OF_DATA = {"prepare_data", "train_dataloader", "val_dataloader"}


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    return Probing(monkeypatch)


def fail(*_: Any, **__: Any) -> Any:
    """Fail as a slip in a hook does."""
    raise KeyError("no such key")


class Raises(zoo.Net):
    """Fails in one of its hooks."""

    def __init__(self, hook: str) -> None:
        super().__init__(8)
        if hook not in OF_DATA:
            self.__dict__[hook] = fail

    def configure_optimizers(self) -> Any:
        """Have a schedule, which is stepped."""
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


class RaisingNumbers(zoo.Numbers):
    """Fails in one of its hooks."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.__dict__[hook] = fail


class RaisingCallback(pl.Callback):
    """Fails in a hook of its own."""

    def on_train_epoch_start(self, *_: Any) -> None:
        """Fail."""
        raise KeyError("no such key")


class RunsOut(zoo.Net):
    """Runs out of memory at the end of its epoch, or of its validation."""

    def __init__(self, hook: str) -> None:
        super().__init__(8)
        self.hook = hook

    def on_train_epoch_end(self) -> None:
        """Fail as an allocation does."""
        if self.hook == "on_train_epoch_end":
            raise MemoryError

    def on_validation_epoch_end(self) -> None:
        """Fail as an allocation does."""
        if self.hook == "on_validation_epoch_end":
            raise MemoryError


@pytest.mark.parametrize("hook", sorted({*get_args(Hook)} - UNCALLED))
def test_failure_in_a_hook_is_told_with_its_name(probe: Probing, hook: str) -> None:
    """An error in any hook is told with that hook, whatever phase was running."""
    data = here("RaisingNumbers") if hook in OF_DATA else "zoo.Numbers"
    data_args = {"hook": hook} if hook in OF_DATA else {}
    found = probe(here("Raises"), data, module_args={"hook": hook}, data_args=data_args)
    assert ("error", "KeyError: 'no such key'") == (found["outcome"], found["detail"])
    assert hook == probe.phases[-1]


@pytest.mark.parametrize(
    ("hook", "phase"),
    [
        ("training_step", "forward"),
        ("validation_step", "validation"),
        ("optimizer_step", "forward"),
        ("backward", "backward"),
        ("setup", "setup"),
    ],
)
def test_phases_keep_their_names(probe: Probing, hook: str, phase: str) -> None:
    """A hook that is a phase by itself is told as that."""
    found = probe(here("Raises"), module_args={"hook": hook})
    assert ("error", phase) == (found["outcome"], probe.phases[-1])


def test_hooks_of_callbacks_are_told_too(probe: Probing) -> None:
    """The hook may be one of a callback of the matrix."""
    callback = {"class_path": here("RaisingCallback"), "init_args": {}}
    found = probe("zoo.Net", trainer={"callbacks": [callback]})
    assert ("error", "on_train_epoch_start") == (found["outcome"], probe.phases[-1])


@pytest.mark.parametrize(
    ("hook", "phase"),
    [("on_train_epoch_end", "on_train_epoch_end"), ("on_validation_epoch_end", "validation")],
)
def test_memory_that_runs_out_in_validation_is_validations(
    probe: Probing, hook: str, phase: str
) -> None:
    """The search tells by the word validation what it has to lower."""
    found = probe(here("RunsOut"), module_args={"hook": hook})
    assert ("oom", phase) == (found["outcome"], probe.phases[-1])


def test_error_of_the_probe_itself_is_told_with_its_phase(probe: Probing) -> None:
    """A training that never steps fails where it runs, not in a hook of the probe's callback."""
    found = probe(here("NeverSteps"))
    assert ("error", "no optimizer step took effect in 330 batches") == (
        found["outcome"],
        found["detail"].removeprefix("RuntimeError: "),
    )
    assert "backward" == probe.phases[-1]


class NeverSteps(zoo.Net):
    """Keeps its optimizer from stepping."""

    def __init__(self) -> None:
        super().__init__(8)

    def optimizer_step(self, *arguments: Any) -> None:
        """Compute gradients, and leave it at that."""
        arguments[-1]()


def test_sweep_tells_the_hook() -> None:
    """A sweep that fails in a hook says so, too."""
    phases: list[Any] = []
    found = run(here("Raises"), module_args={"hook": "on_train_epoch_start"}, tell=phases.append)
    assert ("error", "on_train_epoch_start") == (found["outcome"], phases[-1])


class Ragged(torch.utils.data.Dataset[Any]):
    """Holds texts of different lengths, as tensors."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(index % 7 + 1), 0


def test_samples_that_make_no_batch_name_the_remedy(probe: Probing) -> None:
    """Where the wrapper makes the loader of a data set, the key for its function is named."""
    found = probe("zoo.PlainModel", here("Ragged"))
    assert found["outcome"] == "error"
    assert "RuntimeError: stack expects each tensor to be equal size" in found["detail"]
    assert found["detail"].endswith(
        "(its samples make no batch: name a function that does in the model's `collate_fn`)"
    )
