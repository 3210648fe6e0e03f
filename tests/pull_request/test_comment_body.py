"""The text of the comment: what it shows, what it leaves out, and what of strangers it disarms."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from case_results import command, locked, measurement, result, several, unmeasured
from hostile_words import HOSTILE, assert_harmless

from harness import report
from harness.bounds.predicted import judge_prediction
from harness.errors import HarnessError
from harness.pull_request.body import LIMIT, RunLink, render_comment
from harness.pull_request.reported import read_reports

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.case_result import CaseResult

RUN = RunLink("a" * 40, "https://github.example/o/r/actions/runs/5")
MIB = 1 << 20


def written(path: Path, results: list[CaseResult]) -> Path:
    """Write the report of a run."""
    path.write_text(json.dumps(report.render_json(results)), encoding="utf-8")
    return path


def grown_prediction() -> CaseResult:
    """Return a prediction that fell, with what holds more memory than when it was locked."""
    at_lock = measurement(
        source="predicted",
        max_batch_size=100,
        predicted_batch_size=100,
        predicted_with={"torch": "2.13.0", "simulated": "1"},
        predicted_peak={"activation of layers.0": 10 * MIB, "gradient": 3 * MIB},
    )
    now = replace(
        at_lock,
        max_batch_size=80,
        predicted_at_locked={"activation of layers.0": 14 * MIB, "gradient": 3 * MIB},
        predicted_lines={"activation of layers.0": "models/net.py:33"},
    )
    profile = locked()
    profile = replace(
        profile,
        source="predicted",
        predicted_batch_size=100,
        predicted_with=at_lock.predicted_with,
        predicted_peak=at_lock.predicted_peak,
    )
    violations = judge_prediction(now, profile).violations
    return replace(
        result(now), locked=profile, violations=violations, status="failed", source="predicted"
    )


def test_whole_comment(tmp_path: Path) -> None:
    """Counts, the table with failures first, each failure with its culprits, skips, the run."""
    cases = read_reports([written(tmp_path / "report.json", [*several()[:3], grown_prediction()])])
    one = "resnet18-cpu-256MiB-32"
    vit = "vit_tiny-cpu-256MiB-32"
    assert f"""\
### GPU profiles: H100

2 failed, 1 skipped

| case | max batch | change | LR | peak | status |
| :-- | --: | --: | --: | --: | :-- |
| `{one}` | \\~80 | -20.0% | 3.2e-03 | 97.7% | **failed** |
| `{vit}` | 412 | -12.5% | refused | 89.8% | **failed** |

**failed** `{one}`: predicted max batch 80 (-20.0%) where 100 is locked

| holds more memory at the peak | locked | now | more | line |
| :-- | --: | --: | --: | :-- |
| activation of layers.0 | 10.0 MiB | 14.0 MiB | +4.0 MiB | models/net.py:33 |

<details><summary>accept these values</summary>

```text
{command(one)}
```

</details>

**failed** `{vit}`: max batch 412 (-12.5%) where at least 462 is allowed; no learning rate where \
0.00316 is locked

<details><summary>accept these values</summary>

```text
{command(vit)}
```

</details>

1 case skipped: no GPU here is an NVIDIA H200

