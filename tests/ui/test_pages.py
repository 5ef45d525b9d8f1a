"""Comparing, publishing, deciding and setting up, in a real browser on real jobs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.needs import missing
from tests.ui.viewer import ROOT, Reader, jobs_of, runs_of

AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def jobs(recorded: Path) -> list[dict[str, Any]]:
    return jobs_of(recorded)


def notes(jobs: list[dict[str, Any]]) -> list[str]:
    """Return the ids of the two jobs that wrote release notes, newest first."""
    return [job["id"] for job in jobs if "release_notes" in job["name"]]


def test_two_jobs_are_compared_from_the_page_of_one(
    reader: Reader, jobs: list[dict[str, Any]]
) -> None:
    page = reader.open(f"/jobs/{notes(jobs)[0]}")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("dialog").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("/compare"))
    expect(page.get_by_text("No difference can be told from 4 tasks")).to_be_visible()
    expect(page.get_by_text("unequal coverage")).to_be_visible()
    rows = page.locator(".datatable-row")
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("notes-currency")
    expect(page.locator(".difference").first).to_be_visible()


def test_models_on_a_leaderboard_are_compared(reader: Reader) -> None:
    page = reader.open("/tasksets")
    page.get_by_role("link", name="release_notes").click()
    rows = page.locator(".datatable-row")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("claude-opus-4-6")
    for box in page.get_by_role("checkbox", name="Choose").all():
        box.check()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.locator(".side-mark.first")).to_be_visible()
    expect(page.get_by_text("4 tasks compared")).to_be_visible()


def test_a_job_is_published_and_taken_back(reader: Reader) -> None:
    page = reader.open("/tasksets/release_notes?view=jobs")
    page.get_by_role("button", name="Publish…").first.click()
    page.get_by_label("Title").fill("the one to beat")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator(".datatable-row").get_by_role("button", name="Published")).to_have_count(1)
    page.goto(page.url.partition("?")[0] + "?published=1")
    expect(page.locator(".datatable-row")).to_have_count(1)
    page.goto(page.url.partition("?")[0] + "?view=jobs")
    page.locator(".datatable-row").get_by_role("button", name="Published").click()
    expect(page.locator(".datatable-row").get_by_role("button", name="Published")).to_have_count(0)


def test_a_run_is_marked_as_not_counting_with_a_reason(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    job = notes(jobs)[1]
    run = runs_of(recorded, job)[0]["trace_id"]
    page = reader.open(f"/trace/{run}")
    page.get_by_role("button", name="Say that it does not count").click()
    page.get_by_label("Why").fill("the judge was bribed")
    page.get_by_role("button", name="Mark it").click()
    expect(page.get_by_text("This run does not count.")).to_be_visible()
    expect(page.locator(".verdict")).to_contain_text("the judge was bribed")
    reader.open(f"/jobs/{job}")
    expect(page.get_by_text("23 of 23 graded")).to_be_visible()
    reader.open(f"/trace/{run}")
    page.get_by_role("button", name="Let it count after all").click()
    page.get_by_role("button", name="Let it count", exact=True).click()
    expect(page.locator(".verdict")).to_have_count(0)
    reader.open("/settings/audit")
    expect(page.get_by_role("row").filter(has_text=run).first).to_be_visible()


def test_two_runs_stand_side_by_side(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    runs = runs_of(recorded, notes(jobs)[0])
    found = [run for run in runs if run["task"] == "notes-parser" and run["reward"] is not None]
    good = next(run["trace_id"] for run in found if run["reward"] == 1.0)
    bad = next(run["trace_id"] for run in found if run["reward"] == 0.0)
    page = reader.open(f"/trace/{good}/beside/{bad}")
    expect(page.get_by_role("status")).to_contain_text("differences, the first at step 3")
    expect(page.get_by_text("Here they part")).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator(".pair-row[aria-current]")).to_contain_text("#3")
    expect(page.locator(".pair-row[aria-current] .diff-drop").first).to_be_visible()
    page.get_by_label("Only differences").check()
    expect(page.locator(".pair-row:not(.differs)")).to_have_count(0)
    reader.open(f"/trace/{good}/beside/{good}")
    expect(page.get_by_text("They took the same steps.")).to_be_visible()


def test_a_key_is_made_shown_once_and_revoked(reader: Reader) -> None:
    page = reader.open("/project/api-keys")
    expect(page).to_have_url(re.compile("/settings/keys"))
    page.get_by_role("button", name="Make a key").click()
    page.get_by_label("Name").fill("from the page")
    page.get_by_role("button", name="Make it").click()
    secret = page.locator(".secret code").first.inner_text()
    assert secret
    page.get_by_role("button", name="I have it").click()
    row = page.get_by_role("row").filter(has_text="from the page")
    expect(row).to_be_visible()
    assert secret not in page.content()
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    expect(row).to_contain_text("revoked")


def test_a_budget_is_set_and_seen(reader: Reader) -> None:
    page = reader.open("/settings/budgets")
    page.get_by_role("button", name="Set a budget").click()
    page.get_by_label("US dollars").fill("12.5")
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_role("row").filter(has_text="the team")).to_contain_text("$12.50")


PAGES = (
    "/jobs",
    "/tasksets",
    "/tasksets/release_notes",
    "/environments",
    "/models",
    "/usage",
    "/settings/keys",
    "/settings/members",
    "/settings/projects",
    "/settings/providers",
    "/settings/budgets",
    "/settings/audit",
    "/compare",
)


def faults(page: Page) -> list[str]:
    """Return the serious faults that axe finds."""
    if not AXE.is_file():
        missing("axe-core (scripts/ui installs it)")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
    )
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_keeps_anybody_out(
    another: Callable[..., Reader], jobs: list[dict[str, Any]], recorded: Path, scheme: str
) -> None:
    reader = another(color_scheme=scheme)
    run = next(run for run in runs_of(recorded, notes(jobs)[0]) if run["reward"] == 1.0)
    broken = next(run for run in runs_of(recorded, notes(jobs)[0]) if run["reward"] is None)
    form = next(job["id"] for job in jobs if "web_form" in job["name"])
    seen = runs_of(recorded, form)[0]["trace_id"]
    robot = next(job["id"] for job in jobs if "robot_policy" in job["name"])
    filmed = runs_of(recorded, robot)[0]["trace_id"]
    more = (
        f"/jobs/{notes(jobs)[0]}",
        f"/jobs/{notes(jobs)[0]}?view=runs",
        f"/trace/{run['trace_id']}?step=8",
        f"/trace/{run['trace_id']}?step=99",
        f"/trace/{broken['trace_id']}",
        f"/trace/{seen}?step=6",
        f"/trace/{filmed}?step=30",
        f"/trace/{run['trace_id']}/beside/{broken['trace_id']}",
        f"/compare?jobs={','.join(notes(jobs))}",
    )
    found: list[str] = []
    for path in (*PAGES, *more):
        page = reader.open(path)
        expect(page.locator("main h1, main .empty").first).to_be_visible()
        expect(page.locator("[aria-busy=true], .skeleton")).to_have_count(0)
        found += [f"{path} {fault}" for fault in faults(page)]
    assert not found, "\n".join(found)
