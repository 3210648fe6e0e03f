"""Builds module and data from a configuration that the user's LightningCLI reads."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from harness.configurations.cli_runs import MadeCLI
from harness.configurations.files import found, library, texts
from harness.configurations.scripts import find
from harness.configurations.trainer_section import take
from harness.errors import HarnessError
from harness.workload import configured
from harness.workload.build import locate

if TYPE_CHECKING:
    from collections.abc import Sequence

_DEFAULT_CLI = "lightning.pytorch.cli.LightningCLI"
_OWN_CLI = "where your script makes a CLI of its own, name it: cli: train.main"
# They make no workload: the Trainer has its own place, and the rest is of the run.
_OTHER_SECTIONS = ("config", "seed_everything", "ckpt_path", "trainer", "weights_only")


def lightning_cli(
    config: str | Sequence[str] = (),
    cli: str = _DEFAULT_CLI,
    overrides: Sequence[str] = (),
) -> tuple[Any, Any]:
    """Return the module and the data that a LightningCLI makes of a configuration.

    config: one configuration file or several, relative to the working directory; none for a CLI
        that has defaults.
    cli: what makes the CLI in the user's code: a function (`train.main`), a subclass that needs no
        arguments (`train.MyCLI`), or a script as a whole (`train` or `train.py`). By default
        Lightning's own, for configurations that name the classes.
    overrides: further arguments of the command line, such as `model.width=8`.

    The Trainer's keywords in the configuration are taken, too.

    Raises HarnessError for files that are not there and for what the CLI's parser refuses. An
    exception of the user's constructors passes through.
    """
    library("jsonargparse", "lightning-cli", needs=("docstring_parser", "typeshed_client"))
    files = [str(found(one, "config")) for one in texts(config, "config", "configs/train.yaml")]
    words = [_as_option(one) for one in texts(overrides, "overrides", "['model.width=8']")]
    made = MadeCLI(files, words)
    made.make(find(cli))
    if made.refusal is not None:
        shown = " ".join([cli, *texts(config, "config", ""), *words])
        hint = f" ({_OWN_CLI})" if cli == _DEFAULT_CLI else ""
        raise HarnessError(f"{shown}: LightningCLI refuses this: {made.refusal}{hint}")
    if made.cli is None:
        raise HarnessError(
            f"cli: {cli} makes no LightningCLI; name the function that does (train.main), a "
            "subclass of it (train.MyCLI), or the script with its `if __name__ == ...` (train.py)"
        )
    _note(made, config)
    return made.cli.model, made.cli.datamodule


def _as_option(override: str) -> str:
    return override if override.startswith("-") else f"--{override}"


def _note(made: MadeCLI, config: str | Sequence[str]) -> None:
    """Note what the description of the workload and the Trainer of a probe need."""
    sections = made.sections
    plain = sections.get("trainer") or {}
    files = texts(config, "config", "")
    where = f"`trainer` of {' and '.join(files) or 'the LightningCLI'}"
    taken, values, notes = take(made.lightning, plain, where)
    # Objects in the place of class paths; the CLI's own callbacks are in no section.
    objects = {name: made.trainer.get(name, one) for name, one in taken.items()}
    objects["logger"] = taken.get("logger", True)
    if made.trainer.get("callbacks"):
        objects["callbacks"] = made.trainer["callbacks"]
    noted = configured.noted()
    noted.trainer |= objects
    noted.trainer_values |= _stated(values)
    noted.add_notes(notes)
    workload = {name: one for name, one in sections.items() if name not in _OTHER_SECTIONS}
    noted.values |= _stated(workload)
    noted.texts.append(json.dumps(sections, sort_keys=True, default=str))


def _stated(value: Any) -> Any:
    """Leave out arguments of named classes that are their defaults: a library may add some."""
    if isinstance(value, list):
        return [_stated(one) for one in value]
    if not isinstance(value, dict):
        return value
    defaults: dict[str, Any] = {}
    if isinstance(value.get("class_path"), str) and isinstance(value.get("init_args"), dict):
        with suppress(HarnessError, ImportError, TypeError, ValueError):
            parameters = inspect.signature(locate(value["class_path"])).parameters.values()
            defaults = {one.name: one.default for one in parameters}
        value = {**value, "init_args": _without(value["init_args"], defaults)}
    return {name: _stated(one) for name, one in value.items()}


def _without(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not defaults; YAML has lists in place of tuples."""
    listed = {name: [*one] if isinstance(one, tuple) else one for name, one in defaults.items()}
    return {name: one for name, one in given.items() if name not in listed or one != listed[name]}
