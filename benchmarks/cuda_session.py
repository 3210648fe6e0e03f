"""Runs the experiments that need a real GPU: in one call of eight minutes, and one of four.

    python benchmarks/cuda_session.py --json cuda.json --call 1
    python benchmarks/cuda_session.py --json cuda.json --call 2
    python benchmarks/cuda_session.py --json try.json --call 1 --simulate H200
    python benchmarks/cuda_session.py --json h200.json --record --simulate H200

Each fact is on disk as soon as it is found, and a call ends by itself. See benchmarks/CUDA.md.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

BEGUN = time.monotonic()
# For machines where the package is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))

from cuda_experiments.convolutions import half_workspaces, plain_workspaces, small_workspaces  # noqa: E402
from cuda_experiments.endings import killed_in_a_step, large_tensors  # noqa: E402
from cuda_experiments.failures import failures, update_fixtures  # noqa: E402
from cuda_experiments.identity import forking, identity  # noqa: E402
from cuda_experiments.peaks import speed_at_the_edge, step_peaks  # noqa: E402
from cuda_experiments.searching import cold_searches, configured_searches, eight_workloads  # noqa: E402
from cuda_experiments.session import Planned, SessionFile, ended_by, run_session  # noqa: E402
from cuda_experiments.setting import Setting  # noqa: E402
from cuda_experiments.simulation import RECORDED, enter, expected_of, keep_values  # noqa: E402
from cuda_experiments.whole_runs import whole_runs  # noqa: E402

from harness.errors import HarnessError  # noqa: E402
from harness.simulated.mark import is_simulated  # noqa: E402

EXPERIMENTS: dict[str, Planned] = {
    "1": Planned("identity and totals", identity, 45),
    "7": Planned("eight workloads", eight_workloads, 200),
    "11": Planned("convolutions of twenty networks, float32", plain_workspaces, 107),
    "3": Planned("out of memory in every way", failures, 120),
    "2": Planned("forking", forking, 35),
    "4": Planned("cold searches", cold_searches, 105),
    "8": Planned("killed in a step", killed_in_a_step, 15),
    "5": Planned("peaks per step", step_peaks, 35),
    "9": Planned("whole runs", whole_runs, 42),
    "12": Planned("convolutions of twenty networks, bfloat16", half_workspaces, 80),
    "13": Planned("the same, small batches", small_workspaces, 60),
    "14": Planned("cold searches in four configurations", configured_searches, 120),
    "6": Planned("speed at the edge", speed_at_the_edge, 45),
    "10": Planned("2^31 elements", large_tensors, 30),
}
"""The experiments, the most valuable first."""
CALLS: dict[str, tuple[float, tuple[str, ...]]] = {
    "1": (480.0, ("1", "7", "11", "3")),
    "2": (240.0, ("2", "4", "8", "5", "9")),
}
"""The seconds of each call, and the experiments that it begins with."""
_BUDGET, _LEAST_BUDGET = 4 << 30, 256 << 20


def chosen(options: argparse.Namespace, file: SessionFile) -> dict[str, Planned]:
    """Return the experiments of a call, in their order.

    A call goes on with all that is not done yet, so that no minute of a GPU is left over.
    """
    if options.record:
        numbers = list(RECORDED)
    elif options.only:
        numbers = options.only.split(",")
    else:
        first = CALLS[options.call][1]
        numbers = [*first, *(number for number in EXPERIMENTS if number not in first)]
        numbers = [number for number in numbers if file.status(number) != "done"]
    return {number: EXPERIMENTS[number] for number in numbers}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; ends the process where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json", type=Path, required=True, help="file for the facts; an existing one is extended"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--call", choices=[*CALLS], help="what a real GPU is asked in each call")
    what.add_argument("--only", help="numbers of experiments, with commas, done or not")
    what.add_argument(
        "--record", action="store_true", help="keep what the simulation says, for later sessions"
    )
    what.add_argument(
        "--fixtures", type=Path, help="replace recorded exceptions by those that a GPU has shown"
    )
    parser.add_argument("--directory", type=Path, help="folder for logs; default: beside the JSON")
    parser.add_argument(
        "--seconds", type=float, help="end by then; default: the call's, else no limit"
    )
    parser.add_argument("--simulate", metavar="GPU", help="run on a simulated GPU, such as H200")
    parser.add_argument(
        "--cut-down", action="store_true", help="only the least of each experiment, to try it"
    )
    options = parser.parse_args(arguments)
    if options.only and (unknown := set(options.only.split(",")) - set(EXPERIMENTS)):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not one of {', '.join(EXPERIMENTS)}")
    if options.record and not (options.simulate or is_simulated()):
        parser.error("--record needs --simulate GPU")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run a call of a session; exit code 1 when an experiment crashed, or when it cannot run."""
    options = parse(arguments)
    beside = options.json.absolute().parent / f"{options.json.stem}-files"
    directory = (options.directory or beside).absolute()
    try:
        if options.simulate and not is_simulated():
            enter(options.simulate, directory, sys.argv if arguments is None else arguments)
        file = SessionFile(
            options.json,
            simulated=is_simulated(),
            cut_down=options.cut_down,
        )
        if options.fixtures:
            rows = update_fixtures(
                options.fixtures, file.content["experiments"].get("3", {}).get("facts", {})
            )
            print(f"{len(rows)} records replaced or added:", *rows, sep="\n  ")
            return 0
        return _run(options, file, directory)
    except HarnessError as error:
        print(f"cuda_session: {error}", file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, file: SessionFile, directory: Path) -> int:
    seconds = options.seconds or (CALLS[options.call][0] if options.call else float("inf"))
    planned = chosen(options, file)
    if options.record:
        # As long as it takes.
        planned = {number: Planned(one.title, one.run, 7200) for number, one in planned.items()}

    def last_words() -> None:
        left = [number for number in EXPERIMENTS if file.status(number) != "done"]
        print(
            f"{time.monotonic() - BEGUN:.0f} s; left: "
            + ("; ".join(f"{number} {file.status(number)}" for number in left) or "nothing"),
            flush=True,
        )

    with ended_by(BEGUN + seconds, last_words):
        setting = Setting(
            budget_bytes=_LEAST_BUDGET if options.cut_down else _BUDGET,
            directory=directory,
            simulated=is_simulated(),
            cut_down=options.cut_down,
            recording=options.record,
        )
        name = setting.device().identity.name
        # A simulation that is recorded starts from nothing, and one cut down is of other workloads.
        alone = options.record or options.cut_down
        expected = {} if alone else expected_of(name, version("torch"))
        setting = replace(setting, expected=expected)
        file.content |= {
            "gpu": name,
            "budget_bytes": setting.budget_bytes,
            "compared_with": expected.get("of"),
            "machine": platform.platform(),
            "python": platform.python_version(),
            "torch": version("torch"),
        }
        run_session(file, setting, planned, deadline=BEGUN + seconds)
    if options.record:
        keep_values(name, file.content)
    last_words()
    return int(any(file.status(number) == "crashed" for number in planned))


if __name__ == "__main__":
    sys.exit(main())
