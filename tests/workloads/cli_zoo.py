"""A training script as people write it for LightningCLI; others make a CLI in other ways."""

from __future__ import annotations

import sys
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from torch.utils.data import DataLoader, TensorDataset


class Net(LightningModule):
    """A classifier with a rate of its own, unless the configuration has an optimizer."""

    def __init__(self, width: int = 64, num_features: int = 8, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(num_features, width), torch.nn.ReLU(), torch.nn.Linear(width, 2)
        )
        self.lr = lr

    def training_step(self, batch: Any, _: int) -> Any:
        """Return the loss."""
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer that trains where the configuration names none."""
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Data(LightningDataModule):
    """Points, and whether their sum is above 0."""

    def __init__(
        self,
        num_features: int = 8,  # noqa: ARG002 - kept in hparams
        batch_size: int = 4,
        seed: int = 0,  # noqa: ARG002 - likewise
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        """Return the loader."""
        x = torch.randn(4096, self.hparams["num_features"])
        return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), self.batch_size)


class Cli(LightningCLI):
    """A CLI with a link, and with a link from the seed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*(args or (Net, Data)), **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link what data and module have in common."""
        parser.link_arguments("data.num_features", "model.num_features")
        parser.link_arguments("seed_everything", "data.seed")

    def before_fit(self) -> None:
        """Raise: nothing is to be trained."""
        raise AssertionError("the script trains")


class Late(Cli):
    """A CLI that works on what it has made."""

    def after_instantiate_classes(self) -> None:
        """Use the Trainer, and change the module."""
        self.model.late = self.trainer.num_devices


def main() -> None:
    """Train, as most scripts do."""
    torch.set_float32_matmul_precision("highest")
    try:
        Cli(Net, Data)
    except Exception as error:  # the end of the CLI is none of these
        raise AssertionError("an exception ends the CLI") from error
    sys.exit("the script goes on")


def without_subcommands() -> None:
    """Train in the script itself."""
    cli = Cli(Net, Data, run=False)
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)


def with_defaults() -> None:
    """Train with a file that the script knows."""
    LightningCLI(Net, Data, parser_kwargs={"fit": {"default_config_files": ["defaults.yaml"]}})


def nothing() -> None:
    """Make no CLI."""


if __name__ == "__main__":
    main()
