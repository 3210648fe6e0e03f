"""The loss of plain models: their own in any form, or that of their output and the target."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from harness.errors import HarnessError
from harness.workload.model_loss import ModelLoss

INPUT, TARGET = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
LAYER = nn.Linear(4, 3)
LOGITS = LAYER(INPUT)
OWN = cross_entropy(LOGITS, TARGET) * 10  # the default loss is another number
EXPECTED, DEFAULT = OWN.item(), OWN.item() / 10


@dataclass
class Output:
    """An output with a loss."""

    loss: Any
    logits: Any


class Named(NamedTuple):
    """An output with a loss, as a tuple."""

    logits: Any
    loss: Any


InceptionOutputs = namedtuple("InceptionOutputs", ["logits", "aux_logits"])  # noqa: PYI024 - as torchvision's

# How a model returns what it computes.
FORMS: dict[str, Any] = {
    "the loss": lambda _, loss: loss,
    "(logits, loss)": lambda logits, loss: (logits, loss),
    "(loss, logits)": lambda logits, loss: (loss, logits),
    "a list": lambda logits, loss: [logits, loss],
    "(logits, loss, extra)": lambda logits, loss: (logits, loss, {"accuracy": 0.5}),
    "a dict": lambda logits, loss: {"logits": logits, "loss": loss},
    "a dataclass": lambda logits, loss: Output(loss, logits),
    "a named tuple": Named,
    "parts of a loss": lambda _, loss: {"boxes": loss / 4, "classes": loss / 4 * 3},
    "a loss per replica": lambda _, loss: {"loss": loss.expand(2)},
}


class Model(nn.Module):
    """Computes its loss from a target and returns it in one of the forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.calls = 0

    def make(self, inputs: torch.Tensor, target: torch.Tensor | None) -> Any:
        """Return the output, and count the call."""
        self.calls += 1
        logits = LAYER(inputs)
        loss = None if target is None else cross_entropy(logits, target) * 10
        return FORMS[self.form](logits, loss)


class Targets(Model):
    """Takes an optional target, as nanoGPT does."""

    def forward(self, idx: Any, targets: Any = None) -> Any:  # noqa: D102 - torch documents it
        return self.make(idx, targets)


class Short(Model):
    """Calls its target y."""

    def forward(self, x: Any, y: Any = None) -> Any:  # noqa: D102 - torch documents it
        return self.make(x, y)


