"""Shortening tracebacks for reports."""

from __future__ import annotations

from pathlib import Path

import harness
from harness.report.tracebacks import shorten

HARNESS = f"{Path(harness.__file__).parent}/probe_tasks/train.py"
SITE = "/env/lib/python3.11/site-packages"


def traceback(*frames: tuple[str, str], error: str = "ValueError: no") -> str:
    """Return a traceback with these frames, each a path and a function."""
    lines = [
        f'  File "{path}", line 7, in {name}\n    {name}()\n    ^^^^^^\n' for path, name in frames
    ]
    return f"Traceback (most recent call last):\n{''.join(lines)}{error}\n"


CALLERS = (
    (HARNESS, "run"),
    (f"{SITE}/lightning/pytorch/trainer.py", "fit"),
    (f"{SITE}/torch/optim/adam.py", "step"),
)


def test_callers_of_the_workload_are_left_out() -> None:
    """Frames before the workload's own are counted and left out; those that it calls stay."""
    full = traceback(
        *CALLERS, ("/home/me/models.py", "forward"), (f"{SITE}/torch/nn/linear.py", "linear")
    )
    expected = """\
Traceback (most recent call last):
  (3 frames of gpu-profile, Lightning and torch left out)
  File "/home/me/models.py", line 7, in forward
    forward()
    ^^^^^^
  File "/env/lib/python3.11/site-packages/torch/nn/linear.py", line 7, in linear
    linear()
    ^^^^^^
ValueError: no"""
    assert expected == shorten(full)


def test_each_traceback_of_a_chain_is_shortened() -> None:
    """Both tracebacks of an exception that was raised from another are shortened."""
    link = "\nThe above exception was the direct cause of the following exception:\n\n"
    text = shorten(
        traceback(*CALLERS, ("/m.py", "a")) + link + traceback(*CALLERS[:1], ("/m.py", "b"))
    )
    assert ["(3 frames", "(1 frames"] == [
        line[2:11] for line in text.splitlines() if "left out" in line
    ]


def test_traceback_without_frames_of_the_workload_is_kept() -> None:
    """A traceback without frames of the workload, and a text without frames, stay unchanged."""
    whole = traceback(*CALLERS)
    assert [whole.rstrip(), "Killed"] == [shorten(whole), shorten("Killed\n")]


def test_user_code_in_site_packages_is_the_users() -> None:
    """Frames of another installed package, such as one of models, stay."""
    text = shorten(
        traceback(*CALLERS, (f"{SITE}/timm/models.py", "forward"), ("/home/me/loss.py", "loss"))
    )
    assert "timm/models.py" in text


def test_long_lines_and_many_lines_are_cut() -> None:
    """A long line and a long traceback are cut, and each cut states its size."""
    text = shorten(
        traceback(
            *[("/home/me/models.py", "again")] * 300, error="RecursionError: " + "x" * 1_000_000
        )
    )
    lines = text.splitlines()
    assert 101 == len(lines)
    assert "  (802 lines left out)" == lines[20]
    assert lines[-1] == "RecursionError: " + "x" * 484 + "… (999516 more characters)"


def test_frames_of_gpu_profile_are_left_out_where_its_error_says_all() -> None:
    """Those of an error of its own, which names what is wrong and what to do."""
    expected = """\
Traceback (most recent call last):
  (4 frames of gpu-profile, Lightning and torch left out)
harness.errors.HarnessError: step() returned 'a', a str"""
    own = "harness.errors.HarnessError: step() returned 'a', a str"
    assert expected == shorten(traceback(*CALLERS, (HARNESS, "number"), error=own))


def test_many_frames_take_no_time() -> None:
    """A pattern that looks behind the frames would try each of them in several ways."""
    whole = traceback(*[(f"{SITE}/torch/nn.py", "call")] * 90, error="ValueError: no")
    assert len(shorten(whole.replace("line 7", "line 1779")).splitlines()) > 90
