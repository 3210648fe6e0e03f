"""The page in Chromium: what it draws and asks for; how keyboards and screen readers use it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # has none
from page_reports import every_state, hostile, many, page_report
from playwright.sync_api import sync_playwright

from harness.page import render_page
from harness.page.history import Change, Locks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page

    from harness.report.case_result import CaseResult

pytestmark = [pytest.mark.browser, pytest.mark.probes]
_CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FAILS = "vision_transformer_000-cpu-256MiB-224"


class Opened:
    """A page of results in a browser, with what it asked for, and what went wrong in it."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.address = file.as_uri()
        self.requests: list[str] = []
        self.troubles: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.troubles.append(message.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("dialog", lambda dialog: self.troubles.append(dialog.message))
        page.goto(self.address)

    def open(self, number: int = 0) -> None:
        """Open the case in this row, and wait for its charts."""
        body = self.page.locator("table.cases > tbody").nth(number)
        body.locator("tr.row button").click()
        for plot in body.locator(".plot").all():
            plot.locator("svg").wait_for(timeout=20_000)

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong: the rule, and where it is broken."""
        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """Start Chromium, with a profile of its own."""
    if _CHROMIUM is None:
        pytest.skip("there is no chromium: `apt-get install chromium`, or name it with CHROMIUM")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"),
            executable_path=_CHROMIUM,
            headless=True,
            args=_FLAGS,
        )
        yield context
        context.close()


class Show:
    """Opens results in the browser: in a colour scheme, in a window of a width."""

    def __init__(self, browser: BrowserContext, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def __call__(
        self, results: list[CaseResult], scheme: Any = "light", width: int = 1400
    ) -> Opened:
        """Write the page of these results, and open it."""
        file = self._folder / "report.html"
        report = page_report(*results)
        changes = tuple(
            Change(f"abcdef{size}", "2026-11-29", "lock <b>it</b>", size, 1 / size)
            for size in (700, 690, 640)
        )
        locks = Locks({(case.id, "cpu"): changes for case in report.cases})
        file.write_text(render_page(report, locks), encoding="utf-8")
        page = self._browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        return Opened(page, file)


@pytest.fixture
def show(browser: BrowserContext, tmp_path: Path) -> Iterator[Show]:
    """Return a function that opens results in the browser."""
    yield Show(browser, tmp_path)
    for page in browser.pages[1:]:
        page.close()


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_whole_in_each_window_and_scheme(show: Show, scheme: str, width: int) -> None:
    """Nothing is asked of a network, the console is silent, and the page scrolls down alone."""
    opened = show(every_state(), scheme, width)
    for number in range(len(every_state())):
        opened.open(number)
    assert [opened.address] == opened.requests
    assert [] == opened.troubles
    assert width == opened.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("width", [400, 1400])
def test_texts_of_charts_are_not_cut(show: Show, width: int) -> None:
    """Legends and axes stay inside of the box of their chart, on a phone too."""
    opened = show(every_state(), "light", width)
    for number in range(len(every_state())):
        opened.open(number)
    cut = opened.evaluate(
        "[...document.querySelectorAll('.plot text')].filter((one) => {"
        "const own = one.getBoundingClientRect(), box = one.closest('.plot').getBoundingClientRect();"
        "return own.width && (own.left < box.left - 1 || own.right > box.right + 1);"
        "}).map((one) => one.textContent)"
    )
    assert [] == cut


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_axe_finds_nothing_wrong(show: Show, scheme: str, width: int) -> None:
    """With all cases closed, and with all of them opened, their numbers too."""
    opened = show(every_state(), scheme, width)
    assert [] == opened.violations()
    for number in range(len(every_state())):
        opened.open(number)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    opened.page.locator(".data table").last.wait_for()
    assert [] == opened.violations()


def test_hostile_texts_do_nothing(show: Show) -> None:
    """Markup in names, reasons and tracebacks neither runs nor loads: no alert, no request."""
    opened = show(hostile(), width=400)
    for number in range(len(hostile())):
        opened.open(number)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    opened.page.locator(".data table").last.wait_for()
    assert [opened.address] == opened.requests
    assert [] == opened.troubles
    assert 0 == opened.page.locator("img, b").count()
    assert 400 == opened.evaluate("document.documentElement.scrollWidth")


def test_keyboard_reaches_and_opens_all(show: Show) -> None:
    """Tab goes through headings, cases, numbers; Enter opens, and the focus stays where it is."""
    opened = show(many(2))
    seen = []
    for _ in range(9):
        opened.page.keyboard.press("Tab")
        seen.append(opened.evaluate("document.activeElement.textContent"))
        assert "none" != opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    headings = ["Case", "Status", "Largest batch", "Change", "Learning rate", "Peak of limit"]
    assert [*headings, "Time"] == seen[:7]
    assert "vision_transformer_000" in seen[7]
    assert "vision_transformer_001" in seen[8]
    opened.page.keyboard.press("Enter")
    opened.page.locator(".plot svg").first.wait_for()
    assert seen[8] == opened.evaluate("document.activeElement.textContent")
    assert "true" == opened.evaluate("document.activeElement.ariaExpanded")
    opened.page.keyboard.press("Tab")
    assert "Numbers of Peak memory by batch size" == opened.evaluate(
        "document.activeElement.textContent"
    )
    opened.page.keyboard.press("Enter")
    opened.page.locator(".data[open] table").wait_for()


def test_each_chart_has_a_name_a_description_and_its_numbers(show: Show) -> None:
    """The picture is one image for a screen reader; the numbers are a table with headings."""
    opened = show(many(1))
    opened.open()
    plots = opened.page.locator(".plot")
    names = [
        opened.evaluate(
            f"document.getElementById('{plot.get_attribute('aria-labelledby')}').textContent"
        )
        for plot in plots.all()
    ]
    assert [
        "Peak memory by batch size",
        "The search, probe by probe",
        "Speed by batch size",
        "Learning rate: trials",
        "Learning rate: sweeps",
        "What holds the memory at the peak",
        "Locked batch over commits",
        "Locked learning rate over commits",
    ] == names
    for section in opened.page.locator(".chart").all():
        assert len(section.locator(".caption").inner_text()) > 20
        section.locator("summary").click()
        section.locator(".data table").wait_for()
        assert section.locator(".data td").count() >= section.locator(".data th").count()


def test_charts_follow_the_colour_scheme(show: Show) -> None:
    """What is open is drawn again when the scheme changes; so is what is opened later."""
    opened = show(many(1))
    opened.open()
    legend = opened.page.locator(".plot .role-legend-label text").first
    light = legend.evaluate("(one) => getComputedStyle(one).fill")
    opened.page.emulate_media(color_scheme="dark")
    opened.page.wait_for_function(
        "(light) => { const one = document.querySelector('.plot .role-legend-label text');"
        "return one && getComputedStyle(one).fill !== light; }",
        arg=light,
    )
    assert "rgb(228, 231, 234)" == legend.evaluate("(one) => getComputedStyle(one).fill")


def test_symbols_of_a_legend_can_be_seen_on_dark_paper(show: Show) -> None:
    """Those of a legend without colours of its own would be black."""
    opened = show(every_state(), "dark")
    for number in range(len(every_state())):
        opened.open(number)
    fills = opened.evaluate(
        "[...document.querySelectorAll('.plot .role-legend-symbol path')]"
        ".map((one) => getComputedStyle(one).fill)"
    )
    assert (True, False) == (len(fills) > 0, "rgb(0, 0, 0)" in fills)


def test_table_is_sorted_by_each_heading(show: Show) -> None:
    """A second click turns the order; missing values stay last; the panel goes with its row."""
    opened = show(every_state())
    cells = "table.cases > tbody tr.row > :nth-child({})"

    def column(number: int) -> list[str]:
        return opened.page.locator(cells.format(number)).all_inner_texts()

    opened.open(2)
    opened.page.get_by_role("button", name="Largest batch").click()
    up = [text.removeprefix("~") for text in column(3)]
    assert sorted(map(int, filter(str.isdigit, up))) == [int(text) for text in up[:-2]]
    assert ["-", "-"] == up[-2:]
    opened.page.get_by_role("button", name="Largest batch").click()
    down = [text.removeprefix("~") for text in column(3)]
    assert [*reversed(up[:-2]), "-", "-"] == down
    heading = opened.page.locator("thead th[aria-sort]")
    assert ("descending", 1) == (heading.get_attribute("aria-sort"), heading.count())
    opened.page.get_by_role("button", name="Case").click()
    assert sorted(column(1)) == column(1)
    assert 1 == opened.page.locator("tr.below:not([hidden])").count()


def test_hundred_cases_open_at_once(show: Show) -> None:
    """Charts are drawn when a case is opened, so a large run is no slower to load."""
    opened = show(many(100))
    ready = "performance.getEntriesByType('navigation')[0].domComplete"
    assert 0 == opened.page.locator(".plot svg").count()
    assert opened.evaluate(ready) < 5000  # under a second on an idle machine
    opened.open(57)
    assert [] == opened.troubles
