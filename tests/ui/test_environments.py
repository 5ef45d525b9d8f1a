"""Environments, their builds, and tasksets that the platform runs, in a real browser."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import insert, update

from hud._core import json
from hud._core.ids import new_id
from hud.platform.builds.lines import append_lines
from hud.platform.database import Database, now_us
from hud.platform.registry import tables
from tests.platform.registry.known import know
from tests.platform.remote.conftest import QA, RemoteServer
from tests.platform.remote.test_launches import sync
from tests.ui.sights import DEPLOYED, PLAIN, SCHEMES, WINDOWS, cut_off, keep, settled
from tests.ui.viewer import Reader, Viewer, reading

TEAM = "local"
PROVIDERS = (
    ("anthropic", "anthropic", ("claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5")),
    ("openai", "openai", ("gpt-5.6", "gpt-5.4-mini")),
)
LOG = ("building qa (bundle, 2.1 kB)", "\033[32mlocked\033[0m 14 packages", "inspecting", "done")


@dataclass
class Platform:
    """A server that runs what it is asked to, with one environment in two versions."""

    server: RemoteServer
    environment: str
    failed: str

    @property
    def viewer(self) -> Viewer:
        """What browsers look at."""
        assert self.server.process is not None
        process: Any = self.server.process
        return Viewer(self.server.home, self.server.url, self.server.sign_in_url, process)

    def said(self, build: str, *lines: str) -> None:
        """Have a build say something."""
        with self._writing() as connection:
            append_lines(connection, TEAM, build, [(now_us(), line) for line in lines])

    def over(self, build: str, version: int) -> None:
        """Have a build succeed."""
        with self._writing() as connection:
            done = {"status": "SUCCEEDED", "version": version, "ended_at": now_us()}
            connection.execute(
                update(tables.builds).where(tables.builds.c.id == build).values(done)
            )

    def add(self, status: str, **more: Any) -> str:
        """Put a build of the environment there."""
        build, now = new_id(), now_us()
        row = {"team": TEAM, "id": build, "environment_id": self.environment, "status": status}
        times = {"created_at": now, "triggered_at": now, "started_at": now, "heard_at": now}
        with self._writing() as connection:
            connection.execute(insert(tables.builds).values(**row, **times, actor="ada", **more))
        return build

    @contextlib.contextmanager
    def _writing(self) -> Generator[Any]:
        with (
            contextlib.closing(Database(self.server.home, self.server.database)) as database,
            database.writing() as connection,
        ):
            yield connection


@pytest.fixture(scope="module")
def platform(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Platform]:
    server = RemoteServer(tmp_path_factory.mktemp("deployed") / "home")
    with contextlib.closing(server):
        server.start()
        key = server.key(team=TEAM)
        tasks = [{"id": one} for one in ("ask", "slow", "broken")]
        uri = f"source:{QA}"
        found = Platform(server, know(server, TEAM, "qa", tasks, version=2, uri=uri), "")
        manifest = json.encode({"tasks": tasks, "capabilities": []}).decode()
        first = found.add(
            "SUCCEEDED", version=1, ended_at=now_us(), uri=uri, manifest=manifest, size_bytes=2_100
        )
        found.said(first, *LOG)
        failed = found.add("FAILED", ended_at=now_us(), error="tasks.py: line 3: it cannot be read")
        found.said(failed, *LOG[:1], "\033[31merror:\033[0m tasks.py: line 3: it cannot be read")
        found.failed = failed
        with server.client(key) as client:
            rows = [{"id": "ask", "slug": f"ask-{n}", "args": {"number": n}} for n in (1, 2, 3)]
            sync(client, *rows, {"id": "broken", "slug": "broken"})
            for name, dialect, models in PROVIDERS:
                body = {"dialect": dialect, "base_url": "http://127.0.0.1:9", "api_key": "unused"}
                listed = {"models": [{"name": model} for model in models]}
                reply = client.put(f"/v2/providers/{name}", json={**body, **listed})
                assert reply.status_code == 200, reply.text
        yield found


@pytest.fixture
def reader(chromium: Browser, platform: Platform) -> Generator[Reader]:
    with reading(chromium, platform.viewer, **WINDOWS["wide"], **PLAIN) as one:
        yield one


def test_an_environment_shows_its_versions_and_goes_back_to_one(
    reader: Reader, platform: Platform
) -> None:
    page = reader.open("/environments")
    page.get_by_role("link", name="qa").click()
    rows = page.locator(".datatable-row")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="version 2")).to_contain_text("what is run")
    expect(rows.filter(has_text="failed")).to_contain_text("it cannot be read")
    rows.filter(has_text="version 1").get_by_role("button", name="Roll back").click()
    page.get_by_role("button", name="Run version 1").click()
    expect(rows.filter(has_text="version 1")).to_contain_text("what is run")
    rows.filter(has_text="version 2").get_by_role("button", name="Run this").click()
    page.get_by_role("button", name="Run version 2").click()
    expect(rows.filter(has_text="version 2")).to_contain_text("what is run")
    reader.open("/settings/audit")
    expect(page.get_by_text("environment.rollback").first).to_be_visible()


def test_a_build_tells_its_log_in_colour_and_why_it_failed(reader: Reader) -> None:
    page = reader.open("/environments")
    page.get_by_role("link", name="qa").click()
    page.locator(".datatable-row", has_text="failed").get_by_role("link").click()
    log = page.get_by_role("log")
    expect(log).to_contain_text("building qa")
    expect(log.locator(".fg1")).to_have_text("error:")
    expect(page.locator(".verdict")).to_contain_text("It was not built. tasks.py: line 3")


def test_a_long_line_of_a_log_is_folded_on_a_phone(chromium: Browser, platform: Platform) -> None:
    build = platform.add("FAILED", ended_at=now_us(), error="too long")
    platform.said(build, "word " * 60, "the next line")
    with reading(chromium, platform.viewer, **WINDOWS["narrow"], **PLAIN) as reader:
        page = reader.open(f"/environments/{platform.environment}/builds/{build}")
        first, second = (page.locator(".build-line").nth(place) for place in (0, 1))
        expect(second).to_contain_text("the next line")
        above, below = first.bounding_box(), second.bounding_box()
        assert above is not None and below is not None
        assert above["height"] > 3 * below["height"]
        assert below["y"] == pytest.approx(above["y"] + above["height"], abs=1)
        assert above["x"] + above["width"] <= 390


def test_a_build_is_followed_while_it_goes_on(reader: Reader, platform: Platform) -> None:
    build = platform.add("IN_PROGRESS", worker="elsewhere")
    platform.said(build, "first line")
    page = reader.open(f"/environments/{platform.environment}/builds/{build}")
    log = page.get_by_role("log")
    expect(log).to_contain_text("first line")
    expect(page.locator(".trace-head")).to_contain_text("building")
    platform.said(build, *(f"line {number}" for number in range(300)))
    expect(log).to_contain_text("line 299")
    platform.over(build, 3)
    expect(page.get_by_role("heading", name="Version 3")).to_be_visible()
    expect(page.locator(".trace-head")).to_contain_text("built")


def test_variables_are_set_and_their_values_never_shown(reader: Reader, platform: Platform) -> None:
    page = reader.open(f"/environments/{platform.environment}?view=variables")
    page.get_by_role("button", name="Set a variable").click()
    page.get_by_label("Name").fill("SHOP_TOKEN")
    page.get_by_label("Value").fill("not-to-be-seen")
    page.get_by_role("button", name="Set it").click()
    expect(page.get_by_text("SHOP_TOKEN")).to_be_visible()
    page.reload()
    expect(page.get_by_text("SHOP_TOKEN")).to_be_visible()
    assert "not-to-be-seen" not in page.content()
    page.get_by_role("button", name="Take SHOP_TOKEN away").click()
    expect(page.get_by_text("No variable is set.")).to_be_visible()


def test_a_taskset_is_run_from_its_page_and_what_broke_tried_again(reader: Reader) -> None:
    page = reader.open("/tasksets/checks?view=tasks")
    page.get_by_role("button", name="Run", exact=True).click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("button", name="Run it")).to_be_disabled()
    form.get_by_label("noop").check()
    form.get_by_label("Repeats of a task").fill("2")
    expect(form.get_by_text("4 tasks × 2 repeats: 8 runs")).to_be_visible()
    form.get_by_role("button", name="Run it").click()
    expect(page).to_have_url(re.compile("/jobs/"))
    expect(page.locator(".job-head .badge", has_text="completed")).to_be_visible(timeout=60_000)
    expect(page.locator("a.cell-broken")).to_have_count(2)
    page.get_by_role("button", name="Retry 2").click()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("10 attempts")).to_be_visible(timeout=60_000)
    page.get_by_role("tab", name="Runs").click()
    page.get_by_label("Every attempt").check()
    expect(page.locator(".datatable-row")).to_have_count(10)


def test_single_tasks_or_those_that_fit_are_run_and_counted_before(reader: Reader) -> None:
    page = reader.open("/tasksets/checks?view=tasks&task=ask")
    page.get_by_role("button", name="Run", exact=True).click()
    form = page.get_by_role("dialog")
    form.get_by_label("noop").check()
    # What the page behind has found is what is run.
    expect(form.get_by_label("Only tasks with these words")).to_have_value("ask")
    expect(form.get_by_role("status")).to_have_text("3 tasks: 3 runs")
    form.get_by_label("Only tasks with these words").fill("nothing like it")
    expect(form.get_by_role("status")).to_have_text("No task fits.")
    expect(form.get_by_role("button", name="Run it")).to_be_disabled()
    form.get_by_label("Only tasks with these words").fill("ask-")
    form.get_by_label("ask-1", exact=True).check()
    form.get_by_label("ask-3", exact=True).check()
    form.get_by_label("Repeats of a task").fill("3")
    expect(form.get_by_role("status")).to_have_text("2 tasks × 3 repeats: 6 runs")
    form.get_by_role("button", name="Run it").click()
    expect(page.locator(".job-head .badge", has_text="completed")).to_be_visible(timeout=60_000)
    expect(page.locator(".matrix")).to_contain_text("ask-1")
    expect(page.locator(".matrix")).to_contain_text("ask-3")
    expect(page.locator(".matrix")).not_to_contain_text("ask-2")


def test_a_running_job_is_cancelled_from_its_page(
    reader: Reader, platform: Platform, tmp_path: Path
) -> None:
    with platform.server.client(platform.server.key("slow", team=TEAM)) as client:
        slow = {"id": "slow", "slug": "slow", "args": {"marker": str(tmp_path / "never")}}
        sync(client, slow, name="slow")
    page = reader.open("/tasksets/slow?view=tasks")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_label("noop").check()
    page.get_by_label("Repeats of a task").fill("12")
    page.get_by_role("button", name="Run it").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".causes")).to_contain_text("12 cancelled", timeout=60_000)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


@pytest.mark.parametrize(
    ("window", "scheme"), [(window, scheme) for window in WINDOWS for scheme in SCHEMES]
)
def test_the_pages_of_environments_fit_their_window(
    chromium: Browser,
    platform: Platform,
    request: pytest.FixtureRequest,
    window: str,
    scheme: str,
) -> None:
    look = {"color_scheme": scheme, **WINDOWS[window], **PLAIN}
    with reading(chromium, platform.viewer, **look) as reader:
        for name, path in DEPLOYED.items():
            where = path.format(environment=platform.environment, build=platform.failed)
            page = reader.open(where)
            settled(page)
            if name == "taskset-run":
                page.get_by_role("button", name="Run", exact=True).click()
                for who in ("claude-opus-4-6", "gpt-5.6"):
                    page.get_by_role("checkbox", name=who).check()
                page.get_by_label("Repeats of a task").fill("4")
                page.get_by_label("US dollars at most").fill("0.5")
            expect(page.get_by_role("log")).to_have_count(1 if name == "build" else 0)
            assert not cut_off(page), f"{name}: {cut_off(page)}"
            if request.config.getoption("--pictures"):
                keep(page, name, window, scheme)
