"""Runs inside of programs over simulated GPUs, in their own Python, which may have no harness.

torch's collectives of objects compute with the objects' sizes on the GPU, where nothing is
computed. Here they keep the sizes on the host, and send only bytes through NCCL. `barrier` reads
something of every rank, so that it waits for them. A snapshot is left where one is wanted.

Beyond the standard library nothing is imported that the program has not imported. The C library
runs this file when the process makes its first CUDA context (sources/process/python.c), and the
program's Python may be 3.9.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing.util
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Function = Callable[..., Any]

# Of larger messages the library keeps nothing: sources/memory/blocks.h.
_PIECE = 64 << 10
_OF_OBJECTS = (
    "broadcast_object_list",
    "all_gather_object",
    "gather_object",
    "scatter_object_list",
    "send_object_list",
    "recv_object_list",
)
# DDP makes its buckets anew in the second step. The first ones are free once torch's own thread has
# seen that their collectives are done, which takes 0.1 s. A step on a GPU lasts longer, and here
# none does.
_STEPS_WITH_PAUSE = 4
_OF_TENSORS = ("broadcast", "all_gather", "gather", "scatter", "send", "recv")
# Of torch's history of memory: some hours of a small training, 100 MB.
_MOST_ENTRIES = 200_000


class Ranks:
    """Takes the place of torch's collectives of objects, where they go through GPUs."""

    def __init__(self, torch: Any, c10d: Any) -> None:
        """Take torch, and its module torch.distributed.distributed_c10d."""
        self.torch, self.c10d = torch, c10d
        self.device_of = c10d._get_object_coll_device  # noqa: SLF001 - it has no public name
        self.inside: list[Function] = []
        self.steps = 0

    def install(self) -> None:
        """Wrap the functions, wherever torch has them."""
        for names, wrap in ((_OF_OBJECTS, self.of_objects), (_OF_TENSORS, self.of_tensors)):
            for name in names:
                self._replace(name, wrap)
        self._replace("batch_isend_irecv", self.of_batches)
        self._replace("barrier", self.barrier)
        self._replace("_get_object_coll_device", lambda _: self.device)
        optimizer: Any = sys.modules.get("torch.optim.optimizer")
        if hasattr(optimizer, "register_optimizer_step_post_hook"):
            optimizer.register_optimizer_step_post_hook(self.after_step)

    def _replace(self, name: str, wrap: Callable[[Function], Function]) -> None:
        if not hasattr(self.c10d, name):  # in another torch
            return
        wrapped = wrap(getattr(self.c10d, name))
        if hasattr(self.torch.distributed, name):
            setattr(self.torch.distributed, name, wrapped)
        setattr(self.c10d, name, wrapped)

    def uses_gpu(self, group: Any) -> bool:
        """Return whether objects of a process group go through GPUs."""
        return "cuda" in str(self.device_of(group))

    def device(self, group: Any = None) -> Any:
        """Return where torch shall keep the objects' bytes and sizes."""
        return "cpu" if self.inside else self.device_of(group)

    def of_objects(self, function: Function) -> Function:
        """Return a collective that keeps its objects on the host, which computes."""

        @functools.wraps(function)
        def send(*args: Any, **kwargs: Any) -> Any:
            groups = [one for one in args if isinstance(one, self.c10d.ProcessGroup)]
            if not self.uses_gpu(kwargs.get("group") or (groups[0] if groups else None)):
                return function(*args, **kwargs)
            kwargs.pop("device", None)
            args = tuple(None if isinstance(one, self.torch.device) else one for one in args)
            self.inside.append(function)
            try:
                return function(*args, **kwargs)
            finally:
                self.inside.pop()

        return send

    def of_tensors(self, function: Function) -> Function:
        """Send what torch keeps on the host for objects."""

        @functools.wraps(function)
        def send(*args: Any, **kwargs: Any) -> Any:
            if not self.inside:
                return function(*args, **kwargs)
            return in_pieces(self.torch, function, args, kwargs)

        return send

    def of_batches(self, function: Function) -> Function:
        """Send one after the other what torch keeps on the host for objects."""

        @functools.wraps(function)
        def send(p2p_op_list: Any) -> Any:
            if not self.inside:
                return function(p2p_op_list)
            for one in p2p_op_list:
                call = self.c10d.send if one.op.__name__ == "isend" else self.c10d.recv
                call(one.tensor, one.peer, group=one.group)
            return [Done() for _ in p2p_op_list]

        return send

    def after_step(self, *_: Any) -> None:
        """Wait until NCCL's collectives of the first steps hold no memory any more."""
        self.steps += 1
        if self.steps > _STEPS_WITH_PAUSE:
            return
        for group in [*self.c10d._world.pg_map]:  # noqa: SLF001 - they have no public name
            # Other torches have no such function, and groups that are not NCCL's refuse it.
            with contextlib.suppress(AttributeError, RuntimeError):
                group._wait_for_pending_works()  # noqa: SLF001 - it has no public name

    def barrier(self, function: Function) -> Function:
        """Wait for all ranks: a collective that nobody reads waits for nobody."""

        @functools.wraps(function)
        def wait(*args: Any, **kwargs: Any) -> Any:
            work = function(*args, **kwargs)
            group = args[0] if args else kwargs.get("group")
            is_member = not self.c10d._rank_not_in_group(group)  # noqa: SLF001 - it has no public name
            if work is None and is_member and self.uses_gpu(group):
                token = self.torch.zeros(1).cuda()
                self.c10d.all_reduce(token, group=group)
                token.cpu()
            return work

        return wait


