"""A word-level LSTM on the words of Python's documentation strings: time first, batch second."""

import argparse
import pydoc_data.topics

import torch
from torch import nn

import harness


class Corpus:
    def __init__(self):
        words = " ".join(pydoc_data.topics.topics.values()).lower().split()[:200_000]
        ids = {word: i for i, word in enumerate(sorted(set(words)))}
        self.num_words = len(ids)
        self.train = torch.tensor([ids[word] for word in words])


def batchify(data, bsz, device):
    # Columns are independent texts: [T, B].
    nbatch = data.size(0) // bsz
    return data[: nbatch * bsz].view(bsz, -1).t().contiguous().to(device)


class RNNModel(nn.Module):
    def __init__(self, ntoken, width=32, nlayers=2):
        super().__init__()
        self.width, self.nlayers = width, nlayers
        self.encoder = nn.Embedding(ntoken, width)
        self.rnn = nn.LSTM(width, width, nlayers, dropout=0.2)
        self.decoder = nn.Linear(width, ntoken)

    def forward(self, input, hidden):
        output, hidden = self.rnn(self.encoder(input), hidden)
        return self.decoder(output), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return tuple(weight.new_zeros(self.nlayers, bsz, self.width) for _ in range(2))


def repackage_hidden(h):
    return tuple(v.detach() for v in h)


def get_batch(source, i, bptt):
    seq_len = min(bptt, len(source) - 1 - i)
    return source[i : i + seq_len], source[i + 1 : i + 1 + seq_len].view(-1)


def train(args, corpus):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_data = batchify(corpus.train, args.batch_size, device)
    model = RNNModel(corpus.num_words).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    criterion = nn.CrossEntropyLoss()
    steps = 0
    for epoch in range(args.epochs):
        model.train()
        total_loss = 0.0
        hidden = model.init_hidden(args.batch_size)
        for batch, i in enumerate(range(0, train_data.size(0) - 1, args.bptt)):
            data, targets = get_batch(train_data, i, args.bptt)
            hidden = repackage_hidden(hidden)
            model.zero_grad()
            output, hidden = model(data, hidden)
            loss = criterion(output.view(-1, corpus.num_words), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), args.clip)
            optimizer.step()
            total_loss += loss.item()
            steps += 1
            if steps == args.max_steps:
                return
            if batch % 200 == 0:
                print(f"epoch {epoch} batch {batch}: loss {total_loss / (batch + 1):.3f}")


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--bptt", type=int, default=8)
    parser.add_argument("--clip", type=float, default=0.25)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--max-steps", type=int, default=10**9)
    args = parser.parse_args(argv)
    if args.batch_size is None:
        tuned = harness.load_profile("lstm", gpu="cpu-48MiB")
        args.batch_size, args.lr = tuned.batch_size, tuned.learning_rate
        print(f"batch size {args.batch_size}, learning rate {args.lr}")
    train(args, Corpus())


if __name__ == "__main__":
    main()
