"""The `gpu-profile` command: what one asks of matrix and lock outside pytest."""

from __future__ import annotations

import argparse
import io
import os
import sys
from contextlib import redirect_stderr
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import cli_calibrate, cli_check, cli_lock, cli_predict, cli_probe
from harness.errors import HarnessError
from harness.session import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_TROUBLE = 2
_INTERRUPTED = 130
_MAX_LINE = 300
_EPILOG = "Exit code: 0 all is well, 1 something differs or does not fit, 2 the question has no answer."
_CASE = "id, such as resnet18-h200-224"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code.

    0 when all is well; 1 when something differs or a probe does not fit; 2 when there is no answer: wrong
    input, a device that is not here, a workload that cannot be built; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.run
    try:
        code = verb(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `gpu-profile diff OLD NEW | head`
        # Python flushes once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("gpu-profile: interrupted\n")
        return _INTERRUPTED
    except (HarnessError, OSError) as error:
        separator = "\n" if "\n" in str(error) else " "
        sys.stderr.write(f"gpu-profile:{separator}{error}\n")
        return _TROUBLE
    return code


def _parser() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--matrix", metavar="PATH", help="default: as of a pytest run here, profiles/matrix.yaml"
    )
    where.add_argument(
        "--lock", metavar="PATH", help="default: as of a pytest run here, gpu-profile.lock beside the matrix"
    )
    parser = argparse.ArgumentParser(
        prog="gpu-profile", description="Ask matrix and lockfile, outside pytest.", epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=metadata.version("pytest-gpu-profile"))
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        parents: Sequence[argparse.ArgumentParser] = (where,),
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name, parents=parents, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=_EPILOG
        )
        added.set_defaults(run=run)
        return added

    add("check", _with_paths(cli_check.check), "list missing, stale and orphaned profiles; needs no GPU")
    show = add("show", _with_paths(cli_lock.show), "print a locked profile, or one field of it")
    show.add_argument("case", metavar="CASE", help=_CASE)
    show.add_argument(
        "--field", metavar="NAME", help="print this value alone, for scripts: batch_size, device.name"
    )
    diff = add("diff", cli_lock.diff, "say what differs between two lockfiles", parents=())
    diff.add_argument("old", metavar="OLD", type=Path)
    diff.add_argument("new", metavar="NEW", type=Path)
    prune = add("prune", _with_paths(cli_lock.prune), "remove profiles whose case is not in the matrix")
    prune.add_argument("--dry-run", action="store_true", help="only say which")
    _add_merge(
        add("merge", _with_paths(cli_lock.merge), "merge what other machines have measured into the lockfile")
    )
    probe = add(
        "probe", _with_paths(cli_probe.probe), "try one batch size of one case and print how it ended"
    )
    probe.add_argument("case", metavar="CASE", help=_CASE)
    probe.add_argument("--batch-size", metavar="N", type=int, required=True)
    _add_predict(
        add(
            "predict",
            _with_paths(cli_predict.predict),
            "compute the largest batch of one case, or of any workload, on GPUs that are not here",
        )
    )
    add(
        "calibrate",
        _with_paths(cli_calibrate.calibrate),
        "measure what predictions take for known of this machine's GPU, and compare them with what is locked",
    )
    return parser


def _add_merge(merge: argparse.ArgumentParser) -> None:
    merge.add_argument(
        "candidates",
        metavar="CANDIDATE",
        nargs="+",
        type=Path,
        help="candidate.lock of a run, with report.json beside it, or another lockfile",
    )
    merge.add_argument(
        "--base",
        metavar="PATH",
        type=Path,
        help="the lockfile that they were made from; default: the lockfile as it is",
    )


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("case", metavar="CASE", nargs="?", help=_CASE)
    predict.add_argument(
        "--gpu",
        metavar="LABEL",
        action="append",
        help="a GPU such as H200 or A100-40GB, also several times; default: the case's own",
    )
    predict.add_argument(
        "--resolution",
        metavar="VALUE",
        action="append",
        help="another resolution than the case's, also several times",
    )
    predict.add_argument(
        "--module",
        metavar="CLASS_PATH",
        help="in place of CASE: a class path, or {class_path: ..., init_args: {...}}, as the matrix has it",
    )
    predict.add_argument("--data", metavar="CLASS_PATH", help="of --module, in the same form")
    predict.add_argument("--trainer", metavar="SETTINGS", help="of --module: {precision: bf16-mixed}")
    predict.add_argument("--plot", metavar="PATH", help="draw the memory of a training step over time (PNG)")


