"""Connects this process to the Ray cluster that Ray itself finds, and watches its head."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, MachineError
from harness.visible import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_CONNECT_SECONDS = 10.0
# What the recipe holds of the environment: it goes with the tasks.
_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG")
# Ray ends this process when it has not reached the head for so long, by default 60: before that, we
# give up, and the results are written.
_RAYS_PATIENCE = ("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
_PATIENCE_SECONDS = 30.0


class Head:
    """The head of the cluster, which knows its nodes; without it Ray ends this process.

    Args:
        ray: the module, connected.

    """

    def __init__(self, ray: Any) -> None:
        self._address = str(ray.get_runtime_context().gcs_address)
        # From behind a proxy it cannot be seen.
        self._is_seen = self._answers()
        self._since = time.monotonic()
        self.is_lost = False
        """Whether it has not answered for too long."""

    def answers(self) -> bool:
        """Return whether the head answers. Raises MachineError when it has not done so for long."""
        if not self._is_seen or self._answers():
            self._since = time.monotonic()
            return True
        if time.monotonic() - self._since > _PATIENCE_SECONDS:
            self.is_lost = True
            raise MachineError(f"the head of the Ray cluster, {self._address}, is gone")
        return False

    def _answers(self) -> bool:
        try:
            _reach(self._address, 2.0)
        except (OSError, ValueError):
            return False
        return True


def imported() -> Any:
    """Return the module Ray. Raises HarnessError where it is not installed."""
    os.environ.setdefault(*_RAYS_PATIENCE)
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise HarnessError(
            "--gpu-profile-executor ray needs Ray, which is not installed: "
            "pip install 'pytest-gpu-profile[ray]', in the version of the cluster"
        ) from error
    return ray


def connect(ray: Any, root: Path, excluded: Sequence[str]) -> None:
    """Connect; each node will get a copy of `root`. Raises HarnessError where that is not possible.

    excluded: what nodes do not need of it.
    """
    if ray.is_initialized():
        raise HarnessError(
            "--gpu-profile-executor ray: this process is connected to a Ray cluster already, "
            "without this project: remove the ray.init() of a conftest.py or a plugin"
        )
    environment = {
        "working_dir": str(root),
        "excludes": list(excluded),
        "env_vars": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    # In a job of `ray job submit` its environment has a folder already; ours is the project.
    os.environ.setdefault("RAY_OVERRIDE_JOB_RUNTIME_ENV", "1")
    with _own_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _refuse_deaf_address(os.environ.get("RAY_ADDRESS", ""))
            ray.init(
                address="auto",
                runtime_env=environment,
                log_to_driver=False,
                configure_logging=False,
            )
        except Exception as error:
            with suppress(Exception):
                ray.shutdown()
            raise HarnessError(_why_no_cluster(error, root)) from error
    _silence(ray)


def _refuse_deaf_address(address: str) -> None:
    """Raise OSError where nobody listens at an address: Ray itself would try for minutes."""
    if address.rpartition(":")[2].isdecimal():
        _reach(address, _CONNECT_SECONDS)


def _reach(address: str, seconds: float) -> None:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), seconds).close()


def _silence(ray: Any) -> None:
    """Keep Ray from printing the log of each node that is lost: a line of ours tells it."""
    # Ray has no public switch for these. Where this one is gone, its lines come, and nothing else.
    vars(ray._private.worker)["_worker_logs_enabled"] = False  # noqa: SLF001 - as said


def _why_no_cluster(error: Exception, root: Path) -> str:
    text = str(error)
    if "size" in text and "exceed" in text.lower():
        return (
            f"--gpu-profile-executor ray: {root} is too large for Ray to copy to the nodes: list "
            f"data and results in .gitignore or .rayignore ({first_line(error)})"
        )
    where = os.environ.get("RAY_ADDRESS")
    tried = f"RAY_ADDRESS is {cut(where)}" if where else "RAY_ADDRESS is not set"
    return (
        f"--gpu-profile-executor ray: no Ray cluster can be reached ({tried}): start one with "
        f"`ray start --head`, or name the address of one; {first_line(error)}"
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep pytest's handlers of signals: Ray sets one that ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit:
        if signal.getsignal(signal.SIGTERM) is before:
            raise
        # Ray's handler: SIGTERM came while it connected, and is for the one who had it before.
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def first_line(error: Exception) -> str:
    """Return the first sentence of an error of Ray's."""
    text = str(error).strip() or type(error).__name__
    # Behind the first sentence stand the commands and folders of Ray.
    return cut(text.splitlines()[0].partition(". ")[0])
