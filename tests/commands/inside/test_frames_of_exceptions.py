"""The frames of an exception tell what the training was doing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.commands.inside.frames import phase_of


class _Raising(torch.autograd.Function):
    @staticmethod
    def forward(_: object, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clone()

    @staticmethod
    def backward(*_: object) -> torch.Tensor:
        raise RuntimeError


def _backward() -> None:
    value: torch.Tensor = _Raising.apply(  # type: ignore[no-untyped-call] # untyped in torch
        torch.ones(1, requires_grad=True)
    )
    value.backward()  # type: ignore[no-untyped-call] # untyped in torch


def _optimizer() -> None:
    def closure() -> float:
        raise RuntimeError

    torch.optim.SGD([torch.ones(1, requires_grad=True)]).step(closure)


@pytest.mark.parametrize(
    ("call", "phase"),
    [
        (_backward, "backward"),
        (_optimizer, "optimizer"),
        (lambda: nn.Linear(2, 2)(torch.ones(3)), "forward"),
        (lambda: torch.ones(2) @ torch.ones(3), None),
    ],
)
def test_phase_is_read_off_the_frames(call: object, phase: str | None) -> None:
    """Torch's own frames name it; outside of them nothing does."""
    assert callable(call)
    with pytest.raises(RuntimeError) as caught:
        call()
    assert phase == phase_of(caught.value)
