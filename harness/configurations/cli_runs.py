"""Runs a user's script up to the point where its LightningCLI has made module and data.

The CLI reads the configuration with its own parser: subclasses, links, defaults, subcommands. It
makes no Trainer, seeds nothing and saves nothing, and the script ends there.
"""

from __future__ import annotations

import inspect
import sys
import tempfile
from contextlib import ExitStack, redirect_stderr, suppress
from functools import wraps
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from harness.configurations.files import in_one_line
from harness.configurations.trainer_section import NEUTRAL
from harness.workload.once_imported import once_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FIT = "fit"


class _Made(BaseException):
    """Leaves the script; no handler of its exceptions takes this."""


class MadeCLI:
    """What a LightningCLI has made and read.

    Args:
        files: the configuration files.
        overrides: further arguments, as `--model.width=8`.

    """

    def __init__(self, files: Sequence[str], overrides: Sequence[str]) -> None:
        self.files = files
        self.overrides = overrides
        self.cli: Any = None
        self.lightning: Any = None
        """The package of the CLI."""
        self.refusal: str | None = None
        """Why its parser does not take the configuration."""
        self.sections: dict[str, Any] = {}
        """The whole configuration, with its defaults, as plain data."""
        self.trainer: dict[str, Any] = {}
        """The keywords of the Trainer; objects among them are made."""

    def make(self, script: Callable[[], Any]) -> None:
        """Run a script until its CLI is made; `cli` stays None where it makes none."""
        with ExitStack() as stack, suppress(_Made):
            stack.enter_context(patch.object(sys, "argv", ["train.py"]))
            for package in ("lightning.pytorch", "pytorch_lightning"):
                once_imported(f"{package}.cli", self._watch, stack)
            script()

    def _watch(self, module: Any) -> Callable[[], None]:
        """Let each LightningCLI of a package come to its end when its classes are made."""
        base = module.LightningCLI
        changes = {
            "__init__": self._init,
            "parse_arguments": self._parse_arguments,
            "instantiate_classes": self._instantiate_classes,
            "_instantiate_trainer": self._instantiate_trainer,
            "_run_subcommand": self._run_subcommand,
        }
        stack = ExitStack()
        for name, change in changes.items():
            changed = change(getattr(base, name), module)
            stack.enter_context(patch.object(base, name, changed))
        # The seeds are those of a probe.
        stack.enter_context(patch.object(module, "seed_everything", _no_seed))
        return stack.close

    def _init(self, original: Any, module: Any) -> Any:
        signature = inspect.signature(original)

        @wraps(original)
        def init(cli: Any, *positional: Any, **named: Any) -> None:
            bound = signature.bind(cli, *positional, **named)
            bound.apply_defaults()
            given = bound.arguments
            if self.files or self.overrides or given["args"] is None:
                given["args"] = self._arguments(run=given["run"])
            given["save_config_callback"] = None
            original(*bound.args, **bound.kwargs)
            self.cli = cli
            self.lightning = import_module(module.__name__.rpartition(".")[0])
            raise _Made

        return init

    def _arguments(self, *, run: bool) -> list[str]:
        """Return the command line, as a person would type it."""
        files = [f"--config={file}" for file in self.files]
        if not run:
            return [*files, *self.overrides]
        # A file for all subcommands stands before them.
        import yaml  # noqa: PLC0415 - only where a CLI runs, which imports it

        above = []
        for file in self.files:
            with open(file, encoding="utf-8") as stream:  # noqa: PTH123 - a path as given
                content = yaml.safe_load(stream)
            if isinstance(content, dict) and _FIT in content:
                above.append(f"--config={file}")
        return [*above, _FIT, *(one for one in files if one not in above), *self.overrides]

    def _parse_arguments(self, original: Any, _module: Any) -> Any:
        @wraps(original)
        def parse_arguments(cli: Any, parser: Any, args: Any) -> None:
            from jsonargparse import ArgumentError  # noqa: PLC0415 - not installed everywhere

            for one in (parser, *getattr(cli, "_subcommand_parsers", {}).values()):
                one.exit_on_error = False
            said = StringIO()
            try:
                with redirect_stderr(said):
                    original(cli, parser, args)
            except (ArgumentError, SystemExit) as error:
                self.refusal = in_one_line(said.getvalue() or str(error))
                raise _Made from error

        return parse_arguments

    def _instantiate_classes(self, original: Any, _module: Any) -> Any:
        @wraps(original)
        def instantiate_classes(cli: Any) -> None:
            cli._dump_config()  # noqa: SLF001 - no public way
            self.sections = cli.config_dump
            config = cli.config.get(str(cli.subcommand), cli.config)
            for name, neutral in NEUTRAL.items():
                if name in config["trainer"]:
                    config["trainer"][name] = neutral
            original(cli)

        return instantiate_classes

    def _instantiate_trainer(self, original: Any, module: Any) -> Any:
        def instantiate_trainer(cli: Any, config: dict[str, Any], callbacks: list[Any]) -> Any:
            own = cli.trainer_defaults.get("callbacks") or []
            given = config.get("callbacks") or []
            several = [one if isinstance(one, list) else [one] for one in (given, callbacks, own)]
            self.trainer = {**config, "callbacks": [one for ones in several for one in ones]}
            base = module.LightningCLI
            if type(cli).after_instantiate_classes is base.after_instantiate_classes:
                return None
            return module.Trainer(
                accelerator="cpu",
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=tempfile.gettempdir(),
            )

        return wraps(original)(instantiate_trainer)

    def _run_subcommand(self, original: Any, _module: Any) -> Any:
        @wraps(original)
        def run_subcommand(_cli: Any, _subcommand: str) -> None:
            """Run nothing: a probe trains."""

        return run_subcommand


def _no_seed(seed: Any = None, **_: Any) -> int:
    return 0 if seed is None or isinstance(seed, bool) else int(seed)
