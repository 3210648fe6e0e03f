"""Steps of optimizers that torch's own hooks see, and of those that they do not."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
import zoo
from lr_sweep_workloads import RATES, run
from torch.optim.lr_scheduler import StepLR
from training_probes import Probing

from harness.probe_trainer.optimizer_steps import watch_steps

pytestmark = pytest.mark.filterwarnings("ignore")


def here(name: str) -> str:
    """Return the class path of something in this file."""
    return f"{__name__}.{name}"


def parameters() -> list[torch.nn.Parameter]:
    """Return one parameter with a gradient."""
    parameter = torch.nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    return [parameter]


class Uninitialised(torch.optim.Optimizer):
    """Wraps another optimizer, and skips the `__init__` of its base."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.param_groups, self.defaults, self.state = (
            inner.param_groups,
            inner.defaults,
            inner.state,
        )

    def step(self, closure: Any = None) -> Any:
        """Step the inner one."""
        return self.inner.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT002 - torch's signature
        """Clear the inner one's gradients."""
        self.inner.zero_grad(set_to_none)

    def state_dict(self) -> Any:
        """Return the inner one's state."""
        return self.inner.state_dict()


class Borrowing(Uninitialised):
    """Takes all attributes of the wrapped one, its hooks among them."""

    def __init__(self, inner: Any) -> None:
        self.__dict__.update(inner.__dict__)
        self.inner = inner


class Foreign:
    """Has the interface of an optimizer, and is none."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.param_groups, self.defaults, self.state = (
            inner.param_groups,
            inner.defaults,
            inner.state,
        )

    def step(self, closure: Any = None) -> Any:
        """Step the inner one."""
        return self.inner.step(closure)

    def zero_grad(self) -> None:
        """Clear the inner one's gradients."""
        self.inner.zero_grad()

    def state_dict(self) -> Any:
        """Return the inner one's state."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Load the inner one's state."""
        self.inner.load_state_dict(state)


class Twice(torch.optim.SGD):
    """Calls its closure a second time at another place, as sharpness-aware optimizers do."""

    def step(self, closure: Any = None) -> Any:
        """Step by the gradients that the second call gives."""
        with torch.enable_grad():
            closure()
        return super().step(closure)


def with_own_step(params: Any) -> Any:
    """Return an optimizer that has its step as an attribute."""
    optimizer = torch.optim.SGD(params, lr=0.1)
    inner = type(optimizer).step.__wrapped__  # type: ignore[attr-defined]  # torch wraps it
    optimizer.step = lambda closure=None: inner(optimizer, closure)  # type: ignore[method-assign]
    return optimizer


MAKERS: dict[str, Any] = {
    "plain": lambda params: torch.optim.SGD(params, lr=0.1),
    "fused": lambda params: torch.optim.AdamW(params, lr=0.1, fused=True),
    "uninitialised": lambda params: Uninitialised(torch.optim.SGD(params, lr=0.1)),
    "borrowing": lambda params: Borrowing(torch.optim.SGD(params, lr=0.1)),
    "foreign": lambda params: Foreign(torch.optim.SGD(params, lr=0.1)),
    "own step": with_own_step,
    "twice": lambda params: Twice(params, lr=0.1),
    "lbfgs": lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=3),
    "nested": lambda params: Foreign(Uninitialised(torch.optim.SGD(params, lr=0.1))),
}


class Chosen(zoo.Net):
    """Trains with one of the optimizers."""

    def __init__(self, optimizer: str) -> None:
        super().__init__(8)
        self.maker = MAKERS[optimizer]

    def configure_optimizers(self) -> Any:
        """Make it."""
        return self.maker(self.parameters())


class Scheduled(Chosen):
    """Has a schedule, which torch lets count the steps."""

    def configure_optimizers(self) -> Any:
        """Make both."""
        optimizer = super().configure_optimizers()
        return [optimizer], [{"scheduler": StepLR(optimizer, 1), "interval": "step"}]


