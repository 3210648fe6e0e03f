"""The `gpu-profile` command: what one asks of matrix and lock outside pytest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import cli_verbs
from harness.errors import HarnessError
from harness.session import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TROUBLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0 when all is well, 1 when something differs or fails, 2 on wrong input."""
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace, Paths], int] = options.run
    try:
        code = verb(options, _paths(options))
        sys.stdout.flush()
    except HarnessError as error:
        sys.stderr.write(f"gpu-profile: {error}\n")
        return _TROUBLE
    except BrokenPipeError:  # `gpu-profile diff OLD NEW | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return code


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--matrix",
        metavar="PATH",
        help="default: pytest's ini key gpu_profile_matrix, else profiles/matrix.yaml",
    )
    common.add_argument(
        "--lock",
        metavar="PATH",
        help="default: ini key gpu_profile_lock, else gpu-profile.lock beside the matrix",
    )
    parser = argparse.ArgumentParser(
        prog="gpu-profile", description="Ask matrix and lockfile, outside pytest."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace, Paths], int], text: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name, parents=[common], help=text, description=f"{text[0].upper()}{text[1:]}."
        )
        added.set_defaults(run=run)
        return added

    verb("check", cli_verbs.check, "list missing, stale and orphaned profiles; needs no GPU")
    show = verb("show", cli_verbs.show, "print a locked profile, or one field of it")
    show.add_argument("case", help="id, such as resnet18-h200-224")
    show.add_argument("--field", help="print the value of this field alone, for scripts")
    diff = verb("diff", cli_verbs.diff, "say what differs between two lockfiles")
    diff.add_argument("old", type=Path)
    diff.add_argument("new", type=Path)
    prune = verb("prune", cli_verbs.prune, "remove profiles whose case is not in the matrix")
    prune.add_argument("--dry-run", action="store_true", help="only say which")
    probe = verb("probe", cli_verbs.probe, "try one batch size of one case and print how it ended")
    probe.add_argument("case", help="id, such as resnet18-h200-224")
    probe.add_argument("--batch-size", type=int, required=True)
    return parser


def _paths(options: argparse.Namespace) -> Paths:
    """Resolve paths as a pytest run started here does: flag, ini key, default; and its module path."""
    # pytest has no public way to read its configuration without a run.
    from _pytest.config import _prepareconfig  # noqa: PLC0415

    config = _prepareconfig(["--noconftest", "-p", "no:cacheprovider", str(Path.cwd())])
    try:
        root = config.rootpath
        matrix = Path(options.matrix) if options.matrix else root / str(config.getini("gpu_profile_matrix"))
        lock = options.lock or config.getini("gpu_profile_lock")
        results = root / str(config.getini("gpu_profile_dir"))
    finally:
        config._ensure_unconfigure()  # noqa: SLF001 - the counterpart of _prepareconfig
    if not lock:
        return Paths(matrix, matrix.parent / "gpu-profile.lock", results, root)
    return Paths(matrix, Path(lock) if options.lock else root / str(lock), results, root)
