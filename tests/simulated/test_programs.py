"""Programs as people write them, unmodified, under `gpu-profile simulate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from simulate_verb import Ended, Simulate

pytestmark = [pytest.mark.simulated, pytest.mark.slow]

PROGRAMS = Path(__file__).parent.parent / "programs"
SHARDING = (
    "--use_fsdp --fsdp_version 2 --fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP "
    "--fsdp_transformer_layer_cls_to_wrap TransformerEncoderLayer"
)


def run(simulate: Simulate, name: str, *arguments: str, memory: str = "24GiB") -> Ended:
    """Run one of the programs on one GPU."""
    program = (sys.executable, str(PROGRAMS / name), *arguments)
    return simulate(*program, flags=("--gpu", "RTX 3090", "--memory", memory))


@pytest.mark.parametrize(
    ("name", "arguments", "needs"),
    [
        ("nano_gpt.py", ("--batch-size", "2", "--layers", "2"), []),
        ("nano_gpt.py", ("--batch-size", "2", "--layers", "2", "--compile"), ["triton"]),
        ("timm_training.py", ("--model", "resnet18", "--batch-size", "8"), ["timm"]),
        ("lora.py", ("--batch-size", "1", "--layers", "2"), ["peft", "transformers"]),
    ],
)
def test_program_trains(
    simulate: Simulate, name: str, arguments: tuple[str, ...], needs: list[str]
) -> None:
    """It ends as on a GPU, and the peak is at a line of its own."""
    for package in needs:
        pytest.importorskip(package)
    ended = run(simulate, name, *arguments)
    assert [0, "trained\n"] == [ended.code, ended.output], ended.errors
    assert str(PROGRAMS / name) == ended.process["where"]["file"]


def test_trainer_finds_its_batch_size(simulate: Simulate) -> None:
    """The search of transformers' Trainer goes from out of memory to a batch that trains."""
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    ended = run(simulate, "trainer.py", "--layers", "4", memory="6GiB")
    assert 0 == ended.code, ended.errors
    batch = int(ended.output.rpartition("batch ")[2])
    assert [True, True] == [1 <= batch < 256, ended.process["refused_allocations"] > 0]


@pytest.mark.parametrize("options", ["", SHARDING])
def test_accelerate_launches_ranks(simulate: Simulate, options: str) -> None:
    """Copied or sharded, they train and gather each other's objects."""
    pytest.importorskip("accelerate")
    launch = "-m accelerate.commands.launch --num_processes 2 --mixed_precision bf16"
    command = (sys.executable, *launch.split(), *options.split())
    ended = simulate(*command, str(PROGRAMS / "accelerated.py"), flags=("--count", "2"))
    assert [0, True] == [ended.code, "trained rank 0 rank 1" in ended.output], ended.errors
