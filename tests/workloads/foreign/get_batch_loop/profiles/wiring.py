"""Runs the loop of the script, which a probe ends after its own steps."""

from train import parse, train


def gpt(batch_size):
    return lambda: train(parse(["--batch-size", str(batch_size)]))
