"""A small U-Net that finds circles, with samples that are dicts of image and mask."""

import argparse

import lightning.pytorch as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import harness


class Circles(Dataset):
    """Noisy images of one circle each, drawn by number."""

    def __init__(self, size=32, length=4000):
        self.size, self.length = size, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        random = torch.Generator().manual_seed(index)
        x, y, radius = torch.rand(3, generator=random) * 0.5 + 0.25
        axis = torch.linspace(0, 1, self.size)
        mask = ((axis[None] - x) ** 2 + (axis[:, None] - y) ** 2 < (radius / 2) ** 2).float()
        noise = torch.randn(3, self.size, self.size, generator=random)
        return {"image": mask + 0.5 * noise, "mask": mask}


def double(inside, outside):
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, padding=1),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
        nn.Conv2d(outside, outside, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.down1, self.down2 = double(3, width), double(width, 2 * width)
        self.bottom = double(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.left2, self.left1 = double(4 * width, 2 * width), double(2 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image):
        one = self.down1(image)
        two = self.down2(nn.functional.max_pool2d(one, 2))
        x = self.up2(self.bottom(nn.functional.max_pool2d(two, 2)))
        x = self.up1(self.left2(torch.cat([two, x], dim=1)))
        return self.head(self.left1(torch.cat([one, x], dim=1)))[:, 0]


class Segmenter(pl.LightningModule):
    def __init__(self, lr=1e-3):
        super().__init__()
        self.lr = lr
        self.net = UNet()

    def training_step(self, batch, batch_idx):
        logits = self.net(batch["image"])
        loss = nn.functional.binary_cross_entropy_with_logits(logits, batch["mask"])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        found, mask = self.net(batch["image"]) > 0, batch["mask"] > 0
        self.log("iou", (found & mask).sum() / (found | mask).sum().clamp(min=1))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-steps", type=int, default=500)
    args = parser.parse_args()
    tuned = harness.load_profile("unet", gpu="cpu-48MiB")
    model = Segmenter(lr=tuned.learning_rate)
    print(f"batch size {tuned.batch_size}, learning rate {model.lr}")
    loader = DataLoader(Circles(), batch_size=tuned.batch_size, shuffle=True, drop_last=True)
    validation = DataLoader(Circles(length=200), batch_size=tuned.batch_size)
    pl.Trainer(max_steps=args.max_steps).fit(model, loader, validation)


if __name__ == "__main__":
    main()
