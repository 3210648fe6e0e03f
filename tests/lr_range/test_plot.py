"""The picture and the JSON of an LR range test."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lr_results import CONTROL, FOUND, HORIZON, POINTS, RATES, REFUSED, WARM, trials
from matplotlib.figure import Figure
from matplotlib.image import imread

from harness.lr_range.found import Found, Result
from harness.lr_range.plot import plot, save_curve
from harness.lr_range.trials import Trials, rate_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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


def draw(path: Path, result: Result, title: str = "resnet18-h200-224, batch 3328") -> None:
    """Plot a result."""
    plot(path, title=title, result=result)


def texts(figure: Figure) -> str:
    """Return all texts inside the upper axes, without line breaks."""
    return " ".join(text.get_text() for text in figure.axes[0].texts).replace("\n", " ")


def labels(figure: Figure) -> list[str]:
    """Return the texts of the legend."""
    legend = figure.axes[0].get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def marks(figure: Figure, marker: str) -> list[list[tuple[float, float]]]:
    """Return the points of each line of the upper axes that has such a marker, and any points."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() == marker]
    points = [
        list(
            zip(
                np.asarray(line.get_xdata()).tolist(),
                np.asarray(line.get_ydata()).tolist(),
                strict=True,
            )
        )
        for line in lines
    ]
    return [one for one in points if one]


@pytest.mark.parametrize(
    ("result", "height"), [(FOUND, 960), (WARM, 720), (REFUSED, 960)], ids=["found", "warm", "no"]
)
def test_plot_is_a_png_of_useful_size(tmp_path: Path, result: Result, height: int) -> None:
    """It is 1200 pixels wide, and higher with a sweep, in folders that did not exist before."""
    path = tmp_path / "case" / "lr_range.png"
    draw(path, result)
    assert (height, 1200) == imread(path).shape[:2]


def test_plot_marks_suggestion_and_range(tmp_path: Path, drawn: list[Figure]) -> None:
    """A vertical line on a log axis marks the suggestion, and a band its range, in numbers too."""
    draw(tmp_path / "lr.png", FOUND)
    axes, found = drawn[0].axes[0], FOUND.found
    assert found is not None
    verticals = [
        line
        for line in axes.lines
        if np.asarray(line.get_xdata()).tolist() == [found.learning_rate] * 2
    ]
    (band,) = axes.patches
    box = band.get_extents().transformed(axes.transData.inverted())
    assert ("log", 1) == (axes.get_xscale(), len(verticals))
    assert (found.lowest, found.highest) == pytest.approx((box.x0, box.x1))
    assert (
        f"suggested: {found.learning_rate:.3g} ({found.lowest:.3g} to {found.highest:.3g})"
        == texts(drawn[0])
    )


