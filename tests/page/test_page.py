"""The page of a run: what stands in it, what cannot, how large it is, and what it refuses."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from case_results import measurement, result, several
from hostile_words import assert_harmless
from page_reports import MARKUP, as_json, every_state, hostile, many, page_report

from harness.errors import HarnessError
from harness.page import read_reports, render_page, report_of, write_page
from harness.page.history import Locks

if TYPE_CHECKING:
    from pathlib import Path

    from harness.page.report_model import Report

NO_LOCKS = Locks()


def page(report: Report) -> str:
    """Return the page without the library of the charts."""
    return re.sub(r"<script>.*?</script>", "", render_page(report, NO_LOCKS), flags=re.DOTALL)


def words(text: str) -> str:
    """Return the text of a page, as a reader without a picture has it."""
    shown = re.sub(r"<(style|script).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", shown)).split())


def numbers(text: str) -> list[dict[str, Any]]:
    """Return the numbers that the page holds for its charts."""
    found = re.search(r'id="numbers">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: list[dict[str, Any]] = json.loads(found[1])
    return data


def test_summary_and_table_name_every_case() -> None:
    """The page begins with the counts; each case has a row with its status in words."""
    text = words(page(page_report(*several())))
    assert "5 cases: 2 failed, 1 error, 1 skipped, 1 passed" in text
    assert "alexnet-cpu-256MiB-32 error" in text
    assert "resnet18-h200-224 skipped" in text
    assert "vit_tiny-cpu-256MiB-32 failed 412 -12.5% refused 89.8%" in text


def test_failures_come_first() -> None:
    """The cases that need somebody stand above those that do not."""
    statuses = re.findall(r'<tbody class="(\w+)"', page(page_report(*several())))
    assert ["failed", "failed", "error", "skipped", "passed"] == statuses


def test_hundred_cases_are_under_two_megabytes() -> None:
    """With 20 probes and 3 sweeps of 300 steps each, library included."""
    assert len(render_page(page_report(*many(100)), NO_LOCKS).encode()) < 2_000_000


def test_page_of_thousands_has_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures come first; the summary counts all, also those that the report here lacks."""
    monkeypatch.setattr("harness.page.writing.MAX_CASES", 3)
    text = page(report_of(as_json(*several()), left_out={"passed": 9000}))
    assert ["failed", "failed", "error"] == re.findall(r'<tbody class="(\w+)"', text)
    assert (
        "9005 cases: 2 failed, 1 error, 1 skipped, 9001 passed this page has 3 of them, failures"
        " first; report.json has all"
    ) in words(text)


def test_file_cannot_say_what_it_leaves_out() -> None:
    """A key of that name in a report.json counts nothing."""
    assert {} == report_of(as_json(*several()) | {"left_out": {"passed": 5}}).left_out


def test_numbers_of_a_case_stand_in_the_page_once() -> None:
    """Probes are rows of batch, outcome, peak, seconds, speed, kind and phase."""
    (own,) = numbers(render_page(page_report(result(measurement())), NO_LOCKS))
    assert [
        [471, 0, 262_250_000, 1.24, 1180.0, "train", None],
        [472, 1, None, 1.1, None, "train", "backward"],
    ] == own["probes"]


def test_hostile_texts_are_only_shown() -> None:
    """Markup in names, reasons, tracebacks and the lock stays text, also in the numbers."""
    whole = render_page(page_report(*hostile()), NO_LOCKS)
    text = page(page_report(*hostile()))
    assert "<img" not in text
    assert whole.count("<script") == whole.count("</script") == 4
    assert "{{ 7 * 7 }}" in words(text)
    assert html.escape(MARKUP, quote=False)[:40] in text
    for line in words(text).splitlines():
        assert_harmless(line)