class Later(Model):
    """Takes its target behind other arguments, as transformers' models do."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None) -> Any:  # noqa: D102 - torch documents it
        assert attention_mask is None
        return self.make(input_ids, labels)


class OnlyKeyword(Model):
    """Takes its target by name alone."""

    def forward(self, x: Any, *, target_ids: Any) -> Any:  # noqa: D102 - torch documents it
        return self.make(x, target_ids)


class Unnamed(Model):
    """Needs a second argument, whatever its name is."""

    def forward(self, left: Any, right: Any) -> Any:  # noqa: D102 - torch documents it
        return self.make(left, right)


def loss_of(model: nn.Module, batch: Any, *, given: Any = None) -> Any:
    """Return the loss of a batch as a number."""
    found = ModelLoss(model, given or cross_entropy, given=given is not None)(batch)
    return found if found is None else pytest.approx(found.item())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Targets, Short, Later, OnlyKeyword, Unnamed])
def test_models_own_loss_counts(kind: type[Model], form: str) -> None:
    """A model that takes the target is given it, once, and its loss is found in any form."""
    model = kind(form)
    assert EXPECTED == loss_of(model, (INPUT, TARGET))
    assert 1 == model.calls


@pytest.mark.parametrize("form", FORMS)
def test_batch_of_keyword_arguments_goes_to_the_model(form: str) -> None:
    """The keys of a batch are the names of the arguments."""
    assert EXPECTED == loss_of(Later(form), {"labels": TARGET, "input_ids": INPUT})


class Contrastive(nn.Module):
    """Needs no target."""

    def forward(self, x: Any) -> Any:  # noqa: D102 - torch documents it
        return {"loss": LAYER(x).square().mean()}


@pytest.mark.parametrize("batch", [INPUT, [INPUT], (INPUT,), {"x": INPUT}])
def test_batch_without_a_target_may_be_enough(batch: Any) -> None:
    """A batch of one tensor, as of a data set of inputs alone, trains a model with a loss."""
    assert LOGITS.square().mean().item() == loss_of(Contrastive(), batch)


def plain(forward: Any) -> nn.Module:
    """Return a model with this forward."""
    kind: type[nn.Module] = type("Plain", (nn.Module,), {"forward": forward})
    return kind()


@pytest.mark.parametrize(
    ("forward", "weight"),
    [
        (lambda _, x: LAYER(x), 1.0),
        (lambda _, x: (LAYER(x), torch.zeros(2, 6, 5)), 1.0),
        (lambda _, x, state=None: (LAYER(x), state), 1.0),
        (lambda _, x: (LAYER(x), torch.tensor(7.0)), 1.0),
        (lambda _, x: Output(None, LAYER(x)), 1.0),
        (lambda _, x: {"logits": LAYER(x)}, 1.0),
        (lambda _, x: InceptionOutputs(LAYER(x), LAYER(x)), 1.4),
        (lambda _, x: OrderedDict(out=LAYER(x), aux=LAYER(x)), 1.5),
        (lambda _, x, targets=None: LAYER(x), 1.0),  # noqa: ARG005 - it does not use it
        (lambda _, *arguments: LAYER(*arguments), 1.0),
    ],
    ids=[
        "tensor",
        "recurrent",
        "optional state",
        "a scalar beside",
        "attribute",
        "dict",
        "inception",
        "segmentation",
        "unused target",
        "any arguments",
    ],
)
def test_default_loss_is_that_of_output_and_target(forward: Any, weight: float) -> None:
    """A model without a loss of its own trains with cross-entropy, its other heads with it."""
    assert weight * DEFAULT == loss_of(plain(forward), (INPUT, TARGET))


@pytest.mark.parametrize("key", ["label", "labels", "y", "targets"])
def test_batch_with_a_target_by_name_is_a_pair(key: str) -> None:
    """Where the model does not take a batch's keys, the target's key tells it from the input."""
    batch = {"image": INPUT, key: TARGET}
    assert DEFAULT == loss_of(plain(lambda _, x: LAYER(x)), batch)


class TakesBatch(nn.Module):
    """Takes the mapping itself, and returns its own loss if it is told to."""

    def __init__(self, *, own: bool) -> None:
        super().__init__()
        self.own = own

    def forward(self, batch: Any) -> Any:
        """Look the input up."""
        logits = LAYER(batch["x"])
        return 10 * cross_entropy(logits, batch["y"]) if self.own else logits


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [(True, False, EXPECTED), (False, False, DEFAULT), (False, True, DEFAULT)],
    ids=["own", "default", "given"],  # the numbers differ between workers
)
def test_model_of_one_batch_gets_the_mapping(own: bool, given: bool, expected: float) -> None:
    """An argument that is called `batch` is the batch as it is."""
    loss = ModelLoss(TakesBatch(own=own), cross_entropy, given=given)
    assert pytest.approx(expected) == loss({"x": INPUT, "y": TARGET}).item()


def test_several_inputs_come_before_the_target() -> None:
    """A batch of three is two inputs and a target."""
    model = plain(lambda _, x, mask: LAYER(x * mask))
    assert DEFAULT == loss_of(model, [INPUT, torch.ones(6, 1), TARGET])


def test_loss_of_the_matrix_counts_whatever_the_model_returns() -> None:
    """A user's loss is that of `model(input)` and the target."""
    seen: list[Any] = []

    def loss(output: Any, target: Any) -> Any:
        seen.append((output, target))
        return torch.tensor(3.0)

    assert 3.0 == loss_of(Targets("(logits, loss)"), (INPUT, TARGET), given=loss)
    ((output, target),) = seen
    assert torch.equal(LOGITS, output[0])
    assert (None, TARGET.tolist()) == (output[1], target.tolist())


def test_evaluation_may_return_predictions() -> None:
    """A detector has a loss in training alone; its validation has none."""

    def forward(self: Any, images: Any, targets: Any = None) -> Any:
        loss = LAYER(images).square().mean()
        return {"a": loss, "b": loss} if self.training else [{"boxes": images, "of": targets}]

    model = plain(forward)
    assert 2 * LOGITS.square().mean().item() == loss_of(model, (INPUT, TARGET))
    assert None is loss_of(model.eval(), (INPUT, TARGET))


@pytest.mark.parametrize(
    ("forward", "batch", "message"),
    [
        (
            lambda _, x: LAYER(x),
            INPUT,
            (
                r"Plain was given a batch of one Tensor and returned no loss but a tensor of shape "
                r"\[6, 3\]: allowed are a scalar loss, .*\(input, target\) pairs"
            ),
        ),
        (
            lambda _, x, targets: {"boxes": x, "of": targets},
            (INPUT, TARGET),
            r"returned no loss but a mapping with \['boxes', 'of'\]: allowed are",
        ),
        (
            lambda _, x: LAYER(x),
            (INPUT, INPUT, TARGET),
            r"Plain takes \(x\), and a batch has 2 inputs before its target: use a data set",
        ),
        (
            lambda _, x: LAYER(x),
            {"image": INPUT, "mask": INPUT},
            r"Plain takes \(x\), and a batch has the keys \['image', 'mask'\]: give the batch",
        ),
        (
            lambda _, x: LAYER(x),
            {"x": INPUT},
            r"was given a batch of keyword arguments \['x'\] and returned no `loss`",
        ),
    ],
)
def test_model_without_any_loss_is_refused(forward: Any, batch: Any, message: str) -> None:
    """The message says what the model was given, what it returned, and what is allowed."""
    with pytest.raises(HarnessError, match=message):
        loss_of(plain(forward), batch)


def test_loss_of_the_matrix_needs_a_target() -> None:
    """A user's loss cannot be computed from an input alone."""
    with pytest.raises(HarnessError, match="the loss needs a target, and a batch is one Tensor"):
        loss_of(Contrastive(), INPUT, given=cross_entropy)
