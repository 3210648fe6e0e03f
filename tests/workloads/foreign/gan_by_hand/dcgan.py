"""A DCGAN that learns to draw circles: two networks, two optimizers, one script."""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import harness

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int)
parser.add_argument("--epochs", type=int, default=25)
parser.add_argument("--max-steps", type=int, default=1000)
parser.add_argument("--nz", type=int, default=64)
parser.add_argument("--ngf", type=int, default=32)
parser.add_argument("--ndf", type=int, default=32)
parser.add_argument("--lr", type=float, default=2e-4)
opt = parser.parse_args()
if opt.batch_size is None:
    opt.batch_size = harness.load_profile("dcgan", gpu="cpu-24MiB").batch_size
    print(f"batch size {opt.batch_size}, learning rate {opt.lr}")

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
x, y, radius = torch.rand(3, 4000, 1, 1) * 0.3 + 0.3
axis = torch.linspace(0, 1, 16)
distance = ((axis - x) ** 2 + (axis[:, None] - y) ** 2).sqrt()
images = torch.tanh(20 * (radius / 2 - distance))[:, None]
dataloader = DataLoader(TensorDataset(images), opt.batch_size, shuffle=True, drop_last=True)

netG = nn.Sequential(
    nn.ConvTranspose2d(opt.nz, opt.ngf * 2, 4, 1, 0, bias=False),
    nn.BatchNorm2d(opt.ngf * 2),
    nn.ReLU(True),
    nn.ConvTranspose2d(opt.ngf * 2, opt.ngf, 4, 2, 1, bias=False),
    nn.BatchNorm2d(opt.ngf),
    nn.ReLU(True),
    nn.ConvTranspose2d(opt.ngf, 1, 4, 2, 1, bias=False),
    nn.Tanh(),
).to(device)
netD = nn.Sequential(
    nn.Conv2d(1, opt.ndf, 4, 2, 1, bias=False),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(opt.ndf, opt.ndf * 2, 4, 2, 1, bias=False),
    nn.BatchNorm2d(opt.ndf * 2),
    nn.LeakyReLU(0.2, inplace=True),
    nn.Conv2d(opt.ndf * 2, 1, 4, 1, 0, bias=False),
).to(device)
criterion = nn.BCEWithLogitsLoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=opt.lr, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=opt.lr, betas=(0.5, 0.999))

for epoch in range(opt.epochs):
    for i, (real,) in enumerate(dataloader):
        # (1) Update D: maximize log(D(x)) + log(1 - D(G(z)))
        netD.zero_grad()
        real = real.to(device)
        label = torch.full((real.size(0),), 1.0, device=device)
        errD_real = criterion(netD(real).view(-1), label)
        errD_real.backward()
        noise = torch.randn(real.size(0), opt.nz, 1, 1, device=device)
        fake = netG(noise)
        errD_fake = criterion(netD(fake.detach()).view(-1), label.fill_(0.0))
        errD_fake.backward()
        optimizerD.step()
        # (2) Update G: maximize log(D(G(z)))
        netG.zero_grad()
        errG = criterion(netD(fake).view(-1), label.fill_(1.0))
        errG.backward()
        optimizerG.step()
        if i % 10 == 0:
            errD = errD_real.item() + errD_fake.item()
            print(f"[{epoch}/{opt.epochs}][{i}] Loss_D {errD:.3f} Loss_G {errG.item():.3f}")
        batches_done = epoch * len(dataloader) + i + 1
        if batches_done == opt.max_steps:
            raise SystemExit
