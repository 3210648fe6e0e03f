"""Makes a transformers.Trainer for a probe: on one device, at one batch size, and without files.

Its constructor already makes folders, asks the Hub and starts what reports. So transformers is
changed while the user's function runs. Nothing of it is imported here: the user's code does that,
perhaps as late as within the function.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.workload.once_imported import once_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

_ARGUMENTS = "transformers.training_args"
_TRAINER = "transformers.trainer"
# What reports, saves or shows, and what would find a batch size or reset the allocator's peak.
_SET: dict[str, Any] = {
    "report_to": [],
    "push_to_hub": False,
    "disable_tqdm": True,
    "auto_find_batch_size": False,
    "skip_memory_metrics": True,
    "enable_jit_checkpoint": False,
    "eval_on_start": False,
}
_FLOAT32 = (
    "fp16=True does nothing on the CPU, where the Trainer trains in float32: set bf16=True for half "
    "the precision, or measure fp16 on a GPU"
)
_DEEPSPEED = (
    "TrainingArguments(deepspeed=...) is not supported: a probe does not follow DeepSpeed's engine. "
    "Make it an argument of the function, and leave it out in the matrix's init_args"
)


def is_trainer(thing: Any) -> bool:
    """Return whether an object is a transformers.Trainer, such as those of TRL."""
    module = sys.modules.get(_TRAINER)
    return module is not None and isinstance(thing, module.Trainer)


def validates(trainer: Any) -> bool:
    """Return whether a Trainer evaluates while it trains."""
    args = trainer.args
    strategy = getattr(args, "eval_strategy", getattr(args, "evaluation_strategy", "no"))
    return bool(strategy != "no") and trainer.eval_dataset is not None


def without_effect(trainer: Any) -> list[str]:
    """Return the arguments of a Trainer that do nothing where it trains, in words."""
    args = trainer.args
    if getattr(args, "fp16", False) and args.device.type == "cpu":
        # Accelerate has float16 for GPUs, and says nothing here.
        return [_FLOAT32]
    return []


@contextmanager
def made_for_probe(batch_size: int, seed: int, *, on_cpu: bool) -> Iterator[None]:
    """Let Trainers that are made in the block be those of a probe.

    seed: is added to the Trainer's own, which its constructor sets.
    on_cpu: use no GPU.
    """

    def change_arguments(module: ModuleType) -> Callable[[], None]:
        original = module.TrainingArguments.__post_init__

        @wraps(original)
        def post_init(self: Any) -> None:
            _prepare(self, batch_size, on_cpu=on_cpu)
            original(self)

        module.TrainingArguments.__post_init__ = post_init
        return lambda: setattr(module.TrainingArguments, "__post_init__", original)

    def change_trainer(module: ModuleType) -> Callable[[], None]:
        original = module.Trainer.__init__

        @wraps(original)
        def init(self: Any, model: Any = None, args: Any = None, *rest: Any, **named: Any) -> None:
            if args is None:  # it would make its folder in the working directory
                args = sys.modules[_ARGUMENTS].TrainingArguments(output_dir=_folder())
            if hasattr(args, "output_dir"):
                _quieten(args, batch_size, seed)
            original(self, model, args, *rest, **named)

        module.Trainer.__init__ = init
        return lambda: setattr(module.Trainer, "__init__", original)

    with ExitStack() as stack:
        for name, change in ((_ARGUMENTS, change_arguments), (_TRAINER, change_trainer)):
            once_imported(name, change, stack)
        yield


def _folder() -> str:
    return str(Path(tempfile.gettempdir(), "trainer_output"))  # the zygote's, removed at its end


def _prepare(args: Any, batch_size: int, *, on_cpu: bool) -> None:
    """Set what arguments check, or choose a device by."""
    if getattr(args, "deepspeed", None):
        raise HarnessError(_DEEPSPEED)
    args.per_device_train_batch_size = batch_size
    if on_cpu and hasattr(args, "use_cpu"):
        args.use_cpu = True


def _quieten(args: Any, batch_size: int, seed: int) -> None:
    """Set arguments that have passed their own checks with the user's values."""
    args.per_device_train_batch_size = batch_size
    args.output_dir = _folder()
    if getattr(args, "logging_dir", None) is not None:
        args.logging_dir = _folder()
    for name, value in _SET.items():
        if hasattr(args, name):
            setattr(args, name, value)
    # TRL's Trainers tell their class to the Hub, by a thread.
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:
        hub.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined] # theirs
    args.seed += seed
    if getattr(args, "data_seed", None) is not None:
        args.data_seed += seed
    if args.n_gpu > 1:  # DataParallel; a case has one GPU
        args._n_gpu = 1  # noqa: SLF001 - no public way
