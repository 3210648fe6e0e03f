"""Runs programs under `gpu-profile simulate`, as a user would."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from json_documents import assert_described

if TYPE_CHECKING:
    from pathlib import Path

VERB = (
    sys.executable,
    "-c",
    "import sys; from harness.cli import main; sys.exit(main())",
    "simulate",
)


@dataclass
class Ended:
    """A program that has ended under the verb."""

    code: int
    output: str
    errors: str
    told: Any
    """The JSON file's content."""

    @property
    def process(self) -> dict[str, Any]:
        """The one process that used a GPU."""
        (process,) = self.told["processes"]
        return dict(process)


@dataclass
class Simulate:
    """Runs programs under the verb in a test's folder."""

    folder: Path

    def __call__(self, *command: str, script: str = "", flags: tuple[str, ...] = ()) -> Ended:
        """Run a command to its end; "SCRIPT" in it is the script's file."""
        path, result = self.folder / "train.py", self.folder / "peaks.json"
        path.write_text(script, encoding="utf-8")
        gpu = () if "--gpu" in flags else ("--gpu", "H100")
        done = subprocess.run(
            [*VERB, *gpu, *flags, "--json", result, "--"]
            + [str(path) if word == "SCRIPT" else word for word in command],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.folder,
        )
        told = json.loads(result.read_text(encoding="utf-8")) if result.exists() else None
        if told is not None:
            assert_described(told, "simulate")
        return Ended(done.returncode, done.stdout, done.stderr, told)
