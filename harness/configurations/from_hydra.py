"""Builds objects from a configuration that Hydra composes for the user's training script."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.configurations.files import found, in_one_line, library, texts
from harness.configurations.trainer_section import take
from harness.errors import HarnessError
from harness.wording import closest
from harness.workload import configured

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TRAINER = "trainer"
_TARGET = "_target_"


def hydra_compose(
    config_name: str,
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    key: str | None = None,
    imports: Sequence[str] = (),
) -> Any:
    """Return the configuration that Hydra composes, for a function of the user's that takes it.

    config_name, config_path: those of `hydra.main`; the path is relative to the working directory.
    overrides: those of the command line, such as `model=large` and `model.width=8`.
    key: a part of the configuration, such as `model`; all of it by default.
    imports: modules to import first, which register configurations or resolvers.
    """
    composed, shown = _composed(config_name, config_path, overrides, imports)
    part = composed if key is None else _part(composed, key, shown)
    _note(composed, part, key, shown)
    return part


def hydra_instantiate(
    config_name: str,
    key: str,
    config_path: str | None = None,
    overrides: Sequence[str] = (),
    imports: Sequence[str] = (),
    **arguments: Any,
) -> Any:
    """Return the object that Hydra instantiates of a part of a configuration.

    key: the part, such as `model`.
    arguments: further arguments of its `_target_`.

    The others are those of `hydra_compose`.
    """
    composed, shown = _composed(config_name, config_path, overrides, imports)
    part = _part(composed, key, shown)
    if not isinstance(part, Mapping) or _TARGET not in part:
        raise HarnessError(
            f"{shown}: {key} has no _target_, so there is nothing to instantiate; name a key that "
            "has one, or give the configuration to a function of yours by "
            "harness.configurations.hydra_compose"
        )
    _note(composed, part, key, shown)
    with _refusals(shown):
        return import_module("hydra.utils").instantiate(part, **arguments)


def _composed(
    config_name: str,
    config_path: str | None,
    overrides: Sequence[str],
    imports: Sequence[str],
) -> tuple[Any, str]:
    """Return a configuration, without Hydra's own part, and how messages name it."""
    hydra = library("hydra", "hydra")
    folder = None if config_path is None else found(config_path, "config_path")
    words = texts(overrides, "overrides", "['model=large', 'model.width=8']")
    for module in texts(imports, "imports", "['train']"):
        import_module(module)
    name = config_name.removesuffix(".yaml")
    shown = " ".join([f"{config_path or ''}/{name}".lstrip("/"), *words])
    state = import_module("hydra.core.global_hydra").GlobalHydra.instance()
    state.clear()
    opened = (
        hydra.initialize(config_path=None, version_base=None)
        if folder is None
        else hydra.initialize_config_dir(config_dir=str(folder), version_base=None)
    )
    try:
        with _refusals(shown), opened:
            composed = hydra.compose(name, overrides=words, return_hydra_config=True)
    finally:
        state.clear()
    _set_runtime(composed)
    return composed, shown


def _set_runtime(composed: Any) -> None:
    """Give `${hydra:runtime.output_dir}` and the like what they have in a run of `hydra.main`."""
    omegaconf = import_module("omegaconf")
    with omegaconf.open_dict(composed):
        composed.hydra.runtime.output_dir = tempfile.gettempdir()
        import_module("hydra.core.hydra_config").HydraConfig.instance().set_config(composed)
        del composed["hydra"]


def _part(composed: Any, key: str, shown: str) -> Any:
    with _refusals(shown):
        part = import_module("omegaconf").OmegaConf.select(composed, key)
    if part is None:
        near = closest(key, [str(name) for name in composed])
        hint = f"did you mean {near}?" if near else f"it has {', '.join(map(str, composed))}"
        raise HarnessError(f"{shown}: there is no {key} in this configuration; {hint}")
    return part


def _note(composed: Any, part: Any, key: str | None, shown: str) -> None:
    """Note what the description of the workload and the Trainer of a probe need."""
    noted = configured.noted()
    whole = _plain(composed)
    noted.texts.append(json.dumps(whole, sort_keys=True, default=str))
    values = _plain(part)
    if key is None:
        noted.values |= {name: one for name, one in values.items() if name != _TRAINER}
    else:
        noted.values[key] = values
    section = composed.get(_TRAINER)
    if noted.trainer or not isinstance(section, Mapping):
        return
    plain = {name: one for name, one in _plain(section).items() if not name.startswith("_")}
    lightning = _package_of(_plain(section))
    taken, changing, notes = take(lightning, plain, f"`{_TRAINER}` of {shown}")
    with _refusals(shown):
        make = import_module("hydra.utils").instantiate
        noted.trainer |= {
            name: _as_spec(one) if name == "logger" else make({"made": one})["made"]
            for name, one in taken.items()
        }
    noted.trainer_values |= changing
    noted.add_notes(notes)


def _as_spec(logger: Any) -> Any:
    """Return loggers as a matrix names them: they are never made."""
    if isinstance(logger, list):
        return [_as_spec(one) for one in logger]
    if not isinstance(logger, dict) or _TARGET not in logger:
        return logger if isinstance(logger, bool) else True
    init_args = {name: one for name, one in logger.items() if not name.startswith("_")}
    return {"class_path": logger[_TARGET], "init_args": init_args}


def _package_of(section: Mapping[str, Any]) -> Any:
    """Return the package of the Trainer that a section instantiates."""
    package = str(section.get(_TARGET, "")).partition(".")[0]
    return import_module(
        "pytorch_lightning" if package == "pytorch_lightning" else "lightning.pytorch"
    )


def _plain(part: Any) -> Any:
    """Return plain data, without what cannot be resolved, as a folder of the run."""
    omegaconf = import_module("omegaconf")
    if not omegaconf.OmegaConf.is_config(part):
        return part
    try:
        return omegaconf.OmegaConf.to_container(part, resolve=True)
    except omegaconf.errors.OmegaConfBaseException:
        return {
            str(name): _plain_item(part, name)
            for name in (part if isinstance(part, Mapping) else range(len(part)))
        }


def _plain_item(part: Any, name: Any) -> Any:
    omegaconf = import_module("omegaconf")
    try:
        return _plain(part[name])
    except omegaconf.errors.OmegaConfBaseException:
        return None


@contextmanager
def _refusals(shown: str) -> Iterator[None]:
    """Turn Hydra's and OmegaConf's refusals into errors that name the configuration."""
    refused = (
        import_module("hydra.errors").HydraException,
        import_module("omegaconf").errors.OmegaConfBaseException,
    )
    try:
        yield
    except refused as error:
        raise HarnessError(f"{shown}: Hydra refuses this: {in_one_line(str(error))}") from error
