"""Images go where a logger has a place for them, whatever its name is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.loggers.inside.images import log_images

if TYPE_CHECKING:
    from pathlib import Path


class Calls:
    """Records calls of the methods that it is made with."""

    def __init__(self, *methods: str, **attributes: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for method in methods:
            setattr(self, method, self._recorder(method))
        for name, value in attributes.items():
            setattr(self, name, value)

    def _recorder(self, method: str) -> Any:
        def call(*arguments: Any, **more: Any) -> None:
            self.calls.append((method, *arguments, *more.values()))

        return call


@pytest.fixture
def plot(tmp_path: Path) -> str:
    """Make a small picture."""
    import matplotlib.image  # noqa: PLC0415 - others need none
    import numpy as np  # noqa: PLC0415 - as above

    path = tmp_path / "lr_range.png"
    matplotlib.image.imsave(path, np.zeros((2, 3, 3)))
    return str(path)


def test_logger_with_log_image_takes_paths(plot: str) -> None:
    """W&B's logger has this method."""
    logger = Calls("log_image")
    log_images(logger, [plot])
    assert [("log_image", "lr_range", [plot])] == logger.calls


def test_experiment_with_artifacts_of_a_run_takes_a_file(plot: str) -> None:
    """MLflow's client has `log_image`, too, with other arguments."""
    experiment = Calls("log_artifact", "log_image")
    log_images(Calls(experiment=experiment, run_id="7"), [plot])
    assert [("log_artifact", "7", plot)] == experiment.calls


def test_experiment_with_add_image_takes_pixels(plot: str) -> None:
    """TensorBoard's writer has this method; there is no alpha channel."""
    experiment = Calls("add_image")
    log_images(Calls(experiment=experiment), [plot])
    ((method, tag, pixels, step, layout),) = experiment.calls
    assert ("add_image", "lr_range", (2, 3, 3), 0, "HWC") == (
        method,
        tag,
        pixels.shape,
        step,
        layout,
    )


def test_experiment_with_log_image_takes_a_path(plot: str) -> None:
    """Comet's experiment has this method."""
    experiment = Calls("log_image")
    log_images(Calls(experiment=experiment), [plot])
    assert [("log_image", plot, "lr_range")] == experiment.calls


def test_other_loggers_and_missing_files_are_left_out(plot: str) -> None:
    """A CSV file has no place for images."""
    logger, images = Calls(experiment=Calls("log")), Calls("log_image")
    log_images(logger, [plot])
    log_images(images, [f"{plot}.gone"])
    assert ([], [], []) == (logger.calls, logger.experiment.calls, images.calls)  # type: ignore[attr-defined] # made
