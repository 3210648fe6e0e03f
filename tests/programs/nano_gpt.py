"""A GPT in one file, as people write them: AdamW, bfloat16 autocast, gradient accumulation."""

from __future__ import annotations

import argparse
import math

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Attention and a perceptron, each behind a normalisation."""

    def __init__(self, width: int, heads: int) -> None:
        """Make the block's layers."""
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Add what attention and perceptron find."""
        batch, length, width = hidden.shape
        split = self.attention(self.first(hidden)).view(batch, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.projection(found.transpose(1, 2).reshape(batch, length, width))
        return hidden + self.perceptron(self.second(hidden))


class Gpt(nn.Module):
    """Tokens in, logits out."""

    def __init__(self, layers: int, width: int, heads: int, words: int, length: int) -> None:
        """Make the embeddings, the blocks and the head."""
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
        """Return the loss."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        logits = self.head(self.norm(self.blocks(self.words(tokens) + self.places(places))))
        return functional.cross_entropy(logits.flatten(0, 1), following.flatten())


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    model = Gpt(options.layers, 768, 12, 50304, options.length).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, weight_decay=0.1, fused=True)
    trained = torch.compile(model) if options.compile else model
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 6e-4 * math.cos(step / 3)
        for _ in range(2):
            text = torch.randint(50257, (options.batch_size, options.length + 1)).pin_memory()
            text = text.cuda(non_blocking=True)
            with torch.autocast("cuda", torch.bfloat16):
                loss = trained(text[:, :-1], text[:, 1:]) / 2
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    print("trained", flush=True)


if __name__ == "__main__":
    main()
