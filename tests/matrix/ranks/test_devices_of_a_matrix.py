"""Cases of several devices in a matrix: what they may ask for, and what is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from matrix_texts import RIGHT as ON_CPU
from matrix_texts import load, mistakes_in

from harness.errors import HarnessError
from harness.identity.recipe import recipe
from harness.matrix.ranks.other_devices import with_devices

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = ON_CPU.replace("gpu: [cpu]", "gpu: [h200]")


def test_devices_may_be_an_axis(tmp_path: Path) -> None:
    """The id of a case has the value; each has as many ranks."""
    text = RIGHT.replace("resolution: [32, 64]", "resolution: [32]\n  devices: [1, 2]")
    cases = load(tmp_path, text + 'trainer: {devices: "${devices}"}')
    assert [1, 2] == [case.num_ranks for case in cases]
    assert ["net-h200-32-1", "net-h200-32-2"] == [case.id for case in cases]


def test_a_command_has_the_ranks_that_it_starts(tmp_path: Path) -> None:
    """It cannot be asked for on another number of devices."""
    command = "command: torchrun --nproc-per-node 2 train.py ${batch_size}"
    text = RIGHT.replace("module: {class_path: torch.nn.Linear}", command)
    case, _ = load(tmp_path, text + "trainer: {devices: 2}")
    assert 2 == with_devices(case, 2).num_ranks
    with pytest.raises(HarnessError, match="does not train on 4 devices: a command starts its"):
        with_devices(case, 4)


def test_one_device_changes_no_recipe(tmp_path: Path) -> None:
    """A lock of a case that names its one device is that of a case which does not."""
    plain, _ = load(tmp_path, RIGHT)
    named, _ = load(tmp_path, RIGHT + "trainer: {devices: 1, strategy: auto}")
    assert recipe(plain, {}) == recipe(named, {})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{devices: 4}", {"trainer.devices": 4}),
        ("{devices: 2, strategy: fsdp}", {"trainer.devices": 2, "trainer.strategy": "fsdp"}),
        (
            "{devices: 2, strategy: {class_path: json.loads, init_args: {stage: 3}}}",
            {
                "trainer.devices": 2,
                "trainer.strategy.class_path": "json.loads",
                "trainer.strategy.init_args.stage": 3,
            },
        ),
    ],
)
def test_devices_and_strategy_are_part_of_the_recipe(
    tmp_path: Path, written: str, expected: dict[str, Any]
) -> None:
    """They change what fits."""
    case, _ = load(tmp_path, RIGHT + f"trainer: {written}")
    settings = recipe(case, {}).settings
    assert expected == {
        name: value for name, value in settings.items() if name.startswith("trainer.")
    }


def test_a_global_batch_is_that_of_all_ranks(tmp_path: Path) -> None:
    """The search has a rank's share; recipe and lock have what the matrix says, presets or not."""
    text = RIGHT + "trainer: {devices: 4}\nsearch: {global_batch_size: 256}"
    for preset in ("", "\npreset: quick"):
        case, _ = load(tmp_path, text + preset)
        assert (64, 256) == (case.search.global_batch_size, case.global_batch_size)
        assert 4 == case.accumulation(16)
        assert 256 == recipe(case, {}).settings["search.global_batch_size"]


@pytest.mark.parametrize(
    "search", ["validation: search", "inference: [test]", "worst_batches: true"]
)
def test_further_searches_have_ranks(tmp_path: Path, search: str) -> None:
    """All ranks are asked the same, and the worst one counts."""
    case, _ = load(tmp_path, RIGHT + f"trainer: {{devices: 2}}\nsearch: {{{search}}}")
    assert 2 == case.num_ranks


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            RIGHT + "trainer: {strategy: ddp}",
            "strategy",
            "ddp is for several devices: set devices, or auto (ddp for several)",
        ),
        (
            RIGHT + "trainer: {devices: 2, strategy: single_device}",
            "strategy",
            "single_device is for one device, and devices is 2",
        ),
        (
            ON_CPU + "trainer: {devices: 2, strategy: fsdp}",
            "strategy",
            "fsdp needs GPUs, and this case runs on the CPU: set ddp",
        ),
        (
            RIGHT + "trainer: {devices: 2}\nsearch: {global_batch_size: 65}",
            "devices",
            "2 ranks cannot make `search.global_batch_size`, 65, of batches from min_batch_size, 1",
        ),
        (
            RIGHT + "trainer: {devices: 2}\nworkers: {max: 4}",
            "devices",
            "`workers` times the loader of one device: leave workers.max out, or set devices: 1",
        ),
    ],
)
def test_what_ranks_cannot_do_is_refused_by_name(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    """One rank is never measured in the place of several."""
    found = mistakes_in(tmp_path, text)
    assert f": {message}" in str(found)
    assert f"trainer.{place}: net-" in str(found)
