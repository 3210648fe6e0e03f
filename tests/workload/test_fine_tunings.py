"""Fine-tunings and models that are made late: probed as they are, and told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from projects import workload
from training_probes import Probing

from harness.identity.same_workload import same_workload
from harness.probe_tasks.describe import describe
from harness.probes.description import Description
from harness.workload.build import build

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec

# Libraries warn about their own use.
pytestmark = pytest.mark.filterwarnings("ignore")


def spec(name: str, **given: Any) -> WorkloadSpec:
    """Make the workload of a class of the zoos, by its dotted name."""
    if not name.endswith("Loop"):
        return workload(name, None, module_args=given)
    training = {"class_path": name, "init_args": given}
    return workload("", None) | {"module": None, "training": training}  # type: ignore[return-value]  # a TypedDict with one more of its keys


REQUEST: Any = {
    "bound": {"accelerator": "cpu", "budget_bytes": 1 << 30},
    "trainer": {},
    "batch_size": 2,
}


def described(name: str, **given: Any) -> Description:
    """Describe it."""
    found: Any = describe(build(spec(name, **given)), REQUEST, lambda _: None, {})
    assert "fits" == found["outcome"], found["detail"]
    return Description(found["workload"], found["fingerprint"], None, None, False, False, 0)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("finetuning_zoo.Tuned", {"kind": "llama"}),
        ("finetuning_zoo.Tuned", {"kind": "gpt2"}),
        ("finetuning_zoo.Tuned", {"kind": "bert"}),
        ("finetuning_zoo.Tuned", {"kind": "vit"}),
        ("finetuning_zoo.Tuned", {"checkpointing": "reentrant"}),
        ("finetuning_zoo.Tuned", {"checkpointing": "not reentrant"}),
        ("finetuning_zoo.Tuned", {"quantize": "nf4"}),
        ("finetuning_zoo.Tuned", {"quantize": "int8"}),
        ("finetuning_zoo.Tuned", {"optimizer": "AdamW8bit"}),
        ("finetuning_zoo.Tuned", {"optimizer": "PagedAdamW8bit"}),
        ("finetuning_zoo.TunedLoop", {"quantize": "nf4"}),
        ("late_zoo.Materialised", {}),
        ("late_zoo.Configured", {}),
        ("late_zoo.Lazy", {}),
        ("late_zoo.MetaLoop", {}),
    ],
)
def test_it_is_probed_and_another_run_finds_the_same_workload(
    monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any]
) -> None:
    """Three steps train; random values of adapters are no part of the description."""
    found = Probing(monkeypatch)(spec=spec(name, **given), batch_size=4)
    assert ("fits", 3) == (found["outcome"], found["steps"]), found["detail"]
    assert same_workload(described(name, **given), described(name, **given))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("finetuning_zoo.Tuned", {"rank": 8}),
        ("finetuning_zoo.Tuned", {"rank": None}),
        ("finetuning_zoo.Tuned", {"dtype": "bfloat16"}),
        ("finetuning_zoo.Tuned", {"quantize": "nf4"}),
        ("finetuning_zoo.Tuned", {"quantize": "int8"}),
        ("finetuning_zoo.TunedLoop", {"quantize": "nf4"}),
        ("finetuning_zoo.TunedLoop", {"quantize": "int8"}),
        ("late_zoo.Configured", {"width": 32}),
    ],
)
def test_a_change_in_code_is_another_workload(name: str, given: dict[str, Any]) -> None:
    """Also where names, shapes and types read the same, or where a hook makes the model."""
    assert not same_workload(described(name), described(name, **given))


def test_what_is_frozen_and_quantized_is_told() -> None:
    """In the readable description, which a failure shows."""
    found = described("finetuning_zoo.Tuned", quantize="nf4").workload
    assert (896, "14 Params4bit") == (found["num_trainable"], found["quantized"])


def test_a_lock_without_the_number_is_not_stale_by_it() -> None:
    """Locks from before it was recorded say nothing about it."""
    now = described("finetuning_zoo.Tuned")
    older = {name: now.workload[name] for name in now.workload if name != "num_trainable"}
    old = Description(older, now.fingerprint, None, None, False, False, 0)
    assert (True, False) == (same_workload(old, now), same_workload(now, old))


@pytest.mark.parametrize(
    ("name", "given"), [("late_zoo.LeftOnMeta", {}), ("late_zoo.MetaLoop", {"filled": False})]
)
def test_a_model_that_is_left_on_the_meta_device_is_told(name: str, given: dict[str, Any]) -> None:
    """With what gives it memory."""
    found: Any = describe(build(spec(name, **given)), REQUEST, lambda _: None, {})
    assert "error" == found["outcome"]
    assert "still on the meta device, without memory: call to_empty(device=...)" in found["detail"]
