"""A training with a loop of its own is probed as it is: by its steps, whatever runs them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from lr_sweep_workloads import run
from projects import TESTS, workload
from training_probes import Probing
from trainings_zoo import Loop

from harness.errors import NotOfferedError
from harness.probe_tasks.describe import describe
from harness.probe_tasks.loading import WorkersNotSetError, loader_with_workers
from harness.workload.build import build

if TYPE_CHECKING:
    from pathlib import Path

    from harness.protocol.case import WorkloadSpec

DOCS = TESTS.parent / "docs"
# Lightning warns about a module without parameters, and about short loaders.
pytestmark = pytest.mark.filterwarnings("ignore")


def training(name: str, **init_args: Any) -> WorkloadSpec:
    """Make the workload of a training of the zoo."""
    spec = workload("", None)
    made = {"class_path": f"trainings_zoo.{name}", "init_args": init_args}
    return spec | {"module": None, "training": made}  # type: ignore[return-value]


def described(name: str, **init_args: Any) -> dict[str, Any]:
    """Describe a training of the zoo."""
    bound = {"accelerator": "cpu", "budget_bytes": 1 << 30}
    request: Any = {"bound": bound, "trainer": {}, "batch_size": 2}
    return {**describe(build(training(name, **init_args)), request, lambda _: None, {})}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Run probes here."""
    return Probing(monkeypatch)


def test_a_probe_takes_the_steps_of_the_training_itself(probe: Probing) -> None:
    """As many as any other probe: three of them, each of all its accumulated batches."""
    found = probe(spec=training("Loop", accumulate=4))
    assert ("fits", 3, 24) == (found["outcome"], found["steps"], found["samples"])
    assert (8, 3) == (Loop.made.batch_size, len(Loop.made.losses))


def test_the_pages_example_is_probed(
    probe: Probing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code that `docs/other-trainings.md` shows, with the arguments of its matrix."""
    page = (DOCS / "other-trainings.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    (tmp_path / "loops.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    made = {"class_path": "loops.Training", "init_args": {"width": 4096}}
    found = probe(spec=training("") | {"training": made})  # type: ignore[arg-type]
    assert ("fits", 3) == (found["outcome"], found["steps"])


def test_validation_is_called_once_as_it_would_be(probe: Probing) -> None:
    """Nothing sets the mode, and nothing turns gradients off: that is the training's business."""
    probe(spec=training("Loop"), validation_steps=3)
    assert [True] == Loop.made.validated
    probe(spec=training("Loop"), validation_steps=0)
    assert [] == Loop.made.validated


def test_a_step_is_a_step_without_an_optimizer_to_be_seen(probe: Probing) -> None:
    """A closure shows nothing: neither its model nor its optimizer."""
    found = probe(spec=training("closure"))
    assert ("fits", 3) == (found["outcome"], found["steps"])


def test_a_loader_without_a_full_batch_is_the_end_of_the_data(probe: Probing) -> None:
    """A loop that waits for the first full batch would never end."""
    fits, ends = (probe(spec=training("closure"), batch_size=size) for size in (100, 101))
    assert ("fits", "dataset") == (fits["outcome"], ends["outcome"])
    assert "the training data hold no full batch of 101" in ends["detail"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ending", "step() raised StopIteration: the data of the training have ended"),
        ("Worded", "step() returned 'done', a str: it returns the loss, one number, or None"),
        ("Table", "step() returned a tensor of shape (2, 3): it returns the loss, one number"),
        ("stepless", "gave an object of type torch.nn.modules.linear.Linear, which has no step()"),
        ("oddly_optimized", "the `optimizer` of the training trainings_zoo.oddly_optimized is str"),
    ],
)
def test_what_is_no_training_is_told(probe: Probing, name: str, message: str) -> None:
    """As the user's own mistake, with what a training is."""
    found = probe(spec=training(name))
    assert ("error", True) == (found["outcome"], message in found["detail"])


def test_a_function_that_takes_no_batch_size_is_refused(probe: Probing) -> None:
    """Only a transformers.Trainer may do without: its batch size is set in its arguments."""
    found = probe(spec=training("unsized"))
    assert "unsized does not take batch_size: a step function is made with" in found["detail"]


def test_a_change_of_the_module_is_not_offered() -> None:
    """The module is made where it is too late for one."""
    with pytest.raises(NotOfferedError):
        build(training("Loop") | {"changes": ["8-bit optimizer"]})


def test_description_is_that_of_the_model() -> None:
    """The same names as the model's own; another width is another workload."""
    one, same, other = (
        described("Loop"),
        described("Loop", accumulate=2),
        described("Loop", width=8),
    )
    assert ("torch.nn.modules.container.Sequential", 4866) == (
        one["workload"]["module"],
        one["workload"]["num_parameters"],
    )
    assert (True, False) == (
        one["fingerprint"] == same["fingerprint"],
        one["fingerprint"] == other["fingerprint"],
    )
    assert (True, None) == (one["validation"], one["num_samples"])


@pytest.mark.parametrize(("name", "tensors"), [("closure", 4), ("several", 4)])
def test_models_that_are_not_shown_are_found(name: str, tensors: int) -> None:
    """In a closure, or in a mapping: they are the workload, and their memory counts."""
    assert (tensors, False) == (
        described(name)["workload"]["num_tensors"],
        described(name)["validation"],
    )


def test_samples_that_the_training_tells_bound_the_batch() -> None:
    """`num_samples` is the length of a pass."""
    assert 5 == described("Counted")["num_samples"]


def test_a_number_of_samples_that_is_none_is_refused() -> None:
    """Before it could be taken for no number at all."""
    detail = described("Miscounted")["detail"]
    assert "trainings_zoo.Miscounted is 'many': it is a whole number from 1, or left out" in detail


def test_its_steps_are_timed(probe: Probing) -> None:
    """After those that warm it up, as those of any workload."""
    found = probe(spec=training("Loop"), steps=5, timed_seconds=0.0)
    assert ("fits", 5) == (found["outcome"], found["steps"])
    assert (found["samples_per_second"] or 0) > 0


def test_its_loader_is_nobodys_to_time() -> None:
    """The number of workers is its own business."""
    with pytest.raises(WorkersNotSetError, match="a training loads its data itself"):
        loader_with_workers(build(training("Loop")), 8, 1)


def test_a_sweep_sets_the_rates_of_the_optimizer() -> None:
    """Its schedule goes on, and changes nothing; each step has its loss."""
    rates = (1e-3, 2e-3, 3e-3)
    found = run(training("Loop"), rates=rates)
    made = Loop.made
    assert ("fits", None) == (found["outcome"], found["refusal"])
    assert pytest.approx(rates) == made.used
    assert pytest.approx(made.losses) == found["losses"]


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("closure", "the training shows no optimizer, whose learning rates would be set"),
        ("several", "the workload has 2 optimizers"),
        ("Silent", "step() returns no loss, and a range test goes by losses"),
    ],
)
def test_a_sweep_that_has_nothing_to_set_or_to_see_is_refused(name: str, refusal: str) -> None:
    """By name, with what is missing."""
    assert refusal in (run(training(name))["refusal"] or "")
