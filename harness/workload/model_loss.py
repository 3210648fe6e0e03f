"""Calls a plain model with a batch, and finds the loss that it returns or that its output has.

How a model is called follows from the signature of its `forward`, never from trying: a call may
change the model's state. Many models compute their loss themselves and return it in one of the
forms that `own_loss` knows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from harness.errors import HarnessError

# Arguments and keys of a batch with these words in their names hold what the model should predict,
_TARGETS = ("target", "label")
# and with these names, but arguments only in the second place: diffusion models call a class `y`.
_SHORT_TARGETS = ("y", "y_true", "gt")
# The weights of auxiliary heads beside the main one: those of torchvision's reference trainings.
_AUXILIARY = {"aux_logits": 0.4, "aux_logits1": 0.3, "aux_logits2": 0.3, "aux": 0.5}
_ALLOWED = (
    "allowed are a scalar loss, an object or a mapping with `loss`, and a tuple with a scalar loss "
    "in it"
)


class ModelLoss:
    """Computes the loss of a batch.

    Args:
        model: the plain model.
        loss: the loss of an output and a target.
        given: whether the user chose `loss`; it then counts, whatever the model returns.

    """

    def __init__(self, model: Any, loss: Callable[[Any, Any], Any], *, given: bool) -> None:
        self.model = model
        self.loss = loss
        self.given = given
        self._arguments = _Arguments(model)

    def __call__(self, batch: Any) -> Any:
        """Return the loss; in evaluation None where the model returns none, as detectors do."""
        if isinstance(batch, Mapping):
            return self._of_keywords(batch)
        if isinstance(batch, (list, tuple)) and len(batch) > 1:
            return self._of_pair(batch)
        if isinstance(batch, (list, tuple)) and len(batch) == 1:
            (batch,) = batch
        if self.given:
            raise HarnessError(
                f"the loss needs a target, and a batch is one {type(batch).__qualname__}: use a "
                "data set of (input, target) pairs, or remove `loss` where the model computes its "
                "own"
            )
        return self._own(self.model(batch), f"a batch of one {type(batch).__qualname__}")

    def _of_keywords(self, batch: Mapping[str, Any]) -> Any:
        """Return the loss of a batch of keyword arguments, by the convention of transformers."""
        if self._arguments.take_keywords(batch):
            output = self.model(**batch)
            found = own_loss(output)
            if found is None and self.model.training:
                raise HarnessError(
                    f"{self._name} was given a batch of keyword arguments {sorted(batch)} and "
                    "returned no `loss`: add labels to the batch, or use a data set of (input, "
                    "target) pairs"
                )
            return found
        targets = [name for name in batch if _is_target(name) or name in _SHORT_TARGETS]
        if self._arguments.are_a_batch:
            return self._of_whole(batch, targets)
        inputs = [batch[name] for name in batch if name not in targets]
        if len(targets) != 1 or not self._arguments.takes(len(inputs)):
            raise HarnessError(
                f"{self._name} takes {self._arguments.described}, and a batch has the keys "
                f"{sorted(batch)}: give the batch the names of the arguments, or use a data set of "
                "(input, target) pairs"
            )
        return self._of_pair([*inputs, batch[targets[0]]])

    def _of_whole(self, batch: Mapping[str, Any], targets: list[str]) -> Any:
        """Return the loss of a model that takes the mapping itself."""
        output = self.model(batch)
        if len(targets) != 1 or (not self.given and own_loss(output) is not None):
            return self._own(output, f"a batch with the keys {sorted(batch)}")
        target = batch[targets[0]]
        if self.given:
            return self.loss(getattr(output, "logits", output), target)
        return self._of_heads(output, target)

    def _of_pair(self, batch: Any) -> Any:
        """Return the loss of a batch whose last part is the target, unless the model takes it."""
        *inputs, target = batch
        if not self.given:
            name = self._arguments.target_after(len(inputs))
            if name is not None:
                return self._either(self.model(*inputs, **{name: target}), target)
            if self._arguments.at_least >= len(batch):
                return self._own(self.model(*batch), f"{len(batch)} arguments")
        if not self._arguments.takes(len(inputs)):
            raise HarnessError(
                f"{self._name} takes {self._arguments.described}, and a batch has {len(inputs)} "
                "inputs before its target: use a data set of as many, or name the argument for the "
                "target `targets` or `labels`"
            )
        output = self.model(*inputs)
        if self.given:
            return self.loss(getattr(output, "logits", output), target)
        # A scalar beside the output is no loss here: the model does not know the target.
        return output if _is_scalar(output) else self._of_heads(output, target)

    def _either(self, output: Any, target: Any) -> Any:
        """Return the model's own loss, or else that of its output and the target."""
        found = own_loss(output)
        return self._of_heads(output, target) if found is None else found

    def _of_heads(self, output: Any, target: Any) -> Any:
        """Return the loss of the output and the target, over all heads of the model."""
        heads = list(_heads(output))
        if not heads:
            return self._own(output, "an input and a target")
        losses = [weight * self.loss(head, target) for weight, head in heads[1:]]
        # The main one unscaled: its graph is that of a training without other heads.
        return sum(losses, self.loss(heads[0][1], target))

    def _own(self, output: Any, given: str) -> Any:
        found = own_loss(output)
        if found is None and self.model.training:
            raise HarnessError(
                f"{self._name} was given {given} and returned no loss but {_shape(output)}: "
                f"{_ALLOWED}; or use a data set of (input, target) pairs"
            )
        return found

    @property
    def _name(self) -> str:
        return type(self.model).__qualname__


