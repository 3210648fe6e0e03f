"""Predicts cases as it is asked, in the folder and the environment that it is started in.

Run it as `python -P -m harness.cli.elsewhere.program REQUEST ANSWERS`: two files, of one JSON
object, and of one in each line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.common import progress_aside
from harness.cli.elsewhere.answers import Asked, CaseAnswer, CaseRefusal, Held, key
from harness.cli.elsewhere.search_path import editable_folders, move
from harness.cli.find_paths import find_paths
from harness.cli.predicting.cases import cases_named, gpus_of
from harness.devices.cuda_environment import allocator_settings
from harness.errors import HarnessError, MachineError, WorkloadError
from harness.identity.recipe import recipe
from harness.predict.prediction import held, predict
from harness.predict.simulation import Simulation
from harness.simulated.library import library
from harness.zygote.prctl import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.matrix.case import Case
    from harness.predict.gpus import GpuFacts
    from harness.predict.holders import PeakHolders
    from harness.probes.open_cases import Surroundings


def main(request: Path, answers: Path) -> int:
    """Answer a request; return 130 after Ctrl-C, else 0: the answers say what went wrong."""
    die_with_parent(signal.SIGINT)
    asked: Asked = json.loads(request.read_text(encoding="utf-8"))
    if asked["moved"] is not None:
        move(asked["moved"], sys.path, editable_folders())
    with answers.open("a", encoding="utf-8") as file:

        def tell(answer: CaseAnswer | CaseRefusal) -> None:
            file.write(json.dumps(answer) + "\n")
            file.flush()

        try:
            with progress_aside():
                _answer(asked, tell)
        except KeyboardInterrupt:
            return 130
        except (HarnessError, OSError) as error:
            tell(_refused(None, None, error))
    return 0


def _answer(asked: Asked, tell: Callable[[CaseAnswer | CaseRefusal], None]) -> None:
    try:
        library()  # without it no case can be predicted
    except HarnessError as error:
        tell({**_refused(None, None, error), "is_machine": True})
        return
    allocator_settings(os.environ)  # refuses the settings that torch would refuse
    paths = find_paths(Namespace(matrix=asked["matrix"], lock=asked["lock"]))
    with tempfile.TemporaryDirectory() as folder, Simulation() as simulation:
        surroundings = replace(paths.surroundings, directory=Path(folder))
        for case in cases_named(asked["case"], paths, named_gpus=bool(asked["gpus"])):
            try:
                gpus = gpus_of(case, asked["gpus"])
            except HarnessError as error:
                tell(_refused(case.id, None, error))
                continue
            for gpu in gpus:
                try:
                    tell(_predict(case, gpu, asked, simulation, surroundings))
                except HarnessError as error:
                    tell(_refused(case.id, gpu.label, error))


def _predict(
    case: Case,
    gpu: GpuFacts,
    asked: Asked,
    simulation: Simulation,
    surroundings: Surroundings,
) -> CaseAnswer:
    opened = simulation.open(case, gpu, None, surroundings)
    with simulation.closed_by_errors():
        prediction = predict(
            opened, gpu, with_holders=asked["with_peak"], expected=asked["expected"]
        )
        wanted = asked["holders"].get(key(case.id, gpu.label))
        at_wanted = prediction.holders
        if wanted is not None and (at_wanted is None or at_wanted.batch_size != wanted):
            at_wanted = held(opened, wanted)
    description = opened.opened.description
    made = recipe(case, allocator_settings(os.environ) | description.torch_settings)
    return {
        "kind": "predicted",
        "case": case.id,
        "gpu": gpu.label,
        "max_batch_size": prediction.max_batch_size,
        "safe_batch_size": prediction.safe_batch_size,
        "bounded_by": prediction.bounded_by,
        "peak_memory_bytes": prediction.peak_memory_bytes,
        "memory_limit_bytes": prediction.memory_limit_bytes,
        "max_drop": case.bounds.batch_size.max_drop,
        "torch": prediction.made_with.get("torch", ""),
        "settings": dict(made.settings),
        "workload": dict(description.workload),
        "peak": _held(prediction.holders),
        "wanted": None if wanted is None else _held(at_wanted),
        "notes": list(prediction.notes),
    }


def _held(holders: PeakHolders | None) -> Held | None:
    if holders is None:
        return None
    return {
        "batch_size": holders.batch_size,
        "holders": holders.by_name(),
        "lines": holders.lines(),
    }


def _refused(case: str | None, gpu: str | None, error: HarnessError | OSError) -> CaseRefusal:
    return {
        "kind": "refused",
        "case": case,
        "gpu": gpu,
        "reason": str(error),
        "detail": error.detail if isinstance(error, WorkloadError) else "",
        "is_machine": isinstance(error, (MachineError, OSError)),
    }


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
