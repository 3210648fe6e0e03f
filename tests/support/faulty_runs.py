"""Runs pytest over workloads that misbehave; returns its output, exit code and leftovers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
import xml.etree.ElementTree as ET
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock
from projects import copy_into, shared_folder

from harness.devices.cpu import CpuDevice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest
    from warm_zygotes import WarmZygotes

GPU = "cpu-48MiB"
_MARK = "GPU_PROFILE_TESTS_RUN"
# A lockfile that matches no case: no case here has its device.
LOCK = """\
version = 1

[[profile]]
model = "elsewhere"
gpu = "h200"
resolution = 1
batch_size = 8
max_batch_size = 8
bounded_by = "memory"
memory_limit_bytes = 135711850905
fingerprint = "sha256:0"
recipe = "sha256:0"

[profile.device]
name = "NVIDIA H200"
memory_bytes = 150754820096
"""


@dataclass(frozen=True)
class FaultyRun:
    """A run that has ended."""

    path: Path
    code: int
    """pytest's exit code."""
    output: str
    """Both streams of the terminal."""
    leftovers: tuple[str, ...]
    """The processes that outlived the run, and the temporary files that it left."""

    @property
    def lock(self) -> str:
        """The lockfile's text."""
        return (self.path / "profiles" / "gpu-profile.lock").read_text(encoding="utf-8")

    def case(self, model: str) -> dict[str, Any]:
        """Return a case of report.json."""
        data = json.loads((self.path / ".gpu-profile" / "report.json").read_text(encoding="utf-8"))
        return next(case for case in data["cases"] if case["model"] == model)

    def log(self, model: str, name: str) -> Path:
        """Return the path of a log of the case."""
        return self.path / ".gpu-profile" / f"{model}-{GPU}-1" / name

    def verdict(self, model: str) -> str:
        """Return JUnit's verdict on the case's test.

        It is `passed`, `failure` (in the call), `error` (outside of it) or `skipped`.
        """
        suite = ET.parse(self.path / "junit.xml")  # noqa: S314 - pytest wrote it
        for test in suite.iter("testcase"):
            if test.get("name") == f"test_gpu_profile[{model}-{GPU}-1]":
                kinds = [
                    child.tag for child in test if child.tag in ("failure", "error", "skipped")
                ]
                return kinds[0] if kinds else "passed"
        raise AssertionError(f"no test of {model} ran:\n{self.output}")

    def shown(self, model: str) -> str:
        """Return the case's section of the terminal's failures and errors.

        Paths, torch's version and line numbers are replaced, as they differ between runs.
        """
        name = re.escape(f"test_gpu_profile[{model}-{GPU}-1]")
        title = rf"^_+ (?:ERROR at setup of )?{name} _+\n(?:\[gw\d\] [^\n]*\n)?"
        found = re.search(
            rf"{title}(.*?)^(?:_{{3,}} |={{3,}} |-+ generated )",
            self.output,
            re.MULTILINE | re.DOTALL,
        )
        assert found is not None, self.output
        text = found[1].replace(str(self.path), "PROJECT")
        text = re.sub(r"torch [\d.]+", "torch VERSION", text)
        return re.sub(r"(bad_zoo.py\", line) \d+", r"\1 NUMBER", text).rstrip()


