"""The errors that a user can act on, as opposed to bugs of this package.

    HarnessError                  something the user can put right
    ├── MachineError              the machine is in trouble: a test *error*, never a regression
    ├── WorkloadError             the workload cannot be built, or fails at every batch size
    │   ├── NothingTrainsError    no batch size trains                    (harness.direct)
    │   ├── UnpredictableError    the workload can be measured, but not predicted
    │   └── NotOfferedError       the workload does not offer a change that is tried
    ├── OutOfTimeError                the run's time budget is used up
    ├── RanksDifferError          no rank of a training can stand for all others
    ├── MatrixError               the matrix has mistakes                      (harness.matrix)
    ├── LockError                 the lockfile cannot be used                  (harness.lockfile)
    ├── NoSuchDeviceError         this machine has no such device: cases skip  (harness.devices)
    ├── TrainingEndedError        training stopped before the probe was done   (harness.probe_tasks)
    └── WrongBatchSizeError       a loader ignores the batch size              (harness.loaders)

Every message says what is wrong, where, what is allowed and what to do.
"""

from __future__ import annotations

from harness.visible import visible


class HarnessError(Exception):
    """Something the user can put right."""

    def __str__(self) -> str:
        """Return the message; what a file of others has put into it is made harmless."""
        return visible(super().__str__())


class MachineError(HarnessError):
    """The machine is in trouble: a busy or lost GPU, a full disk, a killed probe."""


class OutOfTimeError(HarnessError):
    """The time budget of the run is used up; what its probes have answered is kept."""


class WorkloadError(HarnessError):
    """The user's workload cannot be built, or fails for a reason other than its batch size.

    Args:
        message: what is wrong.
        detail: the user's traceback, empty where there is none.
        log: path of the output of the process that failed.

    """

    def __init__(self, message: str, detail: str = "", log: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail
        self.log = log


class UnpredictableError(WorkloadError):
    """The training needs what a simulated GPU does not have: values, or a part of a library."""


class NotOfferedError(WorkloadError):
    """The workload does not offer a change that is tried."""


class LoopEndedError(HarnessError):
    """A training's own loop has ended before the steps that are needed of it."""


class RanksDifferError(HarnessError):
    """The ranks of a training differ, so that none can stand for all."""


class NoFullBatchError(Exception):
    """The data hold no full batch of the probe's size: an end of the search, and no mistake."""
