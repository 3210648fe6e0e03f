"""Gives images to a logger that can hold them: by what it can do, whatever its name is."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def log_images(logger: Any, paths: list[str]) -> None:
    """Log PNG files; a logger that has no place for images gets none.

    Loggers with `log_image(key, images)`, as W&B's, take paths. An experiment with `log_artifact`
    and a run, as MLflow's, takes a file. One with `add_image`, as TensorBoard's, takes pixels, and
    one with `log_image`, as Comet's, a path.
    """
    for path in filter(Path.is_file, map(Path, paths)):
        _log_image(logger, path)


def _log_image(logger: Any, path: Path) -> None:
    if callable(getattr(logger, "log_image", None)):
        logger.log_image(key=path.stem, images=[str(path)])
        return
    experiment: Any = getattr(logger, "experiment", None)
    run = getattr(logger, "run_id", None)
    if run is not None and callable(getattr(experiment, "log_artifact", None)):
        experiment.log_artifact(run, str(path))
    elif callable(getattr(experiment, "add_image", None)):
        import matplotlib.image  # noqa: PLC0415 - loggers without images need none

        pixels = matplotlib.image.imread(path)
        experiment.add_image(path.stem, pixels[:, :, :3], 0, dataformats="HWC")
    elif callable(getattr(experiment, "log_image", None)):
        experiment.log_image(str(path), name=path.stem)
