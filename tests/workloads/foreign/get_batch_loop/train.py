"""A small GPT on the characters of Python's own source: one file, one loop, batches by hand."""

import argparse
import contextlib
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import harness

LENGTH, WIDTH, HEADS, LAYERS = 64, 64, 4, 2
DATA = Path(__file__).with_name("data")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.projection = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.attention(self.first(x)).view(B, T, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(y.transpose(1, 2).reshape(B, T, C))
        return x + self.mlp(self.second(x))


class GPT(nn.Module):
    def __init__(self, vocab_size=256):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.head = nn.Linear(WIDTH, vocab_size, bias=False)

    def forward(self, idx, targets):
        x = self.tokens(idx) + self.places(torch.arange(idx.shape[1], device=idx.device))
        logits = self.head(self.blocks(x))
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))


def prepare():
    """Write the bytes of argparse.py, the last tenth for validation."""
    DATA.mkdir(exist_ok=True)
    tokens = np.frombuffer(Path(argparse.__file__).read_bytes(), dtype=np.uint8).astype(np.uint16)
    cut = len(tokens) * 9 // 10
    tokens[:cut].tofile(DATA / "train.bin")
    tokens[cut:].tofile(DATA / "val.bin")


def get_batch(split, batch_size, device):
    data = np.memmap(DATA / f"{split}.bin", dtype=np.uint16, mode="r")
    ix = torch.randint(len(data) - LENGTH, (batch_size,))
    x = torch.stack([torch.from_numpy(data[i : i + LENGTH].astype(np.int64)) for i in ix])
    y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + LENGTH].astype(np.int64)) for i in ix])
    return x.to(device), y.to(device)


def get_lr(it, args):
    if it < args.warmup:
        return args.lr * (it + 1) / (args.warmup + 1)
    ratio = min(1.0, (it - args.warmup) / max(1, args.max_steps - args.warmup))
    return args.lr * (0.1 + 0.45 * (1.0 + math.cos(math.pi * ratio)))


def train(args):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    amp = (
        torch.autocast("cuda", torch.bfloat16)
        if device.type == "cuda"
        else contextlib.nullcontext()
    )
    if not (DATA / "train.bin").exists():
        prepare()
    model = GPT().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.95))
    for it in range(args.max_steps):
        for group in optimizer.param_groups:
            group["lr"] = get_lr(it, args)
        for _ in range(args.accumulate):
            x, y = get_batch("train", args.batch_size, device)
            with amp:
                _, loss = model(x, y)
                loss = loss / args.accumulate
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if it % 100 == 0:
            print(f"iter {it}: loss {loss.item() * args.accumulate:.4f}")


def parse(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--accumulate", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--max-steps", type=int, default=2000)
    args = parser.parse_args(argv)
    if args.batch_size is None:
        tuned = harness.load_profile("gpt", gpu="cpu-32MiB")
        args.batch_size, args.lr = tuned.batch_size, tuned.learning_rate
    return args


if __name__ == "__main__":
    args = parse()
    print(f"batch size {args.batch_size}, learning rate {args.lr}")
    train(args)
