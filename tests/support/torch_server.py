"""Runs small scripts with torch, each in a fork of one process that has imported it once.

Run as a program it is that process: it reads requests from its standard input, a JSON object a
line, and answers each with the exit status of the fork. It never starts CUDA.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any, Self

# What a script finds: `tell(value)` hands a value to the test.
PREAMBLE = """
import json, os, sys
def tell(value):
    print(json.dumps(value), flush=True)
def message(call, *arguments, **settings):
    try:
        call(*arguments, **settings)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
import torch
"""


class TorchServer:
    """The process, as a test sees it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, script: Path, environment: dict[str, str | None], output: Path) -> int:
        """Run a script with changed variables, and what it prints in a file; return its status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"script": str(script), "environment": environment, "output": str(output)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def _serve() -> None:
    exec(compile(PREAMBLE, "preamble", "exec"), {})  # noqa: S102 - imports torch
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(request)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)  # noqa: T201 - the answer


def _run(request: dict[str, Any]) -> None:
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    code = 1
    try:
        text = PREAMBLE + Path(request["script"]).read_text(encoding="utf-8")
        exec(compile(text, "script", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's script
        code = 0
    except BaseException:  # noqa: BLE001 - the test shows it
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
