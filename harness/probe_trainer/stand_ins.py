"""Stands in for a Trainer's logger, checkpoints, early stopping and progress bar.

Workloads rely on them: they ask the logger for its folder, draw into its experiment, or look for
the best checkpoint. A probe leaves no files and ends by itself. So each of them is an object of its
real class, which answers as at the start of a training and does nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.workload.build import locate

# Lightning's callbacks that end a training, save it or show its progress; their hooks are taken.
_SILENCED = ("Checkpoint", "EarlyStopping", "ProgressBar")
# Lightning's callbacks that search for the values that a probe sets.
_DROPPED = ("BatchSizeFinder", "LearningRateFinder")
_PACKAGES = ("lightning.pytorch.", "pytorch_lightning.")


class Anything:
    """Has every attribute and method, and each of them gives the same object; as a path, a folder.

    Experiments have the interfaces of many tools: `add_image`, `log`, `config.update`.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy, pickle and protocols look for what is not there
            raise AttributeError(name)
        return self

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def __getitem__(self, _key: Any) -> Any:
        return self

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_folder":
            super().__setattr__(name, value)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __fspath__(self) -> str:
        return self._folder

    def __str__(self) -> str:
        return self._folder


class _Logger:
    """Mixed into a class of loggers: it has names and folders, and discards what is logged."""

    _told: Mapping[str, Any]

    @property
    def save_dir(self) -> str:
        return tempfile.gettempdir()  # the zygote's own, removed at its end

    @property
    def name(self) -> str:
        for key in ("name", "project", "experiment_name"):
            if isinstance(self._told.get(key), str):
                return str(self._told[key])
        return "lightning_logs"

    @property
    def version(self) -> Any:
        return self._told.get("version", 0)

    @property
    def root_dir(self) -> str:
        return str(Path(self.save_dir, self.name))

    @property
    def log_dir(self) -> str:
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        folder = Path(self.root_dir, version)
        # A real logger has made it by the time that somebody asks.
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def experiment(self) -> Any:
        return Anything(self.log_dir)

    def __getitem__(self, _index: int) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        """Return anything for what the real logger would have after its `__init__`."""
        if name.startswith("__"):
            raise AttributeError(name)
        return self.experiment

    def log_metrics(self, *_: Any, **__: Any) -> None:
        pass

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_graph(self, *_: Any, **__: Any) -> None:
        pass

    def save(self) -> None:
        pass

    def finalize(self, _status: str) -> None:
        pass

    def after_save_checkpoint(self, _callback: Any) -> None:
        pass


def replace_loggers(trainer: Any, *, told: Any) -> None:
    """Replace a Trainer's default logger by stand-ins for what the workload's Trainer has.

    told: `trainer.logger` of the matrix: true, false, a spec or a list of specs. A logger is of the
    class that the spec names, and its `__init__` does not run: it would connect to its service.
    """
    default = type(trainer.loggers[0])
    specs = told if isinstance(told, list) else [] if told is False else [told]
    trainer.loggers = [_make_logger(default, spec) for spec in specs]


def _make_logger(default: type, spec: Any) -> Any:
    kind = default
    told: Mapping[str, Any] = {}
    if isinstance(spec, Mapping):
        named, told = locate(spec["class_path"]), spec.get("init_args") or {}
        kind = named if isinstance(named, type) else default  # a function would have to be called
    logger: Any = object.__new__(type(kind.__name__, (_Logger, kind), {}))
    logger._told = told  # noqa: SLF001 - of the class above
    return logger


def silence(trainer: Any) -> None:
    """Take the hooks of Lightning's callbacks that end a training, save it, or show its progress.

    The callbacks stay, because workloads ask them: `trainer.checkpoint_callback.dirpath`. Those
    that search for a probe's values are dropped.
    """
    trainer.callbacks = [one for one in trainer.callbacks if not _is_a(one, _DROPPED)]
    for callback in trainer.callbacks:
        if _is_a(callback, _SILENCED) and not isinstance(callback, _Silent):
            callback.__class__ = _silenced(type(callback))


class _Silent:
    """Mixed into a class of callbacks whose hooks are taken."""

    def setup(self, *arguments: Any, **named: Any) -> None:
        """Find the folder for checkpoints, unless it is given: it may be a remote one."""
        if getattr(self, "dirpath", None) is None:
            super().setup(*arguments, **named)  # type: ignore[misc]  # of Lightning's callback


def _silenced(kind: type) -> type:
    """Return a class of callbacks like `kind` whose hooks do nothing."""
    hooks = (name for name in dir(kind) if name.startswith("on_") or name == "teardown")
    return type(kind.__name__, (_Silent, kind), dict.fromkeys(hooks, _nothing))


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a hook."""


def _is_a(callback: Any, names: tuple[str, ...]) -> bool:
    return any(
        base.__name__ in names and base.__module__.startswith(_PACKAGES)
        for base in type(callback).__mro__
    )
