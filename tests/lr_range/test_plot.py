"""The picture and the JSON of an LR range test."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from projects import DATA

from harness.lr_range.plot import plot, save_curve
from harness.lr_range.suggestion import Suggestion, geometric_sweep, suggest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REAL = json.loads((DATA / "lr_sweeps.json").read_text())
RATES = geometric_sweep(1e-6, 10.0, 200)
ACCEPTED = REAL["char_lm|adamw|32"]["losses_per_seed"]
REFUSED = REAL["digits_vit|sgd|16"]["losses_per_seed"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list that collects every figure that is saved."""
    figures: list[Figure] = []
    save: Callable[..., None] = Figure.savefig

    def savefig(figure: Figure, *arguments: Any, **keywords: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def draw(
    path: Path, losses: list[list[float | None]], title: str = "resnet18-h200-224, batch 3328"
) -> Suggestion:
    """Plot `losses` over the default range."""
    suggestion = suggest(RATES, losses)
    plot(path, title=title, learning_rates=RATES, losses_per_seed=losses, suggestion=suggestion)
    return suggestion


def texts(figure: Figure) -> str:
    """Return all texts inside the axes, without line breaks."""
    return " ".join(text.get_text() for text in figure.axes[0].texts).replace("\n", " ")


@pytest.mark.parametrize("losses", [ACCEPTED, REFUSED], ids=["accepted", "refused"])
def test_plot_is_a_png_of_useful_size(tmp_path: Path, losses: list[list[float | None]]) -> None:
    """The plot is a PNG of 1200 x 720 pixels, in folders that did not exist before."""
    path = tmp_path / "case" / "lr_range.png"
    draw(path, losses)
    height, width, _ = imread(path).shape
    assert (width, height) == (1200, 720)


def test_plot_marks_the_suggestion(tmp_path: Path, drawn: list[Figure]) -> None:
    """A vertical line on a log axis marks the suggested learning rate, with its value."""
    suggestion = draw(tmp_path / "lr.png", ACCEPTED)
    axes = drawn[0].axes[0]
    verticals = [
        line
        for line in axes.lines
        if np.asarray(line.get_xdata()).tolist() == [suggestion.learning_rate] * 2
    ]
    assert axes.get_xscale() == "log"
    assert len(verticals) == 1
    assert f"suggested: {suggestion.learning_rate:.3g}" == texts(drawn[0])


def test_plot_tells_the_refusal(tmp_path: Path, drawn: list[Figure]) -> None:
    """A refused sweep shows the whole refusal and no vertical line."""
    suggestion = draw(tmp_path / "lr.png", REFUSED)
    assert f"Refused: {suggestion.refusal}" == texts(drawn[0])
    assert all(np.size(line.get_xdata()) > 2 for line in drawn[0].axes[0].lines)


def test_plot_has_points_and_a_line_per_seed(tmp_path: Path, drawn: list[Figure]) -> None:
    """Each seed has raw points and a smoothed line; the legend gives its 75% point."""
    suggestion = draw(tmp_path / "lr.png", ACCEPTED)
    axes = drawn[0].axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [
        f"sweep {number}: {rate:.3g}" for number, rate in enumerate(suggestion.per_seed, start=1)
    ] == [text.get_text() for text in legend.get_texts()]
    assert sum(line.get_marker() == "." for line in axes.lines) == 3
    smoothed = [
        tuple(np.asarray(line.get_ydata()).tolist())
        for line in axes.lines
        if line.get_linestyle() == "-"
    ][:3]
    assert list(suggestion.smoothed) == smoothed


def test_diverged_tail_does_not_squeeze_the_curve(tmp_path: Path, drawn: list[Figure]) -> None:
    """The loss axis fits the plateau and the drop, however far the loss explodes."""
    finite = [loss for losses in ACCEPTED for loss in losses if loss is not None]
    draw(tmp_path / "lr.png", ACCEPTED)
    low, high = drawn[0].axes[0].get_ylim()
    assert max(finite) > 1000
    assert 1.5 < low < 2.7
    assert 4.7 < high < 6


@pytest.mark.parametrize(
    "losses",
    [
        [[2.0] * 200],
        [[0.0] * 200],
        [[math.nan] * 200],
        [[]],
        [[None], [2.0] * 200, [1e30] * 3],
        [[-2.0 - step / 100 for step in range(200)]],
        *([[loss * 10.0**-4 for loss in range(count, 0, -1)]] for count in (1, 2, 3)),
    ],
)
def test_any_refused_sweep_can_be_drawn(tmp_path: Path, losses: list[list[float | None]]) -> None:
    """Constant, missing, short and falling losses can be drawn too."""
    path = tmp_path / "lr.png"
    draw(path, losses)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_learning_rate_that_never_moved_can_be_drawn(tmp_path: Path) -> None:
    """A sweep whose learning rate is constant can be drawn."""
    rates, losses = [1e-3] * 20, [[2.0] * 20]
    path = tmp_path / "lr.png"
    plot(
        path,
        title="t",
        learning_rates=rates,
        losses_per_seed=losses,
        suggestion=suggest(rates, losses),
    )
    assert path.read_bytes().startswith(b"\x89PNG")


def test_title_is_not_mathematics(tmp_path: Path) -> None:
    """A title with dollar signs is drawn as plain text."""
    path = tmp_path / "lr.png"
    draw(path, ACCEPTED, title="a$_{$b")
    assert path.exists()


def test_curve_is_json_with_all_numbers(tmp_path: Path) -> None:
    """The JSON holds the sweeps and the result, with null for losses that are not finite."""
    path = tmp_path / "case" / "lr_range.json"
    losses = [[*ACCEPTED[0][:-2], math.nan, math.inf]]
    suggestion = suggest(RATES, losses)
    save_curve(
        path, title="case", learning_rates=RATES, losses_per_seed=losses, suggestion=suggestion
    )
    curve = json.loads(path.read_text())
    assert list(RATES) == curve["learning_rates"]
    assert [[*ACCEPTED[0][:-2], None, None]] == curve["losses_per_seed"]
    assert [list(smoothed) for smoothed in suggestion.smoothed] == curve["smoothed_per_seed"]
    assert suggestion.learning_rate == curve["learning_rate"]
    assert list(suggestion.per_seed) == curve["learning_rate_per_seed"]
    assert curve["refusal"] is None


def test_curve_gives_the_same_suggestion_again(tmp_path: Path) -> None:
    """The data in the JSON file give the same suggestion."""
    path = tmp_path / "lr_range.json"
    suggestion = suggest(RATES, REFUSED)
    save_curve(
        path, title="case", learning_rates=RATES, losses_per_seed=REFUSED, suggestion=suggestion
    )
    curve = json.loads(path.read_text())
    assert suggestion == suggest(curve["learning_rates"], curve["losses_per_seed"])


def test_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    """A second run replaces the picture and leaves no other file; the mode stays."""
    path = tmp_path / "lr.png"
    path.write_text("old")
    path.chmod(0o640)
    draw(path, ACCEPTED)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [path] == list(tmp_path.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    """When a curve cannot be written, the old file stays and nothing is left beside it."""
    path = tmp_path / "lr_range.json"
    path.write_text("old")
    suggestion = suggest(RATES, ACCEPTED)
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_curve(
            path,
            title=object(),  # type: ignore[arg-type] # the write has to fail
            learning_rates=RATES,
            losses_per_seed=ACCEPTED,
            suggestion=suggestion,
        )
    assert path.read_text() == "old"
    assert [path] == list(tmp_path.iterdir())


def test_plot_leaves_pyplot_and_the_backend_alone(tmp_path: Path) -> None:
    """The import loads no matplotlib; drawing loads no pyplot and ignores the user's backend."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.lr_range.plot import plot\n"
        "from harness.lr_range.suggestion import suggest\n"
        "assert 'matplotlib' not in sys.modules\n"
        "rates, losses = [1e-3, 1e-2], [[1.0, 1.0]]\n"
        "plot(Path(sys.argv[1]), title='t', learning_rates=rates, losses_per_seed=losses,"
        " suggestion=suggest(rates, losses))\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lr.png")],
        env=os.environ | {"MPLBACKEND": "TkAgg"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
