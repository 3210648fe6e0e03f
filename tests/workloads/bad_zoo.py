"""Workloads with one fault each, as real ones have: in building, setup, data or training."""

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
"""More than a pipe holds."""


class RaisesInInit(Net):
    """Raises while it is built."""

    def __init__(self) -> None:
        super().__init__()
        raise ValueError("no backbone is called resnet999")


class CrashesInInit(Net):
    """Crashes the process that builds it."""

    def __init__(self) -> None:
        super().__init__()
        ctypes.string_at(0)


class RaisesInSetup(Net):
    """Raises while it is set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """Raise."""
        raise FileNotFoundError("no checkpoint to start from")


class ExitsInSetup(Net):
    """Ends the process while it is set up."""

    def setup(self, stage: str) -> None:  # noqa: ARG002 - Lightning's signature
        """End the process."""
        os._exit(4)


class RaisesInStep(Net):
    """Gives its first layer half of the features."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Cut the features."""
        return self.loss((batch[0][:, :8], batch[1]))


class RaisesInConfigure(Net):
    """Asks for an optimizer that does not exist."""

    def configure_optimizers(self) -> Any:
        """Look the optimizer up."""
        return {"adam": torch.optim.Adam}["adamw"](self.parameters())


class SysExits(Net):
    """Exits the interpreter, as scripts do."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Exit."""
        sys.exit("no licence for this data set")


class CrashesInStep(Net):
    """Reads address 0 in native code."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Crash."""
        ctypes.string_at(0)
        return self.loss(batch)


class HangsDeaf(Hangs):
    """Never ends its first step, and ignores the signals that ask it to."""

    def on_train_start(self) -> None:
        """Ignore the signals."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


class HungLoader(Numbers):
    """Has a loader whose worker never gives its first batch."""

    def train_dataloader(self) -> Any:
        """Wait in the worker."""
        return DataLoader(
            _Unreadable(threading.Event().wait), batch_size=self.batch_size, num_workers=1
        )


class BrokenRecords(Numbers):
    """Has a record that a worker of its loader cannot decode."""

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
    """Takes 4 MiB per sample from numpy, bytearray or mmap; the batch size decides from which."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Free the last step's memory, then take this one's."""
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
    """Keeps 1 MiB per sample until the optimizer steps, as cached contrastive losses do."""

    def __init__(self) -> None:
        super().__init__(64)
        self.held: list[torch.Tensor] = []

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Keep a tensor for this micro-batch."""
        self.held.append(torch.ones(len(batch[0]), 1 << 18))
        return self.loss(batch)

    def on_before_optimizer_step(self, _optimizer: Any) -> None:
        """Free all of them."""
        self.held.clear()


class NotANumber(Net):
    """Has a loss of NaN from the first step on."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Multiply by minus infinity and by 0."""
        return self.loss(batch) * torch.tensor(0.0).log() * 0


class TwoOptimizersWithoutValidation(TwoOptimizers):
    """Steps its two optimizers itself, and has no validation."""

    validation_step = None  # type: ignore[assignment] # for Lightning, the hook is absent


class LeavesEverything(Net):
    """Leaves a child, a daemon, a thread and a file behind, and prints them."""

    def on_train_start(self) -> None:
        """Start and print them."""
        sleep = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
        child = subprocess.Popen(sleep, start_new_session=True)
        # The shell ends after its fork, and another process adopts its child: a double fork.
        daemon = subprocess.run(
            ["/bin/sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *sleep],
            stdout=subprocess.PIPE,
            check=True,
        )
        threading.Thread(target=threading.Event().wait, daemon=False).start()
        file = tempfile.mkstemp()[1]
        left = f"left child {child.pid}, daemon {int(daemon.stdout)}, file {file}"
        print(left, flush=True)  # noqa: T201


class PersistentWorkers(Numbers):
    """Keeps its loaders' workers alive between epochs."""

    def train_dataloader(self) -> Any:
        """Return a loader with two such workers."""
        return DataLoader(
            self.train, batch_size=self.batch_size, num_workers=2, persistent_workers=True
        )


class Talks(Net):
    """Prints a megabyte on each stream, and raises another one that is not valid Unicode."""

    def training_step(self, _batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Print and raise."""
        os.write(1, NOISE.encode())
        print(NOISE, file=sys.stderr)  # noqa: T201
        raise ValueError(f"na\u00efve \udc80 \x00 tensor\n{NOISE}")


class BigSamples(Numbers):
    """Has samples of 256 KiB, which a worker passes through shared memory."""

    def __init__(self) -> None:
        super().__init__(64)
        inputs = torch.zeros(64, 1 << 16)
        self.train = TensorDataset(inputs, torch.zeros(64, dtype=torch.long))
        self.num_workers = 1


class LateBigSamples(BigSamples):
    """Moves batches to shared memory only after the worker's own code has ended."""

    def train_dataloader(self) -> Any:
        """Stack without torch's collation, which would use shared memory at once."""
        return DataLoader(
            self.train,
            batch_size=self.batch_size,
            num_workers=1,
            collate_fn=lambda samples: tuple(map(torch.stack, zip(*samples, strict=True))),
        )


class BigNet(Net):
    """Reads the first 16 floats of such samples."""

    def loss(self, batch: Batch) -> torch.Tensor:
        """Cut the inputs."""
        return super().loss((batch[0][:, :16], batch[1]))


class KilledByTheKernel(Net):
    """Does in training what the kernel's out-of-memory killer does: it counts a kill, and kills."""

    def training_step(self, batch: Batch, _batch_idx: int) -> torch.Tensor:
        """Count a kill in a stand-in for /proc/vmstat, and kill this process."""
        _count_an_oom_kill()
        os.kill(os.getpid(), signal.SIGKILL)
        return self.loss(batch)


class KilledByTheKernelInInit(Net):
    """Does the same to the process that builds it."""

    def __init__(self) -> None:
        super().__init__()
        _count_an_oom_kill()
        os.kill(os.getpid(), signal.SIGKILL)


def _count_an_oom_kill() -> None:
    counts = Path(os.environ["STAND_IN_VMSTAT"])
    kills = int(counts.read_text(encoding="ascii").split()[1])
    counts.write_text(f"oom_kill {kills + 1}\n", encoding="ascii")