@pytest.mark.parametrize("best", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("swept", [False, True])
def test_text_of_the_suggestion_lies_within_the_picture(
    tmp_path: Path, drawn: list[Figure], best: float, *, swept: bool
) -> None:
    """On the left of the range, or on the right, or above it, where neither has room."""
    centre = round(4 * math.log10(best))
    for reach in (2, 4):
        seed = trials(best, range(centre - reach, centre + reach + 1, 2))
        result = replace(FOUND if swept else WARM, found=Found.of([seed.range()]), trials={0: seed})
        draw(tmp_path / "lr.png", result)
        (text,) = drawn[-1].axes[0].texts
        inside = drawn[-1].axes[0].get_window_extent()
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1


def test_plot_tells_the_refusal(tmp_path: Path, drawn: list[Figure]) -> None:
    """A refusal is there as a whole, with neither a vertical line nor a band."""
    draw(tmp_path / "lr.png", REFUSED)
    assert f"Refused: {REFUSED.refusal}".strip() == texts(drawn[0])
    assert [] == list(drawn[0].axes[0].patches)
    assert [5, 5] == [len(line) for line in marks(drawn[0], "o")]


@pytest.mark.parametrize("words", [1, 20, 2000])
@pytest.mark.parametrize("swept", [False, True])
def test_refusal_hides_no_trial(
    tmp_path: Path, drawn: list[Figure], words: int, *, swept: bool
) -> None:
    """The axis leaves room for its lines; a very long one is cut, and the JSON has all of it."""
    losses = FOUND.losses if swept else ()
    draw(tmp_path / "lr.png", replace(REFUSED, refusal="reason " * words, losses=losses))
    (figure,) = drawn
    (text,) = figure.axes[0].texts
    frame = text.get_bbox_patch()
    assert frame is not None
    highest = max(loss for line in marks(figure, "x") for _, loss in line)
    _, top = figure.axes[0].transData.transform((1e-2, highest))
    assert top < frame.get_window_extent().y0
    assert (words > 1000) == text.get_text().endswith(" ...")


def test_plot_has_a_line_per_seed(tmp_path: Path, drawn: list[Figure]) -> None:
    """It leads through the losses of the trials; the legend gives the seed and its rate."""
    draw(tmp_path / "lr.png", WARM)
    assert [
        [(rate_at(point), one.loss(point)) for point in POINTS if point < -4]
        for one in WARM.trials.values()
    ] == [[point for point in line if not math.isnan(point[1])] for line in marks(drawn[0], "o")]
    assert ["seed 0: 0.01", "seed 7: 0.0117", "diverged, or higher"] == labels(drawn[0])
    assert "loss of trials of 30 steps" == drawn[0].axes[0].get_ylabel()


def test_seed_without_both_ends_has_no_rate(tmp_path: Path, drawn: list[Figure]) -> None:
    """The legend names it alone."""
    flat = Trials(HORIZON, CONTROL, {-10: (2.0,) * HORIZON, -8: (2.0,) * HORIZON})
    draw(tmp_path / "lr.png", replace(REFUSED, trials={3: flat}))
    assert ["seed 3"] == labels(drawn[0])


def test_many_seeds_do_not_fill_the_legend(tmp_path: Path, drawn: list[Figure]) -> None:
    """All are drawn, and the first eight are named."""
    draw(tmp_path / "lr.png", replace(WARM, trials={seed: trials() for seed in range(20)}))
    assert 20 == len(marks(drawn[0], "o"))
    assert [f"seed {seed}: 0.01" for seed in range(8)] == labels(drawn[0])[:-1]


@pytest.mark.parametrize(
    "losses",
    [(2.0, math.nan), (math.inf,), (2.0,) * 9, tuple(1e3 + step for step in range(HORIZON))],
    ids=["nan", "inf", "ended", "far above"],
)
def test_diverged_trials_are_crosses_at_the_top(
    tmp_path: Path, drawn: list[Figure], losses: tuple[float, ...]
) -> None:
    """They do not squeeze the others, however high their losses are."""
    seed = trials(points=POINTS[:-1])
    seed.losses[-4] = losses
    draw(tmp_path / "lr.png", replace(WARM, trials={0: seed}))
    ((cross,),) = marks(drawn[0], "x")
    low, high = drawn[0].axes[0].get_ylim()
    assert 0.1 == pytest.approx(cross[0])
    assert 0.8 < low < 1.0
    assert 2.0 < cross[1] < high < 2.5


def test_sweep_is_drawn_below(tmp_path: Path, drawn: list[Figure]) -> None:
    """Raw losses are points and the smoothed ones a line, over the same rates as the trials."""
    draw(tmp_path / "lr.png", FOUND)
    above, below = drawn[0].axes
    raw, smoothed = below.lines
    assert list(RATES) == np.asarray(raw.get_xdata()).tolist()
    assert list(FOUND.losses) == np.asarray(raw.get_ydata()).tolist()
    assert "-" == smoothed.get_linestyle()
    assert above.get_xlim() == below.get_xlim()
    assert above.get_xlim()[0] < 1e-6


def test_diverged_end_of_the_sweep_does_not_squeeze_it(tmp_path: Path, drawn: list[Figure]) -> None:
    """Its axis fits the plateau and the drop."""
    losses = (*FOUND.losses[:45], *(10.0**power for power in range(1, 9)), math.nan)
    draw(tmp_path / "lr.png", replace(FOUND, losses=losses))
    low, high = drawn[0].axes[1].get_ylim()
    assert 0.5 < low < 1.1
    assert 2.0 < high < 3.0


CONSTANT = Trials(HORIZON, CONTROL, {-8: (0.0,) * HORIZON})
NOT_FINITE = Trials(HORIZON, CONTROL, {-8: (math.nan,), -6: (math.inf,)})


@pytest.mark.parametrize(
    ("seeds", "losses"),
    [
        ({}, (2.0,) * 57),
        ({0: CONSTANT}, (math.nan,)),
        ({0: NOT_FINITE}, (math.inf, 1.0)),
        ({0: NOT_FINITE, 1: CONSTANT}, (1e300, 1e-300, -1e300)),
        ({0: CONSTANT}, (2.0,)),
        ({0: Trials(HORIZON, CONTROL, {-8: (-1e30,) * HORIZON})}, (-2.0, -3.0) * 20),
    ],
)
def test_any_refused_test_can_be_drawn_and_saved(
    tmp_path: Path, seeds: dict[int, Trials], losses: tuple[float, ...]
) -> None:
    """Constant, missing, short, huge and other losses can be drawn, and make valid JSON."""
    result = replace(REFUSED, trials=seeds, losses=losses)
    draw(tmp_path / "lr.png", result)
    save_curve(tmp_path / "lr.json", title="t", result=result)
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    assert REFUSED.refusal == json.loads((tmp_path / "lr.json").read_text())["refusal"]


@pytest.mark.parametrize("title", ["a$_{$b", "x" * 300, "\\frac{ ü \n <b>", ""])
def test_title_may_be_any_text(tmp_path: Path, title: str) -> None:
    """It is no mathematics, and a long one does not shrink the axes."""
    path = tmp_path / "lr.png"
    draw(path, replace(REFUSED, refusal=f"$_{{$ {title}"), title=title)
    assert (960, 1200) == imread(path).shape[:2]


def test_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    """A second run replaces the picture and leaves no other file; the mode stays."""
    path = tmp_path / "lr.png"
    path.write_text("old")
    path.chmod(0o640)
    draw(path, WARM)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [path] == list(tmp_path.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_plot_leaves_pyplot_and_the_backend_alone(tmp_path: Path) -> None:
    """The import loads no matplotlib; drawing loads no pyplot and ignores the user's backend."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from harness.lr_range.found import Result\n"
        "from harness.lr_range.plot import plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plot(Path(sys.argv[1]), title='t', result=Result(None, 'r', 30, 2, {},"
        " (1e-3, 1e-2), (1.0, 1.0)))\n"
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