def own_loss(output: Any) -> Any:
    """Return the loss that a model's output is or holds; None without one."""
    if _is_scalar(output):
        return output
    if isinstance(output, Mapping):
        if output and "loss" not in output and all(map(_is_scalar, output.values())):
            return sum(output.values())  # torchvision's detectors return the parts of their loss
        found = output.get("loss")
    else:
        found = getattr(output, "loss", None)
        if found is None and isinstance(output, (list, tuple)):
            found = next(filter(_is_scalar, output), None)
    return found.mean() if isinstance(found, torch.Tensor) and found.ndim else found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0 and value.is_floating_point()


def _heads(output: Any) -> Iterator[tuple[float, torch.Tensor]]:
    """Yield the weight and the output of each head, the main one first; none for other outputs."""
    parts = output if isinstance(output, Mapping) else _fields(output)
    main = next((parts[name] for name in ("logits", "out") if name in parts), output)
    if isinstance(main, (list, tuple)):
        main = next(iter(main), None)  # recurrent networks return their state behind the output
    if isinstance(main, torch.Tensor):
        yield 1.0, main
        for name, weight in _AUXILIARY.items():
            if isinstance(parts.get(name), torch.Tensor):
                yield weight, parts[name]


def _fields(output: Any) -> Mapping[str, Any]:
    if hasattr(output, "_asdict"):
        return dict(output._asdict())
    return {"logits": output.logits} if hasattr(output, "logits") else {}


class _Arguments:
    """The arguments of a model's `forward`."""

    def __init__(self, model: Any) -> None:
        try:
            parameters = [*inspect.signature(model.forward).parameters.values()]
        except (TypeError, ValueError):  # compiled code has none: it may take anything
            parameters = [*inspect.signature(lambda *_, **__: None).parameters.values()]
        self._parameters = parameters
        positional = [
            one
            for one in parameters
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        self.at_least = sum(one.default is one.empty for one in positional)
        """The number of arguments that must be given."""
        endless = any(one.kind == one.VAR_POSITIONAL for one in parameters)
        self._most = math.inf if endless else len(positional)

    @property
    def are_a_batch(self) -> bool:
        """Whether the model takes a batch as it is: its one argument is called `batch`."""
        return self.at_least == 1 and self._parameters[0].name == "batch"

    def takes(self, num_inputs: int) -> bool:
        """Return whether the model takes this number of inputs by position."""
        return self.at_least <= num_inputs <= self._most

    @property
    def described(self) -> str:
        """The arguments as the signature shows them."""
        return f"({', '.join(map(str, self._parameters))})"

    def take_keywords(self, names: Mapping[str, Any]) -> bool:
        """Return whether the model takes these keyword arguments, and needs no others."""
        try:
            inspect.Signature(self._parameters).bind(**names)
        except TypeError:
            return False
        return True

    def target_after(self, num_inputs: int) -> str | None:
        """Return the argument for the target behind these inputs; None where the model has none."""
        for place, one in enumerate(self._parameters):
            is_target = _is_target(one.name) or (place == 1 and one.name in _SHORT_TARGETS)
            if place >= num_inputs and is_target and one.kind != one.POSITIONAL_ONLY:
                return one.name
        return None


def _is_target(name: str) -> bool:
    return any(word in name.lower() for word in _TARGETS)


def _shape(output: Any) -> str:
    """Return what an output is, in words."""
    if isinstance(output, torch.Tensor):
        return f"a tensor of shape {list(output.shape)}"
    if isinstance(output, Mapping):
        return f"a mapping with {sorted(map(str, output))}"
    if isinstance(output, (list, tuple)):
        return f"a {type(output).__name__} of {len(output)}"
    return f"an object of type {type(output).__qualname__}"
