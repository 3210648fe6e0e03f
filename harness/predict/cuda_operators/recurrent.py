"""LSTM, GRU and plain recurrent layers as cuDNN computes them: all layers at once.

cuDNN keeps a reserve for the backward pass, to which torch's own shape functions give no bytes. The
sizes of reserve and workspace are documented nowhere; the factors are fitted to two published
measurements (pytorch/pytorch#2895: four layers, one direction, float32), and extended to two
directions by doubling. Three networks of bidirectional LSTMs in float16 then have the published
batches (benchmarks/data/recurrent_brackets.csv); not verified on a GPU at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

# Values that the reserve holds per time step, sample and hidden unit: a * layers - 1.
_RESERVE = {"lstm": 6, "gru": 7, "rnn_tanh": 2, "rnn_relu": 2}
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
# The workspace of a pass, in sizes of all weights.
_WORKSPACE = 1.45


@dataclass(frozen=True)
class Layers:
    """The arguments of an operator that decide its memory."""

    kind: str
    num_layers: int
    num_directions: int
    train: bool


def run(
    layers: Layers, data: torch.Tensor, states: list[torch.Tensor], weights: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Return the output [..., directions * features] and the states for [time, batch, features]."""
    results: tuple[torch.Tensor, ...] = _Recurrent.apply(  # type: ignore[no-untyped-call] # torch's
        layers, len(states), data.contiguous(), *states, *weights
    )
    return results


class _Recurrent(torch.autograd.Function):
    """Allocates what cuDNN's passes allocate, and computes nothing."""

    @staticmethod
    def forward(
        ctx: Any, layers: Layers, num_states: int, data: torch.Tensor, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        states, weights = tensors[:num_states], tensors[num_states:]
        hidden = weights[0].shape[0] // _GATES[layers.kind]
        steps = data.shape[:-1].numel()
        output = data.new_empty((*data.shape[:-1], layers.num_directions * states[0].shape[-1]))
        last = tuple(torch.empty_like(state) for state in states)
        reserved = _RESERVE[layers.kind] * layers.num_layers - 1
        reserve = data.new_empty(
            reserved * layers.num_directions * steps * hidden if layers.train else 0
        )
        _workspace(weights)
        ctx.save_for_backward(data, output, reserve, *tensors)
        ctx.num_states = num_states
        return (output, *last)

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        data, _output, _reserve, *tensors = ctx.saved_tensors
        weights = tensors[ctx.num_states :]
        gradients = [
            torch.empty_like(data),
            *(torch.empty_like(state) for state in tensors[: ctx.num_states]),
        ]
        _workspace(weights)
        # One buffer for all weights, of which theirs are parts.
        flat = weights[0].new_empty(sum(weight.numel() for weight in weights))
        parts = flat.split([weight.numel() for weight in weights])
        gradients += [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
        return (None, None, *gradients)


def _workspace(weights: Any) -> None:
    """Allocate what is freed before the pass returns."""
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
    torch.empty(int(_WORKSPACE * num_bytes), dtype=torch.uint8)


def operators() -> dict[str, Any]:
    """Return replacements by the names of torch's operators.

    Packed sequences have none: their lengths are values, which no fake tensor has.
    """
    return {f"{kind}.input": _of_batches(kind) for kind in _GATES}


def _of_batches(kind: str) -> Any:
    def operator(  # noqa: PLR0917 - the operator's own signature
        data: torch.Tensor,
        states: Any,
        weights: list[torch.Tensor],
        has_biases: bool,  # noqa: ARG001, FBT001 - likewise
        num_layers: int,
        dropout: float,  # noqa: ARG001 - part of the reserve
        train: bool,  # noqa: FBT001
        bidirectional: bool,  # noqa: FBT001
        batch_first: bool,  # noqa: FBT001
    ) -> tuple[torch.Tensor, ...]:
        layers = Layers(kind, num_layers, 1 + bidirectional, train)
        data = data.transpose(0, 1) if batch_first else data
        output, *last = run(layers, data, _listed(states), weights)
        return (output.transpose(0, 1) if batch_first else output, *last)

    return operator


def _listed(states: Any) -> list[torch.Tensor]:
    return [states] if isinstance(states, torch.Tensor) else list(states)
