"""Opens the session of a run: reads its options, and decides whether it measures or predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.file_locks import WAIT_SECONDS
from harness.matrix.presets import parse_preset
from harness.measure.measuring import Measuring
from harness.predict.predicting import Predicting
from harness.run.checking import CheckingSession
from harness.run.fleet.opening import open_fleet
from harness.run.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.matrix.presets import PresetChoice
    from harness.run.paths import Paths
    from harness.run.session import Procedure, Update

# In seconds. What other programs hold a GPU's memory for is not known; another run's case ends.
_MEMORY_WAIT = 60.0
# One day: a longer wait would be a hang.
_MAX_WAIT = 86_400


def open_session(
    paths: Paths, options: Mapping[str, Any], *, preset_flag: str | None, run_id: str | None
) -> Session:
    """Open the session that the options ask for. Raises HarnessError, also for the matrix.

    options: the values of flags, ini keys and defaults.
    preset_flag: the preset of the command line; None where it has none.
    run_id: the id that the controller gave to this worker's run.
    """
    memory_wait, lock_wait = _waits(str(options["gpu_profile_wait"]))
    cases = paths.cases(_preset(str(options["gpu_profile_preset"])))
    predicts, update = options["gpu_profile_predict"], _update(options["gpu_profile_update"])
    executor = options["gpu_profile_executor"]
    if cases[0].preset == "production":
        _refuse_with_production(
            "--gpu-profile-update" if update else "--gpu-profile-executor" if executor else "",
            predicts=predicts,
        )
        leave = " --gpu-profile-preset none" if preset_flag is None else ""
        return CheckingSession(paths, cases, leave)
    share = bool(options["gpu_profile_share"])
    procedure: Procedure
    if executor:
        procedure = open_fleet(paths, options, (memory_wait, lock_wait))
    elif predicts:
        procedure = Predicting()
    else:
        procedure = Measuring(memory_wait, lock_wait, share=share)
    return Session(
        paths,
        cases,
        procedure,
        update=update,
        preset_flag=f" --gpu-profile-preset {preset_flag}" if preset_flag else "",
        wait_seconds=lock_wait,
        run_id=run_id,
    )


def _update(option: Any) -> Update | None:
    return "new" if option == "new" else "all" if option else None


def _refuse_with_production(flag: str, *, predicts: bool) -> None:
    flag = flag or ("--gpu-profile-predict" if predicts else "")
    if flag:
        raise HarnessError(
            f"{flag} is not allowed with the preset production, which measures and predicts "
            "nothing: it checks what is locked. Leave out one of them; --gpu-profile-preset none "
            "leaves out the preset of the matrix or of the ini file"
        )


def _preset(text: str) -> PresetChoice | None:
    try:
        return parse_preset(text) if text else None
    except ValueError as error:
        raise HarnessError(f"--gpu-profile-preset (ini: gpu_profile_preset): {error}") from None


def _waits(text: str) -> tuple[float, float]:
    """Read --gpu-profile-wait; return the seconds to wait for memory, and for other runs."""
    if not text:
        return _MEMORY_WAIT, WAIT_SECONDS
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_WAIT:
        raise HarnessError(
            f"--gpu-profile-wait {text} is not allowed; a number of seconds from 0 to {_MAX_WAIT}"
        )
    return seconds, seconds