<sub>Results of commit aaaaaaaaaaaa, from [the run](https://github.example/o/r/actions/runs/5): \
its artifacts hold report.md and candidate.lock.</sub>
""" == render_comment("H100", cases, RUN)


def test_runs_of_several_machines_are_one_table(tmp_path: Path) -> None:
    """A case that one machine skipped is as the other found it; if both found it, the worst."""
    ours, other = result(lock=locked()), result(measurement(max_batch_size=10), locked())
    skipped = unmeasured("skipped", "no GPU here")
    paths = [
        written(tmp_path / f"{number}.json", [one])
        for number, one in enumerate((skipped, ours, other, skipped))
    ]
    assert ["passed"] == [one.status for one in read_reports(paths[:2])]
    assert ["passed"] == [one.status for one in read_reports([paths[1], paths[3]])]
    assert ["failed"] == [one.status for one in read_reports(paths)]


def test_many_failures_fit_githubs_limit(tmp_path: Path) -> None:
    """Failed cases come first, and a sentence says how many rows and explanations are left out."""
    long = "x" * 350
    failed = [unmeasured("error", f"{long}<>|_*\n", model=f"m{n:04}") for n in range(400)]
    passed = [
        result(measurement(axes={"model": f"a{n}", "gpu": "g", "resolution": 1}), None)
        for n in range(9)
    ]
    passed = [replace(one, status="passed", violations=()) for one in passed]
    text = render_comment("", read_reports([written(tmp_path / "r.json", [*passed, *failed])]), RUN)
    assert len(text) <= LIMIT
    assert ("`m0000-cpu-256MiB-32`" in text, "`a0-g-1`" in text) == (True, False)
    assert "Left out here: 309 rows more and 380 explanations more. report.md of the run" in text


@pytest.mark.parametrize("size", [1, 100, 5_000])
def test_worst_texts_fit_githubs_limit(tmp_path: Path, size: int) -> None:
    """Whatever stands in a report, and however long, the comment is one that GitHub takes."""
    word = "@#1|" * size
    grown = [{"holder": word, "then_bytes": 1, "now_bytes": 2**62, "line": word}] * 8
    cases = [
        {
            "id": f"{number}{word}",
            "status": "failed",
            "headline": word,
            "grown": grown,
            "update_command": word,
            "improvements": [word],
            "source": "predicted",
            "max_batch_size": 2**62,
            "locked": {"predicted_batch_size": 1},
        }
        for number in range(30)
    ]
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"version": 1, "cases": cases}), encoding="utf-8")
    assert len(render_comment(word, read_reports([path]), RUN)) < LIMIT


def test_words_of_strangers_do_nothing(tmp_path: Path) -> None:
    """Nothing is mentioned, closed, linked, opened as HTML, obeyed, or left unclosed."""
    word = (
        f"/close\n/assign @eve\n```\n</details><!-- <b> ~~~ @eve fixes #1 GH-2 !3 o/r#4 [x](//y) "
        f"https://x.y | \\| {HOSTILE}"
    )
    case = {
        "id": word,
        "status": "failed",
        "headline": word,
        "grown": [{"holder": word, "then_bytes": 1, "now_bytes": 2, "line": word}],
        "update_command": word,
    }
    skipped = {"id": f"2{word}", "status": "skipped", "reason": word}
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"cases": [case, skipped]}), encoding="utf-8")
    text = render_comment(word, read_reports([path]), RunLink(word, ""))
    assert_harmless(text)
    outside = re.sub(r"^(`{3,})text\n.*?\n\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert 1 == outside.count("</details>")
    for found in (
        r"(?<!\\)<(?!/?(details|summary|sub)>)",
        r"(?<!&)[@#!](?=\w)",
        r"(?<!\\)`",
        r"(?<!\\)://",
        r"^/",
    ):
        assert [] == re.findall(found, outside, re.MULTILINE), found


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("[]", "the whole of it is a list; an object is needed"),
        ('{"version": 2, "cases": []}', "version is 2; 1 is read"),
        ('{"cases": [1]}', "cases[0] is no object"),
        ('{"cases": [{}]}', "a case has no id, or its status is none of error, failed"),
        ('{"cases": [{"id": "a", "status": "owned"}]}', "its status is none of error, failed"),
        (
            '{"cases": [{"id": "a", "status": "passed", "max_batch_size": -1}]}',
            "is no whole number",
        ),
        ('{"cases": [{"id": "a", "status": "passed", "grown": [3]}]}', "cases[0].grown[0] is no"),
        ('{"cases": [{"id": 1}]}', "cases[0].id is no text"),
        ('{"cases": NaN}', "NaN is no number in JSON"),
        ("{", "not JSON: "),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, data: str, told: str) -> None:
    """The error names the file, the place and what is allowed there."""
    path = tmp_path / "report.json"
    path.write_text(data, encoding="utf-8")
    with pytest.raises(HarnessError) as caught:
        read_reports([path])
    assert told in str(caught.value)


def test_report_that_is_not_there_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    """A path that leads nowhere is an error, which names it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=r"^no\.json does not exist; name the report\.json"):
        read_reports([tmp_path / "no.json"])