class Replaces(zoo.Net):
    """Trains with another optimizer from the second batch on."""

    def __init__(self) -> None:
        super().__init__(8)

    def on_train_batch_end(self, _outputs: Any, _batch: Any, batch_idx: int) -> None:
        """Replace it."""
        if batch_idx == 0:
            self.trainer.strategy.optimizers = [torch.optim.SGD(self.parameters(), lr=0.1)]


@pytest.mark.parametrize("name", MAKERS)
def test_each_step_is_seen_once_by_both_hooks(name: str) -> None:
    """The hooks are called around a step, with the optimizer and its arguments."""
    seen: list[Any] = []
    optimizer = MAKERS[name](parameters())

    def closure() -> torch.Tensor:
        seen.append("step") if seen[-1:] == ["before"] else None
        return torch.ones(1)

    watch_steps(
        optimizer,
        before=lambda owner, *_: seen.append("before" if owner is optimizer else owner),
        after=lambda owner, *_: seen.append("after" if owner is optimizer else owner),
    )
    for _ in range(2):
        optimizer.step(closure)
    if name == "twice":  # its base's step is hooked, too
        assert ["before", "step", "before", "step", "after", "after"] * 2 == seen
    else:
        assert ["before", "step", "after"] * 2 == seen


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])  # noqa: S301 - made here
def test_copy_of_an_optimizer_steps_for_itself(copied: Any) -> None:
    """A copy neither steps the original nor counts as its step."""
    seen: list[Any] = []
    params = parameters()
    optimizer = MAKERS["foreign"](params)  # torch's own base class copies its state alone
    watch_steps(optimizer, after=lambda *_: seen.append("step"))
    copied(optimizer).step()
    assert ([], 1.0) == (seen, params[0].item())
    optimizer.step()
    assert ["step"] == seen


def test_scheduler_may_come_before_and_after() -> None:
    """Schedules of torch take a watched step for an optimizer's own, and do not warn."""
    seen: list[Any] = []
    optimizer = Uninitialised(torch.optim.SGD(parameters(), lr=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = StepLR(optimizer, 1)
        watch_steps(optimizer, after=lambda *_: seen.append("step"))
        second = StepLR(optimizer, 1)
        optimizer.step()
        first.step()
        second.step()
    assert ["step"] == seen


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that runs probes with a bound that only records."""
    return Probing(monkeypatch)


def chosen(probe: Probing, kind: str, name: str) -> tuple[Any, ...]:
    """Probe a module with one of the optimizers."""
    found = probe(here(kind), module_args={"optimizer": name})
    return found["outcome"], found["detail"], found["samples"]


@pytest.mark.parametrize("name", MAKERS)
def test_probe_counts_the_steps_of_any_optimizer(probe: Probing, name: str) -> None:
    """A probe ends after three steps."""
    assert ("fits", None, 24) == chosen(probe, "Chosen", name)


@pytest.mark.parametrize("name", ["plain", "uninitialised"])
def test_schedules_do_not_hide_steps(probe: Probing, name: str) -> None:
    """A schedule wraps the step of its optimizer, and the probe counts it all the same."""
    assert ("fits", None, 24) == chosen(probe, "Scheduled", name)


def test_optimizer_that_replaces_another_is_watched(probe: Probing) -> None:
    """Steps count also of an optimizer that came while the training ran."""
    found = probe(here("Replaces"))
    assert ("fits", None, 24) == (found["outcome"], found["detail"], found["samples"])


@pytest.mark.parametrize("name", ["uninitialised", "foreign", "twice"])
def test_sweep_sets_the_rates_of_any_optimizer(name: str) -> None:
    """The rates of a sweep are those that the wrapped optimizer uses."""
    found = run(here("Chosen"), module_args={"optimizer": name})
    assert found["refusal"] is None
    assert list(RATES) == pytest.approx(found["learning_rates"])
