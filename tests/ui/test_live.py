"""Pages that move by themselves while something is recorded by another process than the server."""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.store import JobEnd, JobRow, RunEnd, RunStart, Store
from tests.ui.viewer import Reader, Viewer, reading, viewing
from tests.ui.written import Writer, micros, writing


@pytest.fixture
def live(built: None, tmp_path: Path) -> Generator[tuple[Writer, Viewer]]:
    """Return a writer into a home that is looked at."""
    home = tmp_path / "home"
    with writing(home) as writer, viewing(home) as viewer:
        yield writer, viewer


@pytest.fixture
def eye(chromium: Browser, live: tuple[Writer, Viewer]) -> Generator[Reader]:
    with reading(chromium, live[1]) as one:
        yield one


def turn(said: str) -> dict[str, Any]:
    return {"source": "agent", "content": said, "tool_calls": []}


def said(page: Page, words: str) -> Locator:
    return page.locator(".turn-content", has_text=re.compile(f"^{words}$"))


def begin(store: Store, slug: str) -> tuple[str, str]:
    job_id, run_id = new_id(), new_id()
    store.put(JobRow(id=job_id, created_at=micros(), name=f"job of {slug}", agent="claude"))
    store.put(RunStart(id=run_id, job_id=job_id, task_slug=slug, started_at=micros()))
    store.flush(60)
    return job_id, run_id


def end(store: Store, job_id: str, run_id: str, reward: float) -> None:
    store.put(
        RunEnd(
            id=run_id,
            job_id=job_id,
            status="completed",
            outcome=Outcome.GRADED,
            reward=reward,
            ended_at=micros(),
        )
    )
    store.flush(60)


def test_a_trace_grows_as_it_is_recorded(eye: Reader, live: tuple[Writer, Viewer]) -> None:
    writer, _ = live
    job_id, run_id = begin(writer.store, "slow")
    with writer.store.lock_job(job_id):
        page = eye.open(f"/trace/{run_id}")
        expect(page.get_by_text("Nothing has happened yet")).to_be_visible()
        for number in range(1, 31):
            writer.step(run_id, number, turn(f"thought number {number}"), micros())
            writer.flush()
        last = page.locator(".timeline article.step").filter(has_text="thought number 30")
        expect(last).to_be_visible()
        page.keyboard.press("g")
        expect(said(page, "thought number 1")).to_be_visible()
        writer.step(run_id, 31, turn("thought number 31"), micros())
        writer.flush()
        expect(page.get_by_role("button", name="All 31")).to_be_visible()
        expect(said(page, "thought number 1")).to_be_visible()
        expect(page.locator(".trace-head .badge", has_text="running")).to_be_visible()
        end(writer.store, job_id, run_id, 1.0)
        expect(page.locator(".trace-head .reward")).to_have_text("1.0")


def test_a_late_step_takes_its_place(eye: Reader, live: tuple[Writer, Viewer]) -> None:
    writer, _ = live
    job_id, run_id = begin(writer.store, "late")
    with writer.store.lock_job(job_id):
        for number in (1, 3, 4):
            writer.step(run_id, number, turn(f"said {number}"), micros())
        writer.flush()
        page = eye.open(f"/trace/{run_id}")
        expect(said(page, "said 4")).to_be_visible()
        writer.step(run_id, 2, turn("said 2"), micros())
        writer.flush()
        expect(page.locator(".timeline .turn-content")).to_have_text(
            ["said 1", "said 2", "said 3", "said 4"]
        )


def test_a_job_fills_while_it_runs(eye: Reader, live: tuple[Writer, Viewer]) -> None:
    writer, _ = live
    page = eye.open("/jobs")
    expect(page.get_by_text("No job has been recorded yet")).to_be_visible()
    job_id, first = begin(writer.store, "task-0")
    with writer.store.lock_job(job_id):
        page.get_by_role("link", name="job of task-0").click()
        expect(page.locator(".datatable-row")).to_have_count(1)
        end(writer.store, job_id, first, 1.0)
        for number in range(1, 8):
            run_id = new_id()
            writer.store.put(
                RunStart(
                    id=run_id,
                    job_id=job_id,
                    task_slug=f"task-{number}",
                    started_at=micros(),
                    member=0,
                )
            )
            end(writer.store, job_id, run_id, float(number % 2))
        expect(page.locator(".datatable-row")).to_have_count(8)
        expect(page.locator(".figure-main").first).to_have_text(re.compile(r"0\.625"))
        expect(page.get_by_text("8 of 8 graded")).to_be_visible()
        writer.store.put(JobEnd(id=job_id, status="completed", ended_at=micros()))
        writer.store.flush(60)
        expect(page.locator(".job-head .badge", has_text="completed")).to_be_visible()
