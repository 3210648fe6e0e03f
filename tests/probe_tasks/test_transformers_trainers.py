"""A transformers.Trainer is probed as it is: its own loop runs, and a probe ends it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lr_sweep_workloads import run
from projects import TESTS, workload
from training_probes import Probing

from harness.probe_tasks.describe import describe
from harness.workload.build import build

if TYPE_CHECKING:
    from harness.protocol.case import WorkloadSpec

# Lightning warns about a module without parameters; transformers, TRL and PEFT about much else.
pytestmark = pytest.mark.filterwarnings("ignore")
RATES = (1e-3, 2e-3, 3e-3)


def training(name: str, **init_args: Any) -> WorkloadSpec:
    """Make the workload of a Trainer of the zoos."""
    spec = workload("", None)
    path = name if "." in name else f"transformers_zoo.{name}"
    made = {"class_path": path, "init_args": init_args}
    return spec | {"module": None, "training": made}  # type: ignore[return-value]


def described(name: str, batch_size: int = 1, **init_args: Any) -> dict[str, Any]:
    """Describe a Trainer of the zoos."""
    request: Any = {
        "bound": {"accelerator": "cpu", "budget_bytes": 1 << 30},
        "trainer": {},
        "batch_size": batch_size,
    }
    return {**describe(build(training(name, **init_args)), request, lambda _: None, {})}


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Probing:
    """Run probes here, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Probing(monkeypatch)


@pytest.mark.parametrize(
    ("name", "init_args"),
    [
        ("plain", {"dataloader_num_workers": 1}),
        ("plain", {"bf16": True, "gradient_checkpointing": True, "optim": "adafactor"}),
        ("plain", {"optim": "adamw_bnb_8bit", "max_steps": 2}),
        ("sized", {"warmup_steps": 5}),
        ("collated", {"train_sampling_strategy": "group_by_length"}),
        ("pictures", {}),
        ("stream", {}),
        ("from_init", {}),
        ("without_arguments", {}),
        ("with_callback", {"callback": "Stops"}),
        ("trl_zoo.tuned", {}),
        ("trl_zoo.tuned", {"lora": False, "packing": True}),
        ("trl_zoo.preferred", {}),
        ("trl_zoo.rewarded", {}),
        ("trl_zoo.generated", {}),
    ],
)
def test_a_probe_takes_the_steps_of_the_trainer_itself(
    probe: Probing, name: str, init_args: dict[str, Any]
) -> None:
    """As many as any other probe, whatever ends the training otherwise; no file is written."""
    found = probe(spec=training(name, **init_args))
    assert (None, 3, 24) == (found["detail"], found["steps"], found["samples"])
    assert [] == list(Path.cwd().iterdir())


