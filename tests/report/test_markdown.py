"""report.md and the step summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from case_results import axes, command, locked, measurement, result, several, unmeasured

from harness import report
from harness.report.markdown import code, escape, fence

if TYPE_CHECKING:
    from pathlib import Path

VIT = "vit_tiny-cpu-256MiB-32"


def test_whole_page() -> None:
    """The page has counts, header, table, notes, and a section for each failure."""
    failed = several()[2]
    text = report.failure_text(failed, command(VIT))
    expected = f"""\
# GPU profiles

1 error, 1 failed, 1 passed, 1 skipped

- torch: 2.13.0

| case | max batch | change | LR | peak | status | batch | val batch | bounded by | samples/s | probes | seconds \
| LR range |
| :-- | --: | --: | --: | --: | :-- | --: | --: | :-- | --: | --: | --: | :-- |
| `alexnet-cpu-256MiB-32` | - | - | - | - | error | - | - | - | - | - | - | - |
| `resnet18-cpu-256MiB-32` | 471 | +0.0% | 3.2e-03 | 97.7% | passed | 471 | 471 | memory | 1180 | 2 | 31.2 \
| 0.00211 to 0.00474, over 40 steps |
| `resnet18-h200-224` | - | - | - | - | skipped | - | - | - | - | - | - | - |
| `vit_tiny-cpu-256MiB-32` | 412 | -12.5% | refused | 89.8% | failed | 412 | 471 | memory | 1180 | 2 | 31.2 | - |

- skipped resnet18-h200-224: no GPU here is an NVIDIA H200
- vit\\_tiny-cpu-256MiB-32: no learning rate: signal-to-noise ratio 2.1 is under 4

## Failures

`alexnet-cpu-256MiB-32`: GPU 0 was lost (Xid 79); reset it

<details>
<summary><code>{VIT}</code>: max batch 412 (-12.5%) where at least 462 is allowed; \
no learning rate where 0.00316 is locked</summary>

```text
{text}
```

</details>
"""
    rows = [row for row in several() if row.case_id != "resnet18-cpu-256MiB-64"]
    assert expected == report.render_markdown(rows, {"torch": "2.13.0"})


def test_improvements() -> None:
    """A gain beyond the bounds is shown with the command that locks it."""
    better = result(measurement(max_batch_size=520, batch_size=471), locked())
    expected = (
        "## Better than locked\n\n```text\n"
        "resnet18-cpu-256MiB-32: better than locked: "
        "max_batch_size 520 is 10.4% above the locked 471\n"
        f"lock it with:\n  {command('resnet18-cpu-256MiB-32')}\n```\n"
    )
    assert expected in report.render_markdown([better])


def test_reason_of_several_lines_keeps_them() -> None:
    """An error text of several lines is shown unchanged in a folded section."""
    page = report.render_markdown([unmeasured("error", "it broke\n  here <b>")])
    assert (
        "</code>: it broke</summary>\n\n```text\nit broke\n  here <b>\n```\n\n</details>\n" in page
    )


def test_html_in_a_headline_is_shown() -> None:
    """Headlines are escaped, as HTML in a summary line and as Markdown elsewhere."""
    page = report.render_markdown(
        [unmeasured("error", "<b> & |x|\nmore"), unmeasured("error", "<b> & |x|", model="alexnet")]
    )
    assert "<code>resnet18-cpu-256MiB-32</code>: &lt;b&gt; &amp; |x|</summary>" in page
    assert "`alexnet-cpu-256MiB-32`: \\<b\\> \\& \\|x\\|" in page


def test_empty_run() -> None:
    """A run without results has a page without a table."""
    assert report.render_markdown([]) == "# GPU profiles\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("`x`", "\\`x\\`"),
        ("a\\b", "a\\\\b"),
        ("*a* [b](c) <d>", "\\*a\\* \\[b\\](c) \\<d\\>"),
        ("two\nlines", "two lines"),
        ("ask @team, mail a@b.c", "ask @&#8203;team, mail a@&#8203;b.c"),
        ("fixes #1, gh-2 !3, o/r#4", "fixes #&#8203;1, gh-&#8203;2 !&#8203;3, o/r#&#8203;4"),
        ("# a, high-2!", "\\# a, high-2!"),
        ("http://x.y www.x.y a: b", "http\\://x.y www\\.x.y a: b"),
        ("\x1b[2J\u202e", "\\\\x1b\\[2J\\\\u202e"),
        ("3.2e-03", "3.2e-03"),
    ],
)
def test_escape(text: str, expected: str) -> None:
    """Characters that Markdown interprets are escaped, and a cell stays on one line."""
    assert expected == escape(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("vit_tiny-1.5", "`vit_tiny-1.5`"), ("a`|", "a\\`\\|")]
)
def test_code(text: str, expected: str) -> None:
    """An id is code, unless it has characters that code cannot hold."""
    assert expected == code(text)


@pytest.mark.parametrize(
    ("text", "ticks"),
    [("plain", "```"), ("`one`", "```"), ("```python", "````"), ("a ````` b", "``````")],
)
def test_fence(text: str, ticks: str) -> None:
    """A fence is longer than any run of backticks inside it."""
    assert f"{ticks}text\n{text}\n{ticks}" == fence(text)


def test_step_summary_is_appended(tmp_path: Path) -> None:
    """The summary is appended to the text of other steps."""
    path = tmp_path / "summary.md"
    path.write_text("before\n", encoding="utf-8")
    report.append_step_summary("after\n", path)
    assert path.read_text(encoding="utf-8") == "before\nafter\n"


def test_step_summary_is_made(tmp_path: Path) -> None:
    """The summary's file is created if it is missing."""
    report.append_step_summary("µ\n", tmp_path / "summary.md")
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == "µ\n"


@pytest.mark.parametrize(
    ("num_bytes", "cut"), [(1024 * 1024 - 7, False), (1024 * 1024 - 6, True), (5_000_000, True)]
)
def test_step_summary_within_githubs_limit(tmp_path: Path, num_bytes: int, *, cut: bool) -> None:
    """A page beyond GitHub's limit is cut, and its last line says so."""
    path = tmp_path / "summary.md"
    path.write_text("before\n", encoding="utf-8")
    report.append_step_summary("µ" * (num_bytes // 2) + "x" * (num_bytes % 2), path)
    written = path.read_text(encoding="utf-8")
    assert len(written.encode()) <= 1024 * 1024
    assert cut == written.endswith("report.md among the run's artifacts has all of it.\n")


def test_page_of_a_nested_axis() -> None:
    """A further axis is shown as a part of the id."""
    where = {**axes(), "precision": "bf16-mixed"}
    assert "| `resnet18-cpu-256MiB-32-bf16-mixed` |" in report.render_markdown(
        [result(measurement(axes=where))]
    )
