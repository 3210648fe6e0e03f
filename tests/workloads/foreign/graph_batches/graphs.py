"""A graph network that tells cycles from paths: graphs of any size, joined into one big graph."""

import argparse
from itertools import islice

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import harness


class Graphs(Dataset):
    """Cycles and paths of 8 to 24 nodes, with random features."""

    def __len__(self):
        return 4000

    def __getitem__(self, index):
        random = torch.Generator().manual_seed(index)
        nodes = int(torch.randint(8, 25, (), generator=random))
        start = torch.arange(nodes)
        end = (start + 1) % nodes
        label = index % 2
        edges = torch.stack([start, end]) if label else torch.stack([start, end])[:, :-1]
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        return torch.randn(nodes, 16, generator=random), edges, label


def collate(samples):
    """Join graphs: nodes one after another, edges moved by the nodes before, and whose each is."""
    features, edges, labels = zip(*samples)
    sizes = torch.tensor([len(one) for one in features])
    offsets = torch.cumsum(sizes, 0) - sizes
    return {
        "x": torch.cat(features),
        "edge_index": torch.cat([one + offset for one, offset in zip(edges, offsets)], dim=1),
        "batch": torch.repeat_interleave(torch.arange(len(samples)), sizes),
        "y": torch.tensor(labels),
    }


class Convolution(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.own, self.others = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x, edge_index):
        source, target = edge_index
        messages = self.others(x)[source]
        return torch.relu(self.own(x) + torch.zeros_like(x).index_add(0, target, messages))


class GraphNet(nn.Module):
    def __init__(self, width=64, layers=3):
        super().__init__()
        self.embed = nn.Linear(16, width)
        self.layers = nn.ModuleList(Convolution(width) for _ in range(layers))
        self.head = nn.Linear(width, 2)

    def forward(self, data):
        x = self.embed(data["x"])
        for layer in self.layers:
            x = layer(x, data["edge_index"])
        pooled = x.new_zeros(len(data["y"]), x.shape[1]).index_add(0, data["batch"], x)
        return self.head(pooled)


class Experiment:
    """Holds what a training has, as many code bases do."""

    def __init__(self, batch_size, lr=1e-3, device="cpu"):
        self.device = device
        self.loader = DataLoader(
            Graphs(), batch_size, shuffle=True, drop_last=True, collate_fn=collate
        )
        self.model = GraphNet().to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=lr)

    def train_step(self, batch):
        batch = {name: value.to(self.device) for name, value in batch.items()}
        loss = nn.functional.cross_entropy(self.model(batch), batch["y"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, max_steps):
        losses = []
        while len(losses) < max_steps:
            for batch in islice(self.loader, max_steps - len(losses)):
                losses.append(self.train_step(batch).item())
            print(f"step {len(losses)}: loss {sum(losses[-50:]) / len(losses[-50:]):.4f}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--max-steps", type=int, default=1000)
    args = parser.parse_args()
    tuned = harness.load_profile("graphs", gpu="cpu-8MiB")
    print(f"batch size {tuned.batch_size}, learning rate {tuned.learning_rate}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    Experiment(tuned.batch_size, tuned.learning_rate, device).run(args.max_steps)


if __name__ == "__main__":
    main()