class Done:
    """Work that is done."""

    def wait(self, *_: Any) -> bool:
        """Wait for nothing, as torch's own does when it is done."""
        return True


def in_pieces(torch: Any, function: Function, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a collective with tensors of the host: piece by piece, each through the GPU."""
    given = [*args, *kwargs.values()]
    tensors = [one for value in given for one in (value if _is_list(value) else [value])]
    tensors = [one for one in tensors if isinstance(one, torch.Tensor)]
    step = max(1, _PIECE // max(tensor.element_size() for tensor in tensors))
    result = None
    written = getattr(torch.autograd.graph, "increment_version", None)  # new in torch 2.1
    for start in range(0, max(tensor.numel() for tensor in tensors), step):
        parts = [tensor[start : start + step] for tensor in tensors]
        on_gpu = [part.cuda() for part in parts]
        left = iter(on_gpu)

        def moved(value: Any, left: Any = left) -> Any:
            if _is_list(value):
                return [moved(one, left) for one in value]
            return next(left) if isinstance(value, torch.Tensor) else value

        called = [moved(value) for value in given]
        named = dict(zip(kwargs, called[len(args) :]))  # noqa: B905 - new in Python 3.10
        result = function(*called[: len(args)], **named)
        for part, there in zip(parts, on_gpu):  # noqa: B905 - new in Python 3.10
            if written is not None:
                written(there)  # a probe keeps what it has copied to the GPU, by its version
            part.copy_(there)
    return result


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def record(torch: Any, folder: str) -> None:
    """Record what torch allocates from now on, and leave it in a folder when the process ends."""

    def leave() -> None:
        try:
            torch.cuda.memory._dump_snapshot(f"{folder}/{os.getpid()}.pickle")  # noqa: SLF001 - torch documents it
        except Exception as error:  # noqa: BLE001 - the program is not to fail by this
            tell(f"no snapshot of process {os.getpid()}: {error}")

    torch.cuda.memory._record_memory_history(  # noqa: SLF001 - torch documents it
        max_entries=_MOST_ENTRIES, stacks="python"
    )
    # What multiprocessing has started ends without atexit.
    if multiprocessing.parent_process() is None:
        atexit.register(leave)
    else:
        multiprocessing.util.Finalize(None, leave, exitpriority=0)


def tell(text: str) -> None:
    """Write a line on standard error."""
    sys.stderr.write(f"gpu-profile: {text}\n")


def begin() -> None:
    """Do all of it, as far as the program uses torch."""
    torch, c10d = map(sys.modules.get, ("torch", "torch.distributed.distributed_c10d"))
    folder = os.environ.get("GPU_PROFILE_SIMULATED_SNAPSHOTS")
    try:
        if torch is not None and c10d is not None:
            Ranks(torch, c10d).install()
        if torch is not None and folder:
            record(torch, folder)
    except Exception as error:  # noqa: BLE001 - the program is not to fail by this
        tell(f"process {os.getpid()} cannot be watched: {error!r}")


if __name__ == "gpu_profile_inside":
    begin()
