"""Makes a logger for each case, and gives it the case's record.

Standard input has the task: the module path, and for each case its logger and its record. The
first argument is the descriptor for answers, one line of JSON a case. Everything printed goes to
the log of the logger's process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from inspect import Parameter, signature
from typing import Any

from harness.loggers.inside.images import log_images

_MAX_ERROR = 2000


def main() -> None:
    """Log each case, and answer for it."""
    answers = int(sys.argv[1])
    os.set_inheritable(answers, False)
    task = json.load(sys.stdin)
    sys.path[:] = list(dict.fromkeys([*task["sys_path"], *sys.path]))
    for case in task["cases"]:
        answer: dict[str, Any] = {"case": case["record"]["case"], "error": None}
        try:
            log_case(build(case["logger"]), case["record"])
        except Exception as error:  # noqa: BLE001 - loggers raise what they like
            traceback.print_exc()
            first = next(iter(str(error).strip().splitlines()), "")
            name = getattr(error, "name", None)
            answer |= {
                "kind": type(error).__name__,
                "error": first[:_MAX_ERROR],
                "module": name if isinstance(name, str) else None,
            }
        os.write(answers, json.dumps(answer).encode() + b"\n")


def build(spec: dict[str, Any]) -> Any:
    """Return the object of a class_path and init_args; those among its arguments come first."""
    parts = spec["class_path"].split(".")
    arguments = {name: _built(value) for name, value in (spec.get("init_args") or {}).items()}
    return _find(parts)(**arguments)


def _built(value: Any) -> Any:
    if isinstance(value, dict):
        if "class_path" in value:
            return build(value)
        return {key: _built(item) for key, item in value.items()}
    return [_built(item) for item in value] if isinstance(value, list) else value


def _find(parts: list[str]) -> Any:
    """Return what a dotted path names: attributes of the longest module in it."""
    found: Any = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            if number == len(parts) and hasattr(found, "__path__") is False:
                raise
            found = importlib.import_module(".".join(parts[:number]))
    return found


def log_case(logger: Any, record: dict[str, Any]) -> None:
    """Give a logger the parameters, the metrics and the images of a case, and end its run."""
    status = "success" if record["status"] == "passed" else "failed"
    _log_parameters(logger, record)
    for step, metrics in record["metrics"]:
        logger.log_metrics(metrics, step=step)
    log_images(logger, record["images"])
    if hasattr(logger, "save"):
        logger.save()
    logger.finalize(status)
    _end(logger)


def _log_parameters(logger: Any, record: dict[str, Any]) -> None:
    """Log the parameters; TensorBoard's table of them has the final values beside them."""
    known = signature(logger.log_hyperparams).parameters.get("metrics")
    if known is not None and known.kind is Parameter.POSITIONAL_OR_KEYWORD:
        logger.log_hyperparams(record["parameters"], metrics=record["final"])
    else:
        logger.log_hyperparams(record["parameters"])


def _end(logger: Any) -> None:
    """End a run that a logger leaves open, so that the next case has one of its own: W&B, Comet."""
    experiment = getattr(logger, "experiment", None)
    for name in ("finish", "end"):
        end = getattr(experiment, name, None)
        if callable(end):
            end()
            return


if __name__ == "__main__":
    main()
