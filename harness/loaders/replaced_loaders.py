"""Gives a Trainer other batches than everybody else.

A probe trains on full batches without end. The user's own code may ask for the loaders, too: for
their data sets, samplers, lengths, or for a whole pass. So the loaders stay the user's, in the
Trainer and in the hooks, and only the Trainer's own iteration differs.
"""

from __future__ import annotations

import importlib
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def replace_for_trainer(loop: Any, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Make a loop of a Trainer get its loaders from another function than the hook of its owner.

    loop: the Trainer's loop, whose `setup_data` asks for the loaders.
    owner: the data module, or the module without one.
    name: the hook, `train_dataloader` or `val_dataloader`.
    make: takes the hook and returns the loaders.
    """
    setup_data = loop.setup_data

    @wraps(setup_data)
    def replaced() -> None:
        hook = getattr(owner, name)
        own = vars(owner).get(name)

        def restore() -> None:
            vars(owner).pop(name, None)
            if own is not None:
                setattr(owner, name, own)

        # Lightning looks through functools.wraps to find out whether the hook is overridden.
        @wraps(hook)
        def once() -> Any:
            # The user's hook may call itself by way of the Trainer.
            restore()
            return make(hook)

        setattr(owner, name, once)
        try:
            setup_data()
        finally:
            if vars(owner).get(name) is once:
                restore()

    loop.setup_data = replaced


def combined(lightning: ModuleType, loaders: Any, mode: str) -> Any:
    """Return a combined loader of what a hook returned: a loader, or a collection of loaders.

    mode: how a Trainer combines them where the hook returned no CombinedLoader.
    """
    kind = importlib.import_module(f"{lightning.__name__}.utilities.combined_loader").CombinedLoader
    return loaders if isinstance(loaders, kind) else kind(loaders, mode)


def iterated_as(loader: Any, iterated: Callable[[Any], Any]) -> Any:
    """Return a combined loader with the same loaders, whose iteration is that of another one.

    iterated: takes a copy of the combined loader, and returns the one that is iterated.
    """
    kind = type(loader)
    result = _with_state_of(loader, type(kind.__name__, (_IteratedOtherwise, kind), {}))
    result.iterated = lambda: iterated(_with_state_of(result, kind))
    result.running = None
    return result


def _with_state_of(loader: Any, kind: type) -> Any:
    made: Any = object.__new__(kind)
    vars(made).update(vars(loader))
    return made


class _IteratedOtherwise:
    """Mixed into a CombinedLoader: its iteration and its length are those of another one."""

    iterated: Callable[[], Any]
    running: Any

    def __iter__(self) -> Iterator[Any]:
        self.running = self.iterated()
        return iter(self.running)

    def __len__(self) -> int:
        # Before its iteration Lightning's loader has no length either, and says so.
        return len(self.running) if self.running is not None else super().__len__()  # type: ignore[misc] # the other base has it

    def reset(self) -> None:
        """Reset both loaders."""
        if self.running is not None:
            self.running.reset()
            self.running = None
        super().reset()  # type: ignore[misc] # the other base has it
