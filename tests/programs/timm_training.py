"""A script as people write it around timm: mixed precision with a scaler, and an averaged model."""

from __future__ import annotations

import argparse

import timm
import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3


def main() -> None:
    """Train for some steps, then validate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="convnext_tiny")
    parser.add_argument("--batch-size", type=int, default=128)
    options = parser.parse_args()
    model = timm.create_model(options.model, num_classes=1000)
    model = model.cuda().to(memory_format=torch.channels_last)
    average = ModelEmaV3(model, decay=0.999)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    scaler = torch.amp.GradScaler("cuda")
    criterion = LabelSmoothingCrossEntropy(0.1)
    for _ in range(3):
        images = torch.randn(options.batch_size, 3, 224, 224).cuda()
        labels = torch.randint(1000, (options.batch_size,)).cuda()
        with torch.autocast("cuda"):
            loss = criterion(model(images.contiguous(memory_format=torch.channels_last)), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        average.update(model)
    with torch.no_grad(), torch.autocast("cuda"):
        average.module.eval()(torch.randn(2 * options.batch_size, 3, 224, 224).cuda())
    print("trained", flush=True)


if __name__ == "__main__":
    main()
