"""Small trainings of many kinds, whose best constant learning rates can be computed in minutes.

The data are scikit-learn's digits, wine and diabetes, and the text of Python's own documentation
and modules. A training is told by its task and its seed alone.
"""

from __future__ import annotations

import argparse
import inspect
import tarfile
import typing
from dataclasses import dataclass
from functools import cache
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, NamedTuple

import torch
from sklearn.datasets import load_diabetes, load_digits, load_wine
from torch import nn
from torch.nn import functional

from learning_rates import networks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_LENGTH = 32
_OLD_DIGITS = 5
_PRETRAINING_SEED = 77
_PRETRAINING_RATE = 3e-3
# The batches of a seed are drawn apart from its parameters.
_BATCHES = 1000


class Training(NamedTuple):
    """A training before its first step."""

    module: nn.Module
    loss: Callable[[], torch.Tensor]
    """The loss of the next batch."""
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Task:
    """A kind of training, of which each seed is one."""

    start: Callable[[int], Training]
    optimizer: str
    batch_size: int
    fine_tuned: bool = False
    warm_up: int = 0
    """Steps over which the oracle's learning rate rises; the rule knows nothing of them."""


def losses(task: Task, seed: int, learning_rates: Iterable[float]) -> list[float]:
    """Train, one step per learning rate; return each step's loss, up to one that is not finite."""
    training = task.start(seed)
    recorded: list[float] = []
    for rate in learning_rates:
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        training.optimizer.zero_grad()
        loss = training.loss()
        loss.backward()  # type: ignore[no-untyped-call] # torch's own signature
        training.optimizer.step()
        recorded.append(loss.item())
        if not loss.isfinite():
            break
    return recorded


def _optimizer(name: str, module: nn.Module) -> torch.optim.Optimizer:
    if name == "adamw":
        return torch.optim.AdamW(module.parameters())
    if name == "adam":
        return torch.optim.Adam(module.parameters())
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)


