"""Workloads that misbehave while they are built, set up, fed or trained: each has one fault, as real ones do."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from zoo import Batch, Hangs, Net, Numbers, TwoOptimizers

if TYPE_CHECKING:
    from collections.abc import Callable

NOISE = "x" * 1_000_000
"""More than a pipe holds, and than anybody reads."""


class RaisesInInit(Net):
    """Cannot be built."""

    def __init__(self) -> None:
        super().__init__()
        raise ValueError("no backbone is called resnet999")


class CrashesInInit(Net):
    """Takes the process that builds it along."""

    def __init__(self) -> None:
        super().__init__()
        ctypes.string_at(0)


class RaisesInSetup(Net):
    """Cannot be set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Raise."""
        raise FileNotFoundError("no checkpoint to start from")


class ExitsInSetup(Net):
    """Ends the process while it is set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Exit."""
        os._exit(4)


class RaisesInStep(Net):
    """Feeds its first layer half the features."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Cut the inputs."""
        return self.loss((batch[0][:, :8], batch[1]))


class RaisesInConfigure(Net):
    """Has no optimizer of the name it looks for."""

    def configure_optimizers(self) -> Any:
        """Look it up."""
        return {"adam": torch.optim.Adam}["adamw"](self.parameters())


class SysExits(Net):
    """Ends the interpreter, as scripts do."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Exit."""
        sys.exit("no licence for this data set")


class CrashesInStep(Net):
    """Reads the address 0 in native code."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Crash."""
        ctypes.string_at(0)
        return self.loss(batch)


class HangsDeaf(Hangs):
    """Never ends its first step, and ignores every polite request to."""

    def on_train_start(self) -> None:
        """Turn deaf."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


class HungLoader(Numbers):
    """Has a loader whose worker never gives its first batch."""

    def train_dataloader(self) -> Any:
        """Wait in the worker."""
        return DataLoader(_Unreadable(threading.Event().wait), batch_size=self.batch_size, num_workers=1)


class BrokenRecords(Numbers):
    """Has a record that cannot be decoded, which a worker of its loader finds out."""

    def train_dataloader(self) -> Any:
        """Decode in a worker."""
        return DataLoader(_Unreadable(_fail_to_decode), batch_size=self.batch_size, num_workers=1)


class _Unreadable(Dataset[Any]):
    def __init__(self, read: Callable[[], Any]) -> None:
        self.read = read

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return self.read()


def _fail_to_decode() -> None:
    raise ValueError("record 7 is no JPEG")


class OutsideTorch(Net):
    """Takes 4 MiB per sample from numpy, bytearray or mmap, by turns with every third batch size."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Take it, once what was taken before is gone."""
        self.held: Any = None
        size = len(batch[0]) << 22
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.held = (
            lambda: np.ones(size, dtype=np.uint8),
            lambda: bytearray(size),
            lambda: mmap.mmap(-1, size, flags=private),
        )[len(batch[0]) // 3 % 3]()
        return self.loss(batch)


class HoardsUntilStep(Net):
    """Keeps 1 MiB per sample of every micro-batch until the optimizer steps, as cached contrastive losses do."""

    def __init__(self) -> None:
        super().__init__(64)
        self.held: list[torch.Tensor] = []

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Keep."""
        self.held.append(torch.ones(len(batch[0]), 1 << 18))
        return self.loss(batch)

    def on_before_optimizer_step(self, _optimizer: Any) -> None:
        """Let go."""
        self.held.clear()


class NotANumber(Net):
    """Loses its loss at once."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Divide by nothing."""
        return self.loss(batch) * torch.tensor(0.0).log() * 0


class TwoOptimizersWithoutValidation(TwoOptimizers):
    """Steps its two optimizers itself, and has its validation taken away."""

    validation_step = None  # type: ignore[assignment] # as Lightning takes a hook that is not there


class LeavesEverything(Net):
    """Leaves a child, a daemon, a thread and files, and prints what it has left."""

    def on_train_start(self) -> None:
        """Leave them."""
        sleep = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
        child = subprocess.Popen(sleep, start_new_session=True)
        # A shell that forks and ends leaves its own child to whoever adopts it: a double fork.
        daemon = subprocess.run(
            ["/bin/sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *sleep],
            stdout=subprocess.PIPE,
            check=True,
        )
        threading.Thread(target=threading.Event().wait, daemon=False).start()
        file = tempfile.mkstemp()[1]
        print(f"left child {child.pid}, daemon {int(daemon.stdout)}, file {file}", flush=True)  # noqa: T201


class PersistentWorkers(Numbers):
    """Keeps its loaders' workers alive between epochs."""

    def train_dataloader(self) -> Any:
        """Start two."""
        return DataLoader(self.train, batch_size=self.batch_size, num_workers=2, persistent_workers=True)


class Talks(Net):
    """Prints megabytes on both streams, past Python and through it, and raises as much, in no valid Unicode."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Talk."""
        os.write(1, NOISE.encode())
        print(NOISE, file=sys.stderr)  # noqa: T201
        raise ValueError(f"na\u00efve \udc80 \x00 tensor\n{NOISE}")


class BigSamples(Numbers):
    """Has samples of 256 KiB that a worker hands over in shared memory."""

    def __init__(self) -> None:
        super().__init__(64)
        inputs = torch.zeros(64, 1 << 16)
        self.train = TensorDataset(inputs, torch.zeros(64, dtype=torch.long))
        self.num_workers = 1


class LateBigSamples(BigSamples):
    """Makes batches that only go to shared memory when the worker is done with them, out of its own hands."""

    def train_dataloader(self) -> Any:
        """Stack without torch's collation, which would have used shared memory at once."""
        return DataLoader(
            self.train,
            batch_size=self.batch_size,
            num_workers=1,
            collate_fn=lambda samples: tuple(map(torch.stack, zip(*samples, strict=True))),
        )


class BigNet(Net):
    """Reads the first 16 floats of such samples."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Cut and go on."""
        return super().loss((batch[0][:, :16], batch[1]))


class KilledByTheKernel(Net):
    """Is killed, and counted in a stand-in for /proc/vmstat, as the kernel's out-of-memory killer does both."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Count and kill."""
        _count_an_oom_kill()
        os.kill(os.getpid(), signal.SIGKILL)
        return self.loss(batch)


class KilledByTheKernelInInit(Net):
    """Makes the kernel kill the process that builds it."""

    def __init__(self) -> None:
        super().__init__()
        _count_an_oom_kill()
        os.kill(os.getpid(), signal.SIGKILL)


def _count_an_oom_kill() -> None:
    counts = Path(os.environ["STAND_IN_VMSTAT"])
    kills = int(counts.read_text(encoding="ascii").split()[1])
    counts.write_text(f"oom_kill {kills + 1}\n", encoding="ascii")
