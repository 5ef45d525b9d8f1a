"""The walk of the docs as a reader takes it: what the page has them type, then its clicks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.docs import page as pages
from tests.ui.sights import PLAIN, WINDOWS, keep, settled
from tests.ui.viewer import ROOT, Reader, Viewer, environment, reading, viewing

WALK = ROOT / "docs" / "guides" / "why-a-run-failed.md"


@pytest.fixture(scope="module")
def evaluated(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Viewer]:
    """Return a viewer on what the page's own blocks recorded."""
    folder = tmp_path_factory.mktemp("walk")
    home = folder / "home"
    (folder / "work").mkdir()
    path = f"{Path(sys.executable).parent}:{environment(home)['PATH']}"
    done = subprocess.run(
        [sys.executable, pages.__file__, str(WALK), str(folder / "work")],
        cwd=folder / "work",
        env={**environment(home), "PATH": path, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with viewing(home) as viewer:
        yield viewer


@pytest.fixture
def walker(
    chromium: Browser, evaluated: Viewer, request: pytest.FixtureRequest
) -> Generator[Reader]:
    with reading(chromium, evaluated, **WINDOWS["wide"], **PLAIN) as reader:
        yield reader


def picture(page: Page, name: str, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--pictures"):
        settled(page)
        keep(page, f"walk-{name}", "wide", "light")


def test_why_a_run_failed_is_three_clicks_from_hud_view(
    walker: Reader, request: pytest.FixtureRequest
) -> None:
    page = walker.open("/")
    page.locator("a.row-link").click()
    expect(page.get_by_text("3 of 4 graded")).to_be_visible()
    expect(page.locator(".faults")).to_contain_text("Overloaded")
    picture(page, "1-job", request)
    page.locator("a.cell.r0").click()
    expect(page.get_by_text("I mend the line.")).to_be_visible()
    picture(page, "2-run", request)
    page.locator(".trace-head").get_by_role("button", name="how it was graded").click()
    log = page.locator(".grade-log")
    expect(log).to_be_in_viewport()
    expect(log).to_contain_text("where 800 = discounted(999, 0)")
    picture(page, "3-grade", request)
    page.get_by_role("tab", name="Files").click()
    expect(page.locator(".stage .diff-add").last).to_contain_text("return 800")


def test_what_broke_is_two_clicks_from_hud_view(
    walker: Reader, request: pytest.FixtureRequest
) -> None:
    page = walker.open("/")
    page.locator("a.row-link").click()
    page.locator("a.cell-broken").click()
    expect(page.get_by_text("Not graded. The model's API failed.")).to_be_visible()
    expect(page.locator(".verdict")).to_contain_text("Overloaded")
    picture(page, "4-ungraded", request)
    page.get_by_role("button", name="Show where").click()
    expect(page.locator(".timeline article.step[aria-current]")).to_contain_text("Error")