def _orders(num_samples: int, batch_size: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield the indices of batches: all samples in a new order, again and again."""
    generator = torch.Generator().manual_seed(_BATCHES + seed)
    order = torch.empty(0, dtype=torch.int64)
    while True:
        while len(order) < batch_size:
            order = torch.cat([order, torch.randperm(num_samples, generator=generator)])
        yield order[:batch_size]
        order = order[batch_size:]


def _supervised(
    make: Callable[[], nn.Module],
    data: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    batch_size: int,
    optimizer: str,
    criterion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.cross_entropy,
    *,
    fine_tuned: bool = False,
    warm_up: int = 0,
) -> Task:
    def start(seed: int) -> Training:
        inputs, targets = data()
        torch.manual_seed(seed)
        module = make()
        orders = _orders(len(inputs), batch_size, seed)

        def loss() -> torch.Tensor:
            batch = next(orders)
            return criterion(module(inputs[batch]), targets[batch])

        return Training(module, loss, _optimizer(optimizer, module))

    return Task(start, optimizer, batch_size, fine_tuned, warm_up)


def _characters(
    text: Callable[[], torch.Tensor],
    batch_size: int,
    optimizer: str,
    pretrained: Callable[[], Mapping[str, torch.Tensor]] | None = None,
) -> Task:
    def start(seed: int) -> Training:
        codes = text()
        parameters = pretrained() if pretrained else None
        torch.manual_seed(seed)
        module = networks.character_transformer(len(_alphabet()), _LENGTH)
        if parameters:
            module.load_state_dict(parameters)
        generator = torch.Generator().manual_seed(_BATCHES + seed)

        def loss() -> torch.Tensor:
            begins = torch.randint(len(codes) - _LENGTH, (batch_size, 1), generator=generator)
            lines = codes[begins + torch.arange(_LENGTH + 1)]
            logits = module(lines[:, :-1])
            return functional.cross_entropy(logits.flatten(0, 1), lines[:, 1:].flatten())

        return Training(module, loss, _optimizer(optimizer, module))

    return Task(start, optimizer, batch_size, fine_tuned=pretrained is not None)


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32) / 16, torch.tensor(digits.target)


@cache
def _noisy_digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the digits, of whose labels two in five are drawn at random."""
    images, labels = _digits()
    generator = torch.Generator().manual_seed(7)
    noisy = torch.rand(len(labels), generator=generator) < 0.4
    return images, torch.where(
        noisy, torch.randint(10, (len(labels),), generator=generator), labels
    )


def _old_digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = _digits()
    return images[labels < _OLD_DIGITS], labels[labels < _OLD_DIGITS]


def _new_digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = _digits()
    return images[labels >= _OLD_DIGITS], labels[labels >= _OLD_DIGITS] - _OLD_DIGITS


def _same_digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, _ = _digits()
    return images, images.flatten(1)


def _standardised(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean(0)) / values.std(0)


@cache
def _wine() -> tuple[torch.Tensor, torch.Tensor]:
    inputs, labels = load_wine(return_X_y=True)
    return _standardised(torch.tensor(inputs, dtype=torch.float32)), torch.tensor(labels)


@cache
def _diabetes() -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = load_diabetes(return_X_y=True)
    return (
        _standardised(torch.tensor(inputs, dtype=torch.float32)),
        _standardised(torch.tensor(targets, dtype=torch.float32))[:, None],
    )


@cache
def _texts() -> tuple[str, str]:
    """Return documentation and code."""
    code = "".join(inspect.getsource(module) for module in (argparse, tarfile, typing))
    return "\n".join(topics.values()), code


@cache
def _alphabet() -> dict[str, int]:
    characters = sorted(set("".join(_texts())))
    return {character: code for code, character in enumerate(characters)}


@cache
def _documentation() -> torch.Tensor:
    return torch.tensor([_alphabet()[character] for character in _texts()[0]])


@cache
def _code() -> torch.Tensor:
    return torch.tensor([_alphabet()[character] for character in _texts()[1]])


def _pretrained(task: Task, num_steps: int) -> dict[str, torch.Tensor]:
    """Train by AdamW, up to a peak and down again; return the parameters and statistics."""
    training = task.start(_PRETRAINING_SEED)
    optimizer = torch.optim.AdamW(training.module.parameters(), lr=_PRETRAINING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _PRETRAINING_RATE, total_steps=num_steps
    )
    for _ in range(num_steps):
        optimizer.zero_grad()
        training.loss().backward()  # type: ignore[no-untyped-call] # torch's own signature
        optimizer.step()
        schedule.step()
    return {name: value.clone() for name, value in training.module.state_dict().items()}


def _convolutional() -> networks.Convolutional:
    return networks.Convolutional(_OLD_DIGITS, normalised=True)


def _vision() -> networks.Transformer:
    return networks.vision_transformer(_OLD_DIGITS)


@cache
def _pretrained_convolutional() -> dict[str, torch.Tensor]:
    return _pretrained(_supervised(_convolutional, _old_digits, 64, "adamw"), 1500)


@cache
def _pretrained_vision() -> dict[str, torch.Tensor]:
    return _pretrained(_supervised(_vision, _old_digits, 64, "adamw"), 1500)


@cache
def _pretrained_characters() -> dict[str, torch.Tensor]:
    return _pretrained(_characters(_documentation, 32, "adamw"), 3000)


def _fine_tuned(
    make: Callable[[], nn.Module],
    pretrained: Callable[[], Mapping[str, torch.Tensor]],
    batch_size: int,
    optimizer: str,
) -> Task:
    """Return the fine-tuning on other digits, with a new head."""

    def tuned() -> nn.Module:
        state = torch.get_rng_state()
        parameters = pretrained()
        torch.set_rng_state(state)
        module = make()
        old = {name: value for name, value in parameters.items() if not name.startswith("head.")}
        module.load_state_dict({**module.state_dict(), **old})
        return module

    return _supervised(tuned, _new_digits, batch_size, optimizer, fine_tuned=True)


def _digits_perceptron() -> nn.Module:
    return networks.perceptron(64, 10)


def _digits_convolutional() -> nn.Module:
    return networks.Convolutional(10, normalised=False)


def _digits_normalised() -> nn.Module:
    return networks.Convolutional(10, normalised=True)


def _digits_vision() -> nn.Module:
    return networks.vision_transformer(10)


TASKS: dict[str, Task] = {
    "digits mlp, adamw 8": _supervised(_digits_perceptron, _digits, 8, "adamw"),
    "digits mlp, adamw 32": _supervised(_digits_perceptron, _digits, 32, "adamw"),
    "digits mlp, sgd 256": _supervised(_digits_perceptron, _digits, 256, "sgd"),
    "digits mlp, adam 1024": _supervised(_digits_perceptron, _digits, 1024, "adam"),
    "wine mlp, sgd 16": _supervised(lambda: networks.perceptron(13, 3, 32), _wine, 16, "sgd"),
    "diabetes mlp, adam 64": _supervised(
        lambda: networks.perceptron(10, 1), _diabetes, 64, "adam", functional.mse_loss
    ),
    "autoencoder, adam 256": _supervised(
        lambda: networks.autoencoder(64), _same_digits, 256, "adam", functional.mse_loss
    ),
    "digits cnn, adamw 64": _supervised(_digits_convolutional, _digits, 64, "adamw"),
    "digits cnn, sgd 32": _supervised(_digits_convolutional, _digits, 32, "sgd"),
    "batch norm, adamw 256": _supervised(_digits_normalised, _digits, 256, "adamw"),
    "batch norm, sgd 128": _supervised(_digits_normalised, _digits, 128, "sgd"),
    "noisy labels, adamw 128": _supervised(_digits_normalised, _noisy_digits, 128, "adamw"),
    "digits vit, adamw 64": _supervised(_digits_vision, _digits, 64, "adamw"),
    "digits vit, sgd 16": _supervised(_digits_vision, _digits, 16, "sgd"),
    "vit + warm-up, adamw 32": _supervised(_digits_vision, _digits, 32, "adamw", warm_up=20),
    "characters, adamw 16": _characters(_documentation, 16, "adamw"),
    "characters, sgd 8": _characters(_documentation, 8, "sgd"),
    "tuned cnn, adamw 32": _fine_tuned(_convolutional, _pretrained_convolutional, 32, "adamw"),
    "tuned vit, adamw 32": _fine_tuned(_vision, _pretrained_vision, 32, "adamw"),
    "tuned vit, sgd 32": _fine_tuned(_vision, _pretrained_vision, 32, "sgd"),
    "tuned characters, adamw 16": _characters(_code, 16, "adamw", _pretrained_characters),
}
