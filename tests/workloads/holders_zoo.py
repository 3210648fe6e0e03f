"""Trainings whose memory is told apart by kind, module and line."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

WIDTH, LENGTH = 128, 32


class FeedForward(nn.Module):
    """Widens and narrows."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply a nonlinearity between two layers."""
        hidden = self.up(inputs)
        narrowed: torch.Tensor = self.down(nn.functional.gelu(hidden))
        return narrowed


class Block(nn.Module):
    """One block of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.feed_forward = FeedForward()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Add attention, and then the wide layers."""
        normed = self.norm1(inputs)
        inputs = inputs + self.attention(normed, normed, normed, need_weights=False)[0]
        summed: torch.Tensor = inputs + self.feed_forward(self.norm2(inputs))
        return summed


class Transformer(pl.LightningModule):
    """Three blocks; how they run is for others to say."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 4
        self.embed, self.head = nn.Embedding(100, WIDTH), nn.Linear(WIDTH, 100)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Run a block."""
        result: torch.Tensor = block(hidden)
        return result

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return a distribution over the next token."""
        hidden = self.embed(tokens)
        for block in self.blocks:
            hidden = self.run(block, hidden)
        logits: torch.Tensor = self.head(hidden)
        return logits

    def training_step(self, batch: list[torch.Tensor], _batch_idx: int) -> Any:
        """Return the cross-entropy."""
        (tokens,) = batch
        return nn.functional.cross_entropy(self(tokens).flatten(0, 1), tokens.flatten())

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
        """Return the cross-entropy."""
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        """Use AdamW."""
        return torch.optim.AdamW(self.parameters())

    def train_dataloader(self) -> object:
        """Return a loader of tokens."""
        data = TensorDataset(torch.zeros(512, LENGTH, dtype=torch.int64))
        return DataLoader(data, batch_size=self.batch_size)

    def val_dataloader(self) -> object:
        """Return the same again."""
        return self.train_dataloader()


class Checkpointed(Transformer):
    """Computes each block again before its backward pass."""

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Run a block, and forget what is in it."""
        result: torch.Tensor = checkpoint(block, hidden, use_reentrant=False)
        return result


class Reentrant(Transformer):
    """Does so with the older implementation."""

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Run a block, and forget what is in it."""
        result: torch.Tensor = checkpoint(block, hidden, use_reentrant=True)
        return result


class CheckpointedFunction(Transformer):
    """Computes a function again that is no module."""

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Run a block and more."""
        result: torch.Tensor = checkpoint(partial(_more, block), hidden, use_reentrant=False)
        return result


def _more(block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    more: torch.Tensor = block(hidden).tanh().sin()
    return more


class Tied(Transformer):
    """Has the embedding's weights in its head, too."""

    def __init__(self) -> None:
        super().__init__()
        self.head.weight = self.embed.weight


class Nested(Transformer):
    """Has a LightningModule within."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Transformer()

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
        """Let the inner module do it."""
        return self.inner.training_step(batch, batch_idx)


class Encoder(Transformer):
    """Torch's own layers, whose evaluation has operators of its own unless a hook is on them."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 4, batch_first=True)
        self.blocks = nn.ModuleList([nn.TransformerEncoder(layer, 2)])


class Wide(Encoder):
    """Validates with longer samples, so that the peak is in the evaluation."""

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> Any:
        """Repeat the tokens."""
        return self.training_step([batch[0].repeat(1, 16)], batch_idx)


class Convolutions(Transformer):
    """Convolutions and what changes tensors in place."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3),
            nn.Dropout(),
            nn.AdaptiveAvgPool2d(1),
        )

    def training_step(self, batch: list[torch.Tensor], _batch_idx: int) -> Any:
        """Reduce images that are made on the GPU."""
        images = torch.ones(len(batch[0]), 1, 64, 64, device=self.device)
        return self.net(images).square().mean()


class Adversaries(Transformer):
    """Two networks with an optimizer each, stepped by hand, and a gradient penalty."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        del self.blocks, self.embed, self.head
        self.generator, self.judge = (
            nn.Sequential(nn.Linear(LENGTH, 256), nn.ReLU(), nn.Linear(256, LENGTH))
            for _ in range(2)
        )

    def training_step(self, batch: list[torch.Tensor], _batch_idx: int) -> None:
        """Step one network through Lightning, and the other past it."""
        optimizers: Any = self.optimizers()  # a list, with two of them
        ours, theirs = optimizers
        real = batch[0].float().requires_grad_()
        scores = self.judge(real)
        (slope,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        theirs.zero_grad()
        self.manual_backward(scores.mean() + slope.square().mean())
        theirs.step()
        ours.zero_grad()
        self.judge(self.generator(torch.randn_like(real))).mean().backward()
        ours.optimizer.step()

    def validation_step(self, batch: list[torch.Tensor], _batch_idx: int) -> None:
        """Judge the batch."""
        self.judge(batch[0].float())

    def configure_optimizers(self) -> Any:
        """Use two kinds."""
        return [
            torch.optim.Adam(self.generator.parameters()),
            torch.optim.SGD(self.judge.parameters(), lr=0.1, momentum=0.9),
        ]


class Doubling(torch.autograd.Function):
    """Doubles, with a backward pass in Python."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        """Double."""
        ctx.save_for_backward(inputs)
        return inputs * 2

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Waste some memory."""
        (inputs,) = ctx.saved_tensors
        wasted = inputs.repeat(1, 1, 64)
        result: torch.Tensor = gradient * 2 + wasted[..., :WIDTH]
        return result


class Custom(Transformer):
    """Has such a function, whose backward pass has the peak."""

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Double instead."""
        del block
        apply: Any = Doubling.apply
        doubled: torch.Tensor = apply(hidden)
        return doubled


class Compiled(Transformer):
    """Has compiled modules: one that is wrapped, and one that compiles itself."""

    def __init__(self) -> None:
        super().__init__()
        wrapped: Any = self.blocks[0]
        wrapped.feed_forward = torch.compile(wrapped.feed_forward)
        self.blocks[1].compile()


class Kept(Transformer):
    """Keeps what the wide layers hold."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []
        block: Any = self.blocks[1]
        block.feed_forward.up.register_forward_hook(self._keep)

    def _keep(self, _module: Any, _inputs: Any, outputs: torch.Tensor) -> None:
        self.kept.append(outputs)


class Upcast(Transformer):
    """Computes the nonlinearity of one block in a wider type."""

    def __init__(self) -> None:
        super().__init__()
        block: Any = self.blocks[2]
        block.feed_forward = Upcasting()


class Upcasting(FeedForward):
    """Widens and narrows, with more bits between."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Apply a nonlinearity between two layers."""
        hidden = self.up(inputs).double()
        narrowed: torch.Tensor = self.down(nn.functional.gelu(hidden).float())
        return narrowed


class Failing(Transformer):
    """Fails in its forward pass."""

    def run(self, block: nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """Refuse."""
        raise ValueError(f"no {type(block).__name__} for {tuple(hidden.shape)}")
