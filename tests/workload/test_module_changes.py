"""What the changes of `--what-if` do to a module and to its optimizers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from harness.errors import NotOfferedError
from harness.workload import changes

if TYPE_CHECKING:
    from harness.protocol.case import ModuleChange


class Module(pl.LightningModule):
    """A module with the parts and the optimizer that a test gives it."""

    def __init__(self, *parts: nn.Module, configured: Any = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), *parts])
        self.configured = configured

    def configure_optimizers(self) -> Any:
        """Return what the test gave, else AdamW."""
        return self.configured or torch.optim.AdamW(self.parameters(), lr=0.25)


class LikeTransformers(nn.Linear):
    """A part with the method of transformers' models."""

    supported = True
    is_gradient_checkpointing = False

    def gradient_checkpointing_enable(self, settings: dict[str, Any]) -> None:
        """Note the settings; refuse them where checkpointing is not supported."""
        if not self.supported:
            raise ValueError("does not support gradient checkpointing.")
        self.is_gradient_checkpointing = True
        self.settings = settings


class LikeTimm(nn.Linear):
    """A part with the method of timm's models, and such a part within it."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.calls: list[bool] = []

    def set_grad_checkpointing(self, enable: bool) -> None:
        """Note the call."""
        self.calls.append(enable)


class Flagged(nn.Linear):
    """A part with a flag, as Swin Transformer has it."""

    use_checkpoint = False


def refusal(change: ModuleChange, module: Module) -> str:
    """Return why a change is not offered, at once or when the optimizers are made."""

    def change_and_configure() -> None:
        changes.apply(change, module)
        module.configure_optimizers()

    with pytest.raises(NotOfferedError) as caught:
        change_and_configure()
    return str(caught.value)


def test_checkpointing_is_switched_on_in_every_way_that_modules_offer() -> None:
    """Methods of transformers and timm are called once, on the outermost module; flags are set."""
    first, second, flagged = LikeTransformers(4, 4), LikeTimm(), Flagged(4, 4)
    second.inner = LikeTimm()
    changes.apply("activation checkpointing", Module(first, second))
    assert {"use_reentrant": False} == first.settings
    assert ([True], []) == (second.calls, second.inner.calls)
    changes.apply("activation checkpointing", Module(flagged))
    assert flagged.use_checkpoint


def test_checkpointing_that_is_not_offered_says_what_would_be() -> None:
    """A module without, one that refuses, and one that checkpoints already are told apart."""
    refusing, on = LikeTransformers(4, 4), LikeTransformers(4, 4)
    refusing.supported, on.is_gradient_checkpointing = False, True
    change: ModuleChange = "activation checkpointing"
    assert refusal(change, Module()).startswith(
        "Module offers neither gradient_checkpointing_enable, as transformers' models do"
    )
    assert "LikeTransformers: does not support gradient checkpointing." == refusal(
        change, Module(refusing)
    )
    assert "LikeTransformers checkpoints its activations already" == refusal(change, Module(on))


def test_channels_last_is_of_weights_and_of_batches() -> None:
    """Images in a batch are put channels last, wherever they stand; other tensors stay."""
    module = Module(nn.Conv2d(3, 8, 3))
    changes.apply("channels_last", module)
    convolution: Any = module.parts[1]
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
    images, labels = torch.zeros(2, 3, 8, 8), torch.zeros(2)
    moved = module.on_after_batch_transfer({"views": [images, (images, labels)]}, 0)
    first, (second, kept) = moved["views"]
    formats = [one.is_contiguous(memory_format=torch.channels_last) for one in (first, second)]
    assert [True, True] == formats
    assert kept is labels


def test_channels_last_needs_a_convolution() -> None:
    """Without a weight of four dimensions there is nothing to gain."""
    assert "Module has no two-dimensional convolution" == refusal("channels_last", Module())


def test_fused_optimizer_is_the_module_s_own() -> None:
    """The optimizer, its groups and their settings stay; the step is fused."""
    module = Module()
    changes.apply("fused optimizer", module)
    optimizer = module.configure_optimizers()
    (group,) = optimizer.param_groups
    assert torch.optim.AdamW is type(optimizer)
    assert (True, False, 0.25) == (group["fused"], group["foreach"], group["lr"])


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (torch.optim.RMSprop, "RMSprop has no `fused`"),
        (lambda them: torch.optim.AdamW(them, fused=True), "AdamW is fused already"),
    ],
)
def test_fused_optimizer_that_is_not_offered(optimizer: Any, message: str) -> None:
    """It is known once the training has made its optimizers."""
    module = Module(configured=optimizer(nn.Linear(2, 2).parameters()))
    assert message == refusal("fused optimizer", module)


@pytest.fixture
def eight_bit(monkeypatch: pytest.MonkeyPatch) -> type[torch.optim.Optimizer]:
    """Put a package with an 8-bit AdamW in the place of those that exist; return its class."""

    class AdamW8bit(torch.optim.AdamW):
        """Takes AdamW's settings, as the packages' own do."""

    package = SimpleNamespace(__name__="package.optim", AdamW8bit=AdamW8bit)
    monkeypatch.setattr(changes, "_eight_bit_package", lambda: package)
    return AdamW8bit


def test_eight_bit_optimizer_takes_the_place_of_adam(
    eight_bit: type[torch.optim.Optimizer],
) -> None:
    """Groups, their settings and schedulers go with it, in each form that Lightning knows."""
    decayed, other = nn.Linear(2, 2), nn.Linear(3, 3)
    groups: list[dict[str, Any]] = [
        {"params": decayed.parameters()},
        {"params": other.parameters(), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.5, betas=(0.8, 0.9), weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    module = Module(configured={"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}})
    changes.apply("8-bit optimizer", module)
    configured = module.configure_optimizers()
    replaced = configured["optimizer"]
    assert eight_bit is type(replaced)
    assert [(0.5, (0.8, 0.9), 0.1), (0.5, (0.8, 0.9), 0.0)] == [
        (group["lr"], group["betas"], group["weight_decay"]) for group in replaced.param_groups
    ]
    assert configured["lr_scheduler"]["scheduler"].optimizer is replaced


def test_eight_bit_optimizer_is_for_adam(eight_bit: type[torch.optim.Optimizer]) -> None:
    """Another optimizer keeps other things, so that nothing is put in its place."""
    assert eight_bit is not None
    module = Module(configured=torch.optim.SGD(nn.Linear(2, 2).parameters()))
    assert refusal("8-bit optimizer", module).startswith("SGD is not torch's Adam or AdamW")


def test_eight_bit_optimizer_needs_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names those that have one."""
    monkeypatch.setattr(changes, "_EIGHT_BIT", ("no_such_package.optim",))
    assert refusal("8-bit optimizer", Module()).startswith(
        "neither bitsandbytes nor torchao is installed"
    )