def test_the_pages_example_is_probed(probe: Probing, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code that `docs/other-trainings.md` shows, with its evaluation."""
    page = (TESTS.parent / "docs" / "other-trainings.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = next(block for block in blocks if "def make_trainer" in block)
    Path("trainers.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(Path.cwd())
    found = probe(spec=training("trainers.make_trainer", width=32), validation_steps=1)
    assert (None, 3, "end of training") == (found["detail"], found["steps"], probe.phases[-1])


def test_a_step_is_that_of_all_accumulated_batches(probe: Probing) -> None:
    """Each batch has its phases, and only the last one the optimizer's."""
    found = probe(spec=training("plain", gradient_accumulation_steps=4))
    assert ("fits", 3, 96) == (found["outcome"], found["steps"], found["samples"])
    batch = ["forward", "backward", "data"]
    step = 3 * batch + ["forward", "backward", "optimizer", "data"]
    assert ["setup", "data", *3 * step] == probe.phases


@pytest.mark.parametrize(
    ("name", "init_args"),
    [
        ("plain", {"eval_strategy": "epoch", "lr_scheduler_type": "reduce_lr_on_plateau"}),
        ("translator", {"eval_strategy": "steps", "eval_steps": 1, "predict_with_generate": True}),
        (
            "plain",
            {
                "eval_strategy": "steps",
                "save_strategy": "steps",
                "eval_steps": 1,
                "save_steps": 1,
                "load_best_model_at_end": True,
                "report_to": "all",
                "logging_steps": 1,
            },
        ),
    ],
)
def test_evaluation_runs_once_at_the_end(
    probe: Probing, name: str, init_args: dict[str, Any]
) -> None:
    """Nothing is saved or reported, and the best of few batches is not looked for."""
    found = probe(spec=training(name, **init_args), validation_steps=2)
    assert (None, 3) == (found["detail"], found["steps"])
    assert ["validation", "end of training"] == probe.phases[-2:]
    assert 1 == probe.phases.count("validation")
    assert [] == list(Path.cwd().iterdir())


def test_whole_epochs_end_as_the_trainers_do(probe: Probing) -> None:
    """With their partial batch and their evaluation; three steps of the next one follow."""
    spec = training("plain", eval_strategy="epoch")
    found = probe(spec=spec, batch_size=30, epoch_steps=20, validation_steps=9)
    assert ("fits", 4 + 3) == (found["outcome"], found["steps"])
    assert 2 == probe.phases.count("validation")


def test_a_batch_that_the_data_do_not_fill_is_their_end(probe: Probing) -> None:
    """Partial batches are left out."""
    fits, ends = (probe(spec=training("plain"), batch_size=size) for size in (100, 101))
    assert ("fits", "dataset") == (fits["outcome"], ends["outcome"])


@pytest.mark.parametrize(
    ("name", "init_args", "message"),
    [
        ("disobedient", {}, "gave a batch of 5 samples when the batch size was set to 8"),
        ("with_callback", {"callback": "Breaks"}, "ValueError: the callback is broken"),
        ("stream", {"max_steps": -1}, "max_steps has to be specified"),
        ("plain", {"optim": "adamz"}, "is not a valid OptimizerNames"),
        ("plain", {"deepspeed": {"zero_optimization": {"stage": 2}}}, "is not supported: a probe"),
    ],
)
def test_mistakes_are_the_users_own(
    probe: Probing, name: str, init_args: dict[str, Any], message: str
) -> None:
    """With the message of the Trainer, or of the callback."""
    found = probe(spec=training(name, **init_args))
    assert ("error", True) == (found["outcome"], message in found["detail"]), found["detail"]


def test_description_holds_the_model_the_data_and_the_arguments_that_matter() -> None:
    """Another precision is another workload; another folder, size or rate is the same one."""
    one = described("plain", bf16=True)
    same = described("plain", bf16=True, learning_rate=0.1, logging_steps=3, num_train_epochs=9)
    other = described("plain")
    assert "transformers.trainer.Trainer(bf16=True)" == one["workload"]["trainer"]
    assert "{input_ids: int64[16], labels: int64[16]}" == one["workload"]["sample"]
    assert (True, False) == (
        one["fingerprint"] == same["fingerprint"],
        one["fingerprint"] == other["fingerprint"],
    )
    assert (100, 0, False) == (one["num_samples"], one["num_workers"], one["validation"])


def test_description_is_made_at_a_batch_that_the_trainer_takes() -> None:
    """One that generates several texts for a prompt takes multiples of their number."""
    refused = described("trl_zoo.generated")
    assert "must be divisible by num_generations" in refused["detail"]
    found = described("trl_zoo.generated", batch_size=8)
    # 4 texts for each of 60 prompts.
    assert ("fits", 60 * 4) == (found["outcome"], found["num_samples"])
    assert 100 == described("plain", batch_size=8)["num_samples"]


def test_half_precision_without_effect_is_told(probe: Probing) -> None:
    """Accelerate has float16 for GPUs alone, and says nothing on the CPU."""
    told, plain = (
        probe(spec=training("plain", **{name: True}))["notes"] for name in ("fp16", "bf16")
    )
    assert [True] == ["does nothing on the CPU" in note for note in told]
    assert [] == plain


def test_its_steps_are_timed(probe: Probing) -> None:
    """After those that warm it up, as those of any workload."""
    found = probe(spec=training("plain"), steps=5, timed_seconds=0.0)
    assert ("fits", 5) == (found["outcome"], found["steps"])
    assert (found["samples_per_second"] or 0) > 0


def test_a_sweep_sets_the_rates_of_the_trainers_optimizer() -> None:
    """Its warm-up goes on, and changes nothing; a seed changes the model and the order."""
    first, again, other = (
        run(training("plain", warmup_steps=10), rates=RATES, seed=seed)["losses"]
        for seed in (0, 0, 1)
    )
    assert (True, False) == (first == again, first == other)
    assert first != run(training("plain"), rates=(1e-3,) * 3)["losses"]


def test_losses_of_accumulated_steps_are_those_of_their_whole_batch() -> None:
    """In whatever batches it is taken."""
    whole = run(training("plain"), rates=RATES, batch_size=8)
    parts = run(
        training("plain", gradient_accumulation_steps=4, dataloader_drop_last=True),
        rates=RATES,
        batch_size=2,
    )
    assert None is parts["refusal"]
    assert pytest.approx(whole["losses"], rel=0.02) == parts["losses"]
