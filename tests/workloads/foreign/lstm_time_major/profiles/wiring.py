"""Runs the script's own main, which a probe ends after its own steps."""

from main import main


def lstm(batch_size, bptt):
    return lambda: main(["--batch-size", str(batch_size), "--bptt", str(bptt)])