def run(
    path: Path,
    models: Mapping[str, Mapping[str, Any]],
    *arguments: str,
    settings: Mapping[str, Any] | None = None,
    prelude: str = "",
    environment: Mapping[str, str] | None = None,
    zygotes: WarmZygotes | None = None,
) -> FaultyRun:
    """Make a project of these models in `path`, run pytest with an update, and list leftovers.

    A model is a mapping as in the matrix; the default data are `zoo.Numbers`. The shell commands of
    `prelude` run before pytest, in a mount namespace of their own. The zygotes of the run are new
    Pythons, or `zygotes`.
    """
    sessions = path / "sessions.txt"
    (path / "profiles").mkdir()
    copy_into(path / "profiles", "zoo.py", "bad_zoo.py", "growing_zoo.py")
    (path / "test_profiles.py").write_text(
        "from harness.testing import test_gpu_profile\n", encoding="utf-8"
    )
    (path / "profiles" / "gpu-profile.lock").write_text(LOCK, encoding="utf-8")
    (path / "profiles" / "matrix.yaml").write_text(
        _matrix(models, settings or {}), encoding="utf-8"
    )
    scratch = path / "tmp"
    scratch.mkdir()
    mark = uuid.uuid4().hex
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--gpu-profile",
        "--gpu-profile-update",
    ]
    command += [f"--junitxml={path / 'junit.xml'}", f"--basetemp={path / 'basetemp'}", *arguments]
    if prelude:
        command = ["unshare", "--mount", "/bin/sh", "-ec", f'{prelude}\nexec "$@"', "sh", *command]
    done = subprocess.run(
        command,
        cwd=path,
        env=os.environ
        | {"TMPDIR": str(scratch), _MARK: mark, "COLUMNS": "80"}
        | (zygotes.variables({**os.environ, **CpuDevice.environment}, sessions) if zygotes else {})
        | dict(environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=300,
    )
    output = done.stdout.decode(errors="replace")
    return FaultyRun(path, done.returncode, output, (*_alive(mark, sessions), *_files(scratch)))


def run_once(
    factory: pytest.TempPathFactory, name: str, models: Mapping[str, Mapping[str, Any]], **more: Any
) -> FaultyRun:
    """Run as `run` does with two workers, once for all of xdist's workers.

    The first worker runs it; the others read its result.
    """
    folder = shared_folder(factory)
    path = folder / f"faults-{name}"
    with FileLock(folder / f"faults-{name}.lock"):
        kept = path / "run.json"
        if not path.exists():
            path.mkdir()
            done = run(path, models, "-n2", **more)
            kept.write_text(json.dumps([done.code, done.output, done.leftovers]), encoding="utf-8")
        code, output, leftovers = json.loads(kept.read_text(encoding="utf-8"))
    return FaultyRun(path, code, output, tuple(leftovers))


def namespaces_allowed() -> bool:
    """Return whether this machine lets the tests mount file systems of their own."""
    try:
        probe = subprocess.run(
            ["/usr/bin/env", "unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return probe.returncode == 0


def _matrix(models: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> str:
    """Return the matrix as JSON, which is also YAML."""
    matrix = {
        "version": 1,
        "matrix": {"model": list(models), "gpu": [GPU], "resolution": [1]},
        "models": {
            label: {"data": {"class_path": "zoo.Numbers"}} | dict(model)
            for label, model in models.items()
        },
        "gpus": {GPU: {"accelerator": "cpu", "budget": "48MiB"}},
        "search": {"max_batch_size": 4},
        "lr_range": {"num_training": 60, "seeds": [0], "when": "never"},
    }
    return json.dumps(matrix | dict(settings), indent=1)


def of(module: str, data: str = "zoo.Numbers", **more: Any) -> dict[str, Any]:
    """Return a model of the matrix; `module_args` and `data_args` become init_args."""
    return {
        "module": {"class_path": module, "init_args": more.pop("module_args", {})},
        "data": {"class_path": data, "init_args": more.pop("data_args", {})},
    } | more


def _alive(mark: str, sessions: Path) -> list[str]:
    """Return the processes of the run that have not ended.

    They have inherited its mark, or are in the session of a zygote that is a fork of the tests'.
    """
    numbers = {int(line) for line in sessions.read_text().split()} if sessions.exists() else set()
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(_MARK) == mark or os.getsid(process.pid) in numbers:
                found.append(process)
    # The last of xdist's workers may still be ending.
    _, alive = psutil.wait_procs(found, timeout=5)
    return [f"process {process.pid}: {_command(process)}" for process in alive]


def _command(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return "?"


def _files(scratch: Path) -> Sequence[str]:
    """Return the files below a folder, without the guards of locks that `harness.files` keeps."""
    paths = (str(path.relative_to(scratch)) for path in scratch.rglob("*"))
    return [path for path in paths if not re.fullmatch(r"gpu-profile-\d+-\w{16}\.lock", path)]
