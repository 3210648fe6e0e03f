"""The `gpu-profile` command: what one asks of matrix and lock outside pytest."""

from __future__ import annotations

import argparse
import configparser
import os
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.lockfile import LockedProfile

_OK, _DIFFERENT, _TROUBLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 when all is well, 1 when something differs or fails, 2 on wrong input."""
    options = _parser().parse_args(arguments)
    settings = _ini_settings(Path.cwd())
    # Workloads are imported from where pytest imports them: ini `pythonpath`, then rootdir.
    sys.path[:0] = settings.module_path
    options.matrix = Path(options.matrix or settings.matrix)
    options.lock = Path(options.lock or settings.lock or options.matrix.parent / "gpu-profile.lock")
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return _TROUBLE
    except BrokenPipeError:  # `gpu-profile diff | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu-profile", description="Ask matrix and lockfile, outside pytest.")
    parser.add_argument("--matrix", metavar="PATH", help="default: ini key gpu_profile_matrix, else profiles/matrix.yaml")
    parser.add_argument("--lock", metavar="PATH", help="default: gpu-profile.lock beside the matrix")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    check = verbs.add_parser("check", help="list missing, stale and orphaned profiles; needs no device")
    check.set_defaults(verb=_check)

    show = verbs.add_parser("show", help="print a locked profile, or one field of it")
    show.add_argument("case")
    show.add_argument("--field", help="print this field's value alone, for scripts")
    show.set_defaults(verb=_show)

    diff = verbs.add_parser("diff", help="say what differs between two lockfiles")
    diff.add_argument("old", type=Path)
    diff.add_argument("new", type=Path)
    diff.set_defaults(verb=_diff)

    prune = verbs.add_parser("prune", help="remove profiles whose case is no longer in the matrix")
    prune.add_argument("--dry-run", action="store_true", help="only say which")
    prune.set_defaults(verb=_prune)

    probe = verbs.add_parser("probe", help="try one batch size of one case, and print how it ended")
    probe.add_argument("case")
    probe.add_argument("--batch-size", type=_positive, required=True)
    probe.set_defaults(verb=_probe)
    return parser