def _with_paths(verb: Callable[[argparse.Namespace, Paths], int]) -> Callable[[argparse.Namespace], int]:
    return lambda options: verb(options, find_paths(options.matrix, options.lock))


def find_paths(matrix: str | None, lock: str | None) -> Paths:
    """Resolve paths as a pytest run started here does: flag, `addopts`, ini key, default.

    Extends `sys.path` by the ini key `pythonpath`, as pytest does. Raises HarnessError when pytest refuses
    its configuration.
    """
    # Plain assertions: what pytest would do to imports is for tests. No capture: there will be none.
    arguments = ["--assert=plain", "--capture=no"]
    given = {"--gpu-profile-matrix": matrix, "--gpu-profile-lock": lock}
    arguments += [f"{flag}={path}" for flag, path in given.items() if path is not None]
    reader = _PathReader()
    said = io.StringIO()
    reason = ""
    try:
        with redirect_stderr(said):
            pytest.main(arguments, plugins=[reader])
    except _PathsFoundError as found:
        sys.path[:0] = found.python_path
        return found.paths
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - a plugin that pytest loads may raise anything
        reason = f"{type(error).__name__}: {error}"
    # Cut: when two plugins collide, pluggy's message holds a line with all there are.
    lines = [line[:_MAX_LINE] for line in (reason or said.getvalue()).splitlines() if line.strip()]
    raise HarnessError(
        "pytest, whose configuration says where matrix and lock are, cannot start here: "
        + "\n".join(lines).removeprefix("ERROR: ")
    )


class _PathsFoundError(Exception):
    """Not an error: ends pytest once it has read its configuration."""

    def __init__(self, paths: Paths, python_path: list[str]) -> None:
        super().__init__()
        self.paths = paths
        self.python_path = python_path


class _PathReader:
    """A plugin for pytest that reads the paths as soon as options and ini file are known.

    That is before any conftest is imported and before other plugins act on their options: a conftest that
    raises does no harm, and pytest-cov does not erase what an earlier run has collected.
    """

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_load_initial_conftests(self, early_config: pytest.Config) -> Iterator[None]:
        """End pytest here: the part before a wrapper's yield runs before all that is wrapped."""
        raise _PathsFoundError(
            _paths(early_config), [str(path) for path in early_config.getini("pythonpath")]
        )
        yield


def _paths(config: pytest.Config) -> Paths:
    """Resolve a flag's path from where pytest was started, an ini key's and a default's from rootdir."""
    flags = vars(config.known_args_namespace)
    if "gpu_profile_matrix" not in flags:
        raise HarnessError(
            "pytest does not load the plugin gpu_profile here, whose options say where matrix and lock are: add "
            "-p gpu_profile to the ini key addopts, or remove what turns it off (PYTEST_DISABLE_PLUGIN_AUTOLOAD, "
            "-p no:gpu_profile)"
        )

    def option(name: str) -> str:
        return str(config.getini(name) if flags[name] is None else flags[name])

    def resolve(name: str) -> Path:
        folder = config.rootpath if flags[name] is None else config.invocation_params.dir
        return folder / option(name)

    matrix = resolve("gpu_profile_matrix")
    beside = matrix.parent / "gpu-profile.lock"
    lock = resolve("gpu_profile_lock") if option("gpu_profile_lock") else beside
    return Paths(matrix, lock, resolve("gpu_profile_dir"), config.rootpath)
