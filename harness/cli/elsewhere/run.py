"""Starts the process that predicts, and reads its answers, also of one that died on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.wording import describe_exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.cli.elsewhere.answers import Asked, CaseAnswer, CaseRefusal

PACKAGE_ROOT = str(Path(__file__).parents[3])
"""The folder from which this package is imported."""
_GOODBYE_SECONDS = 30.0
_INTERRUPTED = 130


def predict_elsewhere(
    asked: Asked,
    folder: Path,
    environment: Mapping[str, str] = os.environ,
    python: str = sys.executable,
) -> list[CaseAnswer | CaseRefusal]:
    """Predict in a process of its own; its output goes to standard error.

    folder: its working directory.

    Raises KeyboardInterrupt where Ctrl-C has ended it.
    """
    with tempfile.TemporaryDirectory(prefix="gpu-profile-") as exchange:
        request, answers = Path(exchange) / "request.json", Path(exchange) / "answers.jsonl"
        request.write_text(json.dumps(asked), encoding="utf-8")
        answers.touch()
        program = ["-P", "-m", "harness.cli.elsewhere.program", str(request), str(answers)]
        sys.stdout.flush()
        process = subprocess.Popen(
            [python, *program],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=2,  # the answer alone goes to standard output
            start_new_session=True,  # Ctrl-C at the terminal reaches this process, which sends it on
        )
        code = _wait(process)
        found: list[CaseAnswer | CaseRefusal] = [
            json.loads(line)
            for line in answers.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n")
        ]
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        found.append(
            {
                "kind": "refused",
                "case": None,
                "gpu": None,
                "reason": f"the process that predicts {describe_exit(code)}",
                "detail": "",
                "is_machine": False,
            }
        )
    return found


def _wait(process: subprocess.Popen[Any]) -> int:
    """Wait for a process; end it, with all that it has started, where this one is ended."""
    try:
        return process.wait()
    except BaseException:
        # It removes its files, and ends its probes.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Make SIGTERM end this process as an exit does: what is open is closed."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
