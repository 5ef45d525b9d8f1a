"""Reading what was recorded, in a real browser: jobs, runs, and every kind of step."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.ui.viewer import Reader, jobs_of, runs_of


@pytest.fixture(scope="module")
def jobs(recorded: Path) -> list[dict[str, Any]]:
    return jobs_of(recorded)


def job_of(jobs: list[dict[str, Any]], name: str, agent: str = "") -> str:
    found = [job["id"] for job in jobs if name in job["name"] and agent in (job["agent"] or "")]
    assert found, f"{name} was not recorded"
    return found[0]


def run_of(home: Path, job_id: str, **wanted: Any) -> str:
    for run in runs_of(home, job_id):
        if all(run.get(name) == value for name, value in wanted.items()):
            return run["trace_id"]
    raise AssertionError(f"no run with {wanted}")


def ready(page: Page) -> Page:
    """Wait until the first steps are there."""
    expect(page.locator(".timeline article.step[aria-current]")).to_be_visible()
    return page


def step(page: Page, title: str) -> Locator:
    return page.locator("article.step").filter(has_text=title).first


def test_jobs_are_listed_and_lead_to_their_runs(reader: Reader, jobs: list[dict[str, Any]]) -> None:
    page = reader.open("/")
    expect(page).to_have_url(re.compile(r"/jobs$"))
    rows = page.get_by_role("row")
    expect(rows).to_have_count(len(jobs) + 1)
    page.get_by_role("link", name="release_notes").first.click()
    expect(page.get_by_text("21 of 24 graded")).to_be_visible()
    cells = page.locator("a.cell")
    expect(cells).to_have_count(24)
    expect(page.locator("a.cell-broken")).to_have_count(3)
    page.locator("a.cell-broken").first.click()
    expect(page.get_by_text("Not graded. The model's API failed.")).to_be_visible()


def test_why_a_run_failed_is_three_clicks_away(reader: Reader) -> None:
    page = reader.open("/jobs")
    page.get_by_role("link", name="release_notes").first.click()
    page.locator("a.cell.r0").first.click()
    page.locator(".outline-row.kind-grade").click()
    expect(page.get_by_text("Nothing in CHANGES.txt says anything about speed.")).to_be_visible()


def test_jobs_are_filtered_and_sorted_in_the_address(reader: Reader) -> None:
    page = reader.open("/jobs?name=web_form&sort=agent")
    agents = page.locator(".datatable-row > div:nth-child(5)")
    expect(agents).to_have_count(4)
    assert agents.all_inner_texts() == ["claude", "gemini", "openai", "openai_compatible"]
    page.get_by_role("button", name="Agent").click()
    page.get_by_role("button", name="Agent").click()
    expect(page).to_have_url(re.compile("sort=-agent"))
    page.get_by_label("Filter by name").fill("no such job")
    expect(page.get_by_text("No job fits")).to_be_visible()


def test_a_trace_shows_prompt_reasoning_shell_files_subagent_and_grade(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    run = run_of(recorded, job_of(jobs, "release_notes"), reward=1.0)
    page = ready(reader.open(f"/trace/{run}"))
    expect(step(page, "Prompt")).to_contain_text("at most 120 words")
    expect(page.locator(".turn-content").first).to_contain_text("First I look at what is there.")
    page.get_by_role("button", name="All of the reasoning").click()
    expect(page.get_by_text("CHANGES.txt is the only source.")).to_be_visible()
    page.locator(".outline-row.kind-subagent").click()
    expect(page.locator(".nested article.step")).to_have_count(3)
    expect(page.locator(".nested")).to_contain_text("I compare the two files.")
    page.locator(".outline-row.kind-files").first.click()
    expect(page.locator(".diff-add").first).to_be_visible()
    page.locator(".outline-row", has_text="check.py").click()
    expect(page.locator(".shell .fg2", has_text="✓").first).to_be_visible()
    page.keyboard.press("G")
    tree = page.locator(".grade-tree")
    expect(tree).to_contain_text("It invents nothing that is not in CHANGES.txt.")
    expect(tree).to_contain_text("Both #412 and #431 are needed.")


def test_the_terminal_replays_what_the_shell_printed(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    run = run_of(recorded, job_of(jobs, "release_notes"), reward=1.0)
    page = ready(reader.open(f"/trace/{run}"))
    page.keyboard.press("G")
    terminal = page.get_by_role("log", name="Terminal")
    expect(terminal).to_contain_text("$ python check.py")
    expect(terminal).to_contain_text("5 of 6 kept")
    expect(terminal).not_to_contain_text("reading █")
    expect(terminal.locator(".fg2").first).to_be_visible()


@pytest.mark.parametrize("agent", ["claude", "openai", "gemini"])
def test_clicks_and_typed_text_are_drawn_on_the_screen(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path, agent: str
) -> None:
    names = {"claude": "claude", "openai": "openai", "gemini": "gemini"}
    found = [job for job in jobs if "web_form" in job["name"] and job["agent"] == names[agent]]
    run = runs_of(recorded, found[0]["id"])[0]["trace_id"]
    page = ready(reader.open(f"/trace/{run}"))
    screens = page.locator("button.still")
    expect(screens.first).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    stage = page.locator(".screen-stage")
    expect(
        stage.locator(".marks .mark-dot, .marks .mark-type, .marks .mark-key").first
    ).to_be_attached()
    picture = stage.locator("canvas.screen-picture")
    expect(picture).to_be_visible()
    box, dot = picture.bounding_box(), stage.locator(".marks").bounding_box()
    assert box is not None and dot is not None
    assert abs(box["width"] - dot["width"]) <= 2 and abs(box["height"] - dot["height"]) <= 2


def test_a_click_is_drawn_where_it_happened(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    found = [job for job in jobs if "web_form" in job["name"] and job["agent"] == "claude"]
    run = runs_of(recorded, found[0]["id"])[0]["trace_id"]
    page = reader.open(f"/trace/{run}?step=6")
    says = page.locator(".screen-says")
    expect(says).to_contain_text("click at")
    where = re.search(r"click at (\d+), (\d+)", says.inner_text())
    assert where is not None
    dot = page.locator(".screen-stage .mark-dot").first
    assert (dot.get_attribute("cx"), dot.get_attribute("cy")) == (where[1], where[2])
    page.get_by_role("button", name="before", exact=True).click()
    expect(page.locator(".screen-stage canvas.screen-picture")).to_be_visible()


def test_a_robot_is_filmed_and_plotted_in_step(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    run = run_of(recorded, job_of(jobs, "robot_policy"))
    page = reader.open(f"/trace/{run}?step=40")
    expect(page.locator(".robot-plot")).to_have_count(3)
    film = page.locator(".robot-cameras video")
    expect(film).to_be_visible()
    page.wait_for_function(
        "() => { const v = document.querySelector('.robot-cameras video');"
        " return v && v.readyState >= 2 && v.currentTime > 0; }"
    )
    before = page.locator(".screen-count").inner_text()
    page.locator(".robot-chart .u-over").first.click(position={"x": 40, "y": 30})
    expect(page.locator(".screen-count")).not_to_have_text(before)


def test_a_trace_is_read_without_a_mouse(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    run = run_of(recorded, job_of(jobs, "release_notes"), reward=1.0)
    page = ready(reader.open(f"/trace/{run}"))
    current = page.locator(".timeline article.step[aria-current]")
    expect(current).to_contain_text("Setup")
    page.keyboard.press("j")
    expect(current).to_contain_text("Prompt")
    page.keyboard.press("Enter")
    expect(current.locator(".message")).to_have_count(0)
    page.keyboard.press("J")
    expect(current).to_contain_text("Model")
    page.keyboard.press("r")
    expect(current).to_contain_text("completion_tokens")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("byte order")
    expect(page.locator(".search-count")).to_have_text(re.compile(r"/\d+"))
    page.keyboard.press("Enter")
    expect(page.locator(".search-count")).to_have_text(re.compile(r"1/\d+"))
    assert page.evaluate("[...CSS.highlights.get('found')].length") > 0
    page.keyboard.press("Escape")
    page.keyboard.press("]")
    expect(page).not_to_have_url(re.compile(run))


def test_a_step_has_an_address(reader: Reader, jobs: list[dict[str, Any]], recorded: Path) -> None:
    run = run_of(recorded, job_of(jobs, "release_notes"), reward=1.0)
    page = reader.open(f"/trace/{run}?step=9")
    current = page.locator(".timeline article.step[aria-current]")
    expect(current.locator(".step-no").first).to_have_text("#9")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("step=10"))
    page.reload()
    expect(current.locator(".step-no").first).to_have_text("#10")
    reader.open(f"/trace/{run}#step-4")
    expect(current.locator(".step-no").first).to_have_text("#4")


def test_kinds_are_filtered_in_the_address(
    reader: Reader, jobs: list[dict[str, Any]], recorded: Path
) -> None:
    run = run_of(recorded, job_of(jobs, "release_notes"), reward=1.0)
    page = ready(reader.open(f"/trace/{run}"))
    page.get_by_role("button", name="Shell, 2").click()
    expect(page).to_have_url(re.compile("kinds=shell"))
    expect(page.locator(".timeline article.step")).to_have_count(2)
    page.keyboard.press("x")
    expect(page.locator(".shell")).to_have_count(0)


def test_a_phone_shows_the_same(
    another: Callable[..., Reader], jobs: list[dict[str, Any]], recorded: Path
) -> None:
    reader = another(viewport={"width": 390, "height": 800}, has_touch=True)
    run = run_of(recorded, job_of(jobs, "desktop_note"))
    page = ready(reader.open(f"/trace/{run}"))
    expect(page.locator(".picture canvas").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Pages").click()
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()


def test_an_address_of_nothing_says_so(reader: Reader) -> None:
    page = reader.open("/trace/ffffffffffffffffffffffffffffffff")
    expect(page.get_by_text("There is no such run here")).to_be_visible()
    reader.page.goto("about:blank")  # nothing is said after this
    reader.complaints.clear()  # the browser itself logs the 404
    reader.open("/jobs/ffffffffffffffffffffffffffffffff")
    expect(page.get_by_text("There is no such job here")).to_be_visible()
    reader.page.goto("about:blank")
    reader.complaints.clear()
    reader.open("/tasksets/nowhere/at/all")
    reader.page.goto("about:blank")
    reader.complaints.clear()
