"""Makes worlds of GPUs for tests: compiles a stub of NVML's library, and writes its answers.

    environment = world(tmp_path, [gpu(process=["compute 4711 1048576"])])
    subprocess.run(..., env={**os.environ, **environment})

The head of nvml_stub.c lists the facts, and says which processes must never get this environment.
The stub reads the world whenever NVML is opened, so a test that writes `world` anew changes it for
a running process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GIB = 1024**3
DRIVER = "580.95.05"
H200 = 150754820096
# nvmlEventType of a double-bit ECC error, and of an Xid.
ECC_EVENT, XID_EVENT = 2, 8

_SUPPORT = Path(__file__).parent
_PREAMBLE = """
import json, os
from dataclasses import asdict
from pathlib import Path
from harness.devices.nvml import gpus as nvml
from harness.devices.nvml.health import HealthWatch
from harness.errors import HarnessError

worlds = json.loads(os.environ["NVML_STUB_WORLDS"])

def change():
    os.environ["NVML_STUB_WORLD"] = worlds.pop(0)

def tell(call, *arguments):
    try:
        value = call(*arguments)
    except HarnessError as error:
        value = f"{type(error).__name__}: {error}"
    print(json.dumps(value, default=asdict))
"""


def gpu(
    name: str = "NVIDIA H200",
    total: int = H200,
    *,
    uuid: str = "GPU-a",
    bus: str = "00000000:07:00.0",
    instances: list[list[str]] | None = None,
    **facts: Any,
) -> list[str]:
    """Make a GPU, in MIG mode if `instances` are given; a list is one fact per item."""
    mig = (
        []
        if instances is None
        else ["mig 1", *(line for instance in instances for line in instance)]
    )
    return [
        "gpu",
        *_lines(name=name, total=total, free=total, uuid=uuid, bus=bus),
        *_lines(**facts),
        *mig,
    ]


def instance(name: str, total: int, *, uuid: str, ids: str, slot: int, **facts: Any) -> list[str]:
    """Make a MIG instance; `ids` are those of its GPU instance and of its compute instance."""
    return [
        "instance",
        *_lines(name=name, total=total, free=total, uuid=uuid, ids=ids, slot=slot),
        *_lines(**facts),
    ]


def world(
    folder: Path,
    gpus: list[list[str]],
    *,
    driver: str = DRIVER,
    cuda: int | None = None,
    fail: str | None = None,
    name: str = "world",
) -> dict[str, str]:
    """Write a world into a test's folder, and return the environment of a subprocess in it.

    cuda: the newest CUDA that the driver supports, 13000 for 13.0; None: NVML does not tell.
    fail: a function of NVML, and the code that it always returns.

    Skips the test where there is no C compiler.
    """
    failures = [] if fail is None else [f"fail {fail}"]
    cudas = [] if cuda is None else [f"cuda {cuda}"]
    lines = [f"driver {driver}", *cudas, *failures, *(line for gpu in gpus for line in gpu)]
    path = folder / f"{name}.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"LD_LIBRARY_PATH": str(_library(folder.parent)), "NVML_STUB_WORLD": str(path)}


def told(script: str, *worlds: dict[str, str], **environment: str | None) -> list[Any]:
    """Run `script` in a process in the first world, and return the answers that it printed.

    In the script, `tell(call, *arguments)` prints the answer of a call, or a HarnessError as
    `class: message`. `change()` moves the process into the next world.
    """
    variables: dict[str, str | None] = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": None,
        "CUDA_DEVICE_ORDER": None,
        "NVML_STUB_WORLDS": json.dumps([later["NVML_STUB_WORLD"] for later in worlds[1:]]),
        "PYTHONPATH": os.pathsep.join(sys.path),
        **worlds[0],
        **environment,
    }
    process = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + script],
        env={name: value for name, value in variables.items() if value is not None},
        cwd=_SUPPORT.parents[1],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def _lines(**facts: Any) -> list[str]:
    return [
        f"{key} {value}"
        for key, values in facts.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def _library(folder: Path) -> Path:
    """Return a folder with the compiled stub; a run, or a worker of it, compiles it once."""
    made = folder / "nvml-stub"
    if not made.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler `cc` for the stub of NVML's library")
        made.mkdir()
        flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        target = made / "libnvidia-ml.so.1"
        subprocess.run(
            [compiler, *flags, "-o", target, _SUPPORT / "nvml_stub.c"], check=True, timeout=60
        )
    return made
