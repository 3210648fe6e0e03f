"""Runs inside of programs over simulated GPUs, in their own Python, which may have no harness.

torch's collectives of objects compute with the objects' sizes on the GPU, where nothing is
computed. Here they keep the sizes on the host, and send only bytes through NCCL. `barrier` reads
something of every rank, so that it waits for them. A snapshot is left where one is wanted.

Nothing is imported that the program has not imported itself. The C library runs this file when the
process makes its first CUDA context (sources/process/python.c).
"""

from __future__ import annotations

import functools
import os
import sys

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
_OF_TENSORS = ("broadcast", "all_gather", "gather", "scatter", "send", "recv")
_MOST_ENTRIES = 200_000


def _install(torch, c10d):
    sending_objects = []
    device_of = c10d._get_object_coll_device

    def uses_gpu(group):
        return "cuda" in str(device_of(group))

    def on_host(group=None):
        return "cpu" if sending_objects else device_of(group)

    def of_objects(function):
        @functools.wraps(function)
        def send(*args, **kwargs):
            group = next((one for one in args if isinstance(one, c10d.ProcessGroup)), None)
            if not uses_gpu(kwargs.get("group") or group):
                return function(*args, **kwargs)
            kwargs.pop("device", None)
            args = [None if isinstance(one, torch.device) else one for one in args]
            sending_objects.append(function)
            try:
                return function(*args, **kwargs)
            finally:
                sending_objects.pop()

        return send

    def of_tensors(function):
        @functools.wraps(function)
        def send(*args, **kwargs):
            if not sending_objects:
                return function(*args, **kwargs)
            return _in_pieces(torch, function, args, kwargs)

        return send

    def barrier(function):
        @functools.wraps(function)
        def wait(*args, **kwargs):
            work = function(*args, **kwargs)
            group = args[0] if args else kwargs.get("group")
            if work is None and not c10d._rank_not_in_group(group) and uses_gpu(group):
                token = torch.zeros(1).cuda()
                c10d.all_reduce(token, group=group)
                token.cpu()
            return work

        return wait

    c10d._get_object_coll_device = on_host
    wrappers = {**dict.fromkeys(_OF_OBJECTS, of_objects), **dict.fromkeys(_OF_TENSORS, of_tensors)}
    for name, wrapper in {**wrappers, "barrier": barrier}.items():
        original = getattr(c10d, name, None)
        if original is None:
            continue
        setattr(c10d, name, wrapper(original))
        if getattr(torch.distributed, name, None) is original:
            setattr(torch.distributed, name, getattr(c10d, name))


def _in_pieces(torch, function, args, kwargs):
    """Call a collective with tensors of the host: piece by piece, each through the GPU."""
    flat = []

    def each(value, change):
        if isinstance(value, torch.Tensor):
            return change(value)
        if isinstance(value, (list, tuple)) and any(isinstance(one, torch.Tensor) for one in value):
            return [each(one, change) for one in value]
        return value

    def call(change):
        return function(
            *(each(one, change) for one in args),
            **{name: each(one, change) for name, one in kwargs.items()},
        )

    for one in [*args, *kwargs.values()]:
        each(one, flat.append)
    step = max(1, _PIECE // max(tensor.element_size() for tensor in flat))
    result = None
    for start in range(0, max(tensor.numel() for tensor in flat), step):
        moved = []

        def piece(tensor, start=start, moved=moved):
            part = tensor[start : start + step]
            moved.append((part, part.cuda()))
            return moved[-1][1]

        result = call(piece)
        for part, on_gpu in moved:
            part.copy_(on_gpu)
    return result


def _record(torch, folder):
    import atexit
    import multiprocessing.util

    def leave():
        path = os.path.join(folder, f"{os.getpid()}.pickle")
        try:
            torch.cuda.memory._dump_snapshot(path)
        except Exception as error:  # noqa: BLE001 - the program is not to fail by this
            print(f"gpu-profile: no snapshot of process {os.getpid()}: {error}", file=sys.stderr)

    torch.cuda.memory._record_memory_history(max_entries=_MOST_ENTRIES, stacks="python")
    # What multiprocessing has started ends without atexit.
    if multiprocessing.parent_process() is None:
        atexit.register(leave)
    else:
        multiprocessing.util.Finalize(None, leave, exitpriority=0)


def _begin():
    torch = sys.modules.get("torch")
    c10d = sys.modules.get("torch.distributed.distributed_c10d")
    snapshots = os.environ.get("GPU_PROFILE_SIMULATED_SNAPSHOTS")
    try:
        if torch is not None and c10d is not None:
            _install(torch, c10d)
        if torch is not None and snapshots:
            _record(torch, snapshots)
    except Exception as error:  # noqa: BLE001 - the program is not to fail by this
        print(f"gpu-profile: cannot watch process {os.getpid()}: {error!r}", file=sys.stderr)


_begin()