STATES = [
    "no GPU here is an NVIDIA H200",
    "GPU 0 was lost (Xid 79); reset it",
    "The run has kept no probes.",
    "No LR range test was asked for.",
    "A prediction runs nothing, so it has no speed.",
    "A prediction computes no loss, so it has no learning rate.",
    "Refused: signal-to-noise ratio 2.1 is under 4",
    "Kept from the lock, not run again: 0.00316",
    "Now. This case was never locked.",
    "1 probe in 0.9 s: 1 failed. The last one, batch 1, failed in forward.",
    "At the peak of batch 500. The most is held by activation of layers.0, 120.0 MiB.",
    "activation of layers.0 holds 30.0 MiB more than when it was locked.",
    "The run has not found it out.",
    "Of batch 500. At most 170.0 MiB were live when it was locked, and 200.0 MiB are now.",
    "Only a prediction records a step: this case has none.",
    "bucket up to 512 201 (largest 210) 200 (largest 210, bounded by dataset)",
    "20 probes, batch ",
]


@pytest.mark.parametrize("state", STATES)
def test_states_have_words_of_their_own(state: str) -> None:
    """A chart without numbers says why there is none."""
    assert state in words(page(page_report(*every_state())))


def test_empty_report_has_a_page() -> None:
    """A report without cases says so."""
    assert "The report holds no case." in words(page(page_report()))


def test_report_of_an_earlier_version_has_a_page() -> None:
    """Keys that were added later may be missing."""
    data = as_json(*several())
    for case in data["cases"]:
        for key in ("headline", "lr_sweeps", "lr_trials", "speeds", "buckets"):
            del case[key]
    assert "vit_tiny-cpu-256MiB-32 failed 412" in words(page(report_of(data)))


WRONG = [
    ("cases.0.probes.0.batch_size", "many", 'cases[0].probes[0].batch_size is "many"'),
    ("cases.0.probes.0.batch_size", -1, "cases[0].probes[0].batch_size is -1"),
    ("cases.0.probes.0.seconds", 1e308, "cases[0].probes[0].seconds is 1e+308"),
    ("cases.0.status", "fine", 'cases[0].status is "fine"'),
    ("cases.0.device", "cpu", 'cases[0].device is "cpu"'),
    ("cases.0", None, "cases[0] is null"),
]


@pytest.mark.parametrize(("place", "value", "told"), WRONG)
def test_wrong_types_are_refused_with_their_place(
    tmp_path: Path, place: str, value: object, told: str
) -> None:
    """What is no report of a run is refused; nothing is written."""
    data = as_json(result(measurement()))
    *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inner: Any = data
    for part in way:
        inner = inner[part]
    inner[last] = value
    path = tmp_path / "report.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(HarnessError) as raised:
        read_reports([path])
    assert told in str(raised.value)
    assert str(raised.value).startswith(str(path))


FILES = [
    ("not json", "not JSON: Expecting value"),
    ('{"version": 2, "cases": []}', "version is 2; 1 is read"),
    ('{"version": 1, "cases": [], "x": NaN}', "NaN is no number in JSON"),
    ("[" * 100_000, "nests too deeply"),
    ("[" + "," * 8_000_001 + "]", "more than 8,000,000 values"),
    ('{"version": 1}', "`cases` is null; a list is needed"),
]


@pytest.mark.parametrize(("text", "told"), FILES, ids=range(len(FILES)))
def test_files_that_are_no_report_are_refused(tmp_path: Path, text: str, told: str) -> None:
    """Not JSON, a newer version, NaN, too deep, too large, without cases."""
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError) as raised:
        read_reports([path])
    assert told in str(raised.value)


def test_missing_report_says_who_writes_one(tmp_path: Path) -> None:
    """Without a file the message names the command that leaves it."""
    with pytest.raises(HarnessError, match="does not exist; each run of `pytest --gpu-profile`"):
        read_reports([tmp_path / "report.json"])


def test_link_in_the_place_of_the_page_is_replaced(tmp_path: Path) -> None:
    """A checkout cannot make the page overwrite another file."""
    precious = tmp_path / "precious"
    precious.write_text("mine", encoding="utf-8")
    target = tmp_path / "out.html"
    target.symlink_to(precious)
    write_page(target, page_report(), NO_LOCKS)
    assert "mine" == precious.read_text(encoding="utf-8")
    assert not target.is_symlink()
    assert target.read_text(encoding="utf-8").startswith("<!doctype html>")
