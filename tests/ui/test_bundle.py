"""A job as a folder of files: opened in a real browser from a plain static host, and from none."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from hud._core import json as compact
from hud.store import open_store
from tests.contenders import record_job
from tests.ui.test_hostile import MARKUP, STEPS, TURNED
from tests.ui.viewer import DEADLINE_MS, DEADLINE_S, environment
from tests.ui.written import writing

LONG = 450
"""More steps than one file of a bundle holds."""


@dataclass
class Host:
    """A plain static host, below whose root two bundles stand."""

    url: str
    folder: Path
    job_id: str
    hostile_run: str


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went on to another page."""


def _screen(colour: str) -> str:
    data = io.BytesIO()
    Image.effect_noise((320, 200), 90).convert("RGB").save(data, "PNG")
    image = Image.open(io.BytesIO(data.getvalue()))
    image.paste(colour, (0, 0, 160, 100))
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _steps(count: int) -> list[bytes]:
    image = {"type": "image", "mimeType": "image/png", "data": _screen("red")}
    click = {"action": "left_click", "coordinate": [80, 50]}
    steps: list[dict[str, Any]] = [
        {
            "source": "user",
            "messages": [{"role": "user", "content": {"type": "text", "text": "Go"}}],
        },
        {
            "source": "tool",
            "call": {"name": "computer", "arguments": click, "id": "1"},
            "result": {"content": [image]},
        },
    ]
    steps += [
        {"source": "agent", "content": f"the answer number {number} is known"}
        for number in range(len(steps) + 1, count + 1)
    ]
    return [compact.encode(step) for step in steps]


def write_bundle(home: Path, job_id: str, folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hud", "view", "--bundle", str(folder), job_id],
        env=environment(home),
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )


@pytest.fixture(scope="module")
def host(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Host]:
    """Return a host with a job of four runs at /shared/job/, and a hostile one at /hostile/."""
    place = tmp_path_factory.mktemp("bundles")
    home, folder = place / "home", place / "host"
    with writing(home) as writer:
        hostile_run = writer.run(MARKUP[0] + TURNED, STEPS, error=MARKUP[1])
        hostile_job = writer.store.find_run(hostile_run).job_id
    store = open_store(home)
    job_id = record_job(store, {"first": [0.25, 1.0], "second": [0.5, 0.75]}, steps=_steps(LONG))
    store.close()
    write_bundle(home, job_id, folder / "shared" / "job")
    write_bundle(home, hostile_job, folder / "hostile")
    handler = functools.partial(_Quiet, directory=str(folder))
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Host(f"http://127.0.0.1:{server.server_port}", folder, job_id, hostile_run)
        server.shutdown()
        thread.join()


@pytest.fixture
def complaints() -> list[str]:
    """Return what the page of the test complains of; what is left at its end fails it."""
    return []


@pytest.fixture
def page(chromium: Browser, host: Host, complaints: list[str]) -> Generator[Page]:
    """Return a page that may ask for nothing but files of its host, all of which are there."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(DEADLINE_MS)
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console", lambda said: complaints.extend([said.text] if said.type == "error" else [])
    )
    yield opened
    context.close()
    own = (host.url, f"blob:{host.url}", "data:image/", "file:")
    assert not [url for url in asked if not url.startswith(own) or "/v2/" in url]
    assert not complaints


def test_a_bundle_opens_at_its_job_and_leads_to_every_step(page: Page, host: Host) -> None:
    page.goto(f"{host.url}/shared/job/")
    expect(page.locator("a.cell")).to_have_count(4)
    expect(page.get_by_text("0.625").first).to_be_visible()
    expect(page.get_by_role("button", name="Compare")).to_have_count(0)
    page.locator("a.cell").first.click()
    expect(page.locator(".timeline article.step[aria-current]")).to_be_visible()
    expect(page.locator("canvas.screen-picture")).to_be_visible()
    expect(page.get_by_role("link", name="Download")).to_have_count(0)
    page.keyboard.press("Shift+G")
    last = page.locator(f'.timeline article.step[aria-current][aria-label^="Step {LONG},"]')
    expect(last).to_contain_text(f"the answer number {LONG} is known")


def test_a_step_has_an_address_that_a_static_host_knows(page: Page, host: Host) -> None:
    page.goto(f"{host.url}/shared/job/")
    page.locator("a.cell").first.click()
    page.wait_for_url("**/#/trace/*")
    run = page.url.rpartition("/")[2].partition("?")[0]
    for number in (2, 233, LONG):
        page.goto("about:blank")
        page.goto(f"{host.url}/shared/job/#/trace/{run}?step={number}")
        here = page.locator(f'.timeline article.step[aria-current][aria-label^="Step {number},"]')
        expect(here.locator(".step-body")).to_be_visible()
        assert here.locator("a.step-no").get_attribute("href") == f"#/trace/{run}?step={number}"
    page.reload()
    expect(page.locator(".timeline article.step[aria-current]")).to_contain_text(f"#{LONG}")


def test_a_search_looks_into_every_file_of_a_run(page: Page, host: Host) -> None:
    page.goto(f"{host.url}/shared/job/")
    page.locator("a.cell").first.click()
    page.get_by_role("searchbox", name="Search in this run").fill("NUMBER 44")
    expect(page.locator(".search-count")).to_contain_text("/11")  # 44, and 440 to 449
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".timeline article.step[aria-current]")).to_contain_text("number 449")


def test_two_runs_of_a_task_stand_side_by_side(page: Page, host: Host) -> None:
    page.goto(f"{host.url}/shared/job/")
    page.locator("a.cell").first.click()
    page.get_by_role("button", name="Beside another run of this task").click()
    choices = page.get_by_role("dialog").get_by_role("link")
    expect(choices).to_have_count(1)
    choices.click()
    expect(page.get_by_text("They took the same steps.")).to_be_visible()
    page.get_by_role("link", name="Jobs", exact=True).click()
    expect(page.locator(".datatable-row")).to_have_count(1)


def test_a_hostile_trace_stays_data_without_the_headers_of_a_server(
    page: Page, host: Host, complaints: list[str]
) -> None:
    page.goto(f"{host.url}/hostile/#/trace/{host.hostile_run}")
    policy = page.locator('meta[http-equiv="Content-Security-Policy"]').get_attribute("content")
    assert policy is not None and "default-src 'none'" in policy and "unsafe" not in policy
    for number in range(1, len(STEPS) + 1):
        page.goto(f"{host.url}/hostile/#/trace/{host.hostile_run}?step={number}")
        page.reload()
        card = page.locator(".timeline article.step[aria-current]")
        expect(card.locator(".step-no").first).to_have_text(f"#{number}")
        expect(card.locator(".skeleton")).to_have_count(0)
        page.keyboard.press("r")
    assert page.evaluate("window.pwned") is None
    # A step names a picture that never was.
    complaints[:] = [said for said in complaints if "404 (File not found)" not in said]


def test_no_file_of_a_bundle_is_named_as_something_a_browser_runs(host: Host) -> None:
    data = [path for path in (host.folder / "hostile" / "data").rglob("*") if path.is_file()]
    assert {path.suffix for path in data} <= {".json", ".bin"}
    index = (host.folder / "hostile" / "index.html").read_text()
    assert "pwned" not in index
    blobs = list((host.folder / "shared" / "job" / "data" / "blobs").rglob("*.bin"))
    assert len(blobs) == 1 and blobs[0].read_bytes().startswith(b"\x89PNG")


def test_opened_without_a_host_it_says_what_to_do(chromium: Browser, host: Host) -> None:
    page = chromium.new_page()
    page.goto((host.folder / "shared" / "job" / "index.html").as_uri())
    expect(page.get_by_text("python3 -m http.server")).to_be_visible()
    page.close()


def test_a_bundle_says_what_it_holds(host: Host) -> None:
    head = json.loads((host.folder / "shared" / "job" / "data" / "job.json").read_text())
    assert (head["job"]["id"], head["runs"]) == (host.job_id, 4)
    assert head["scorecard"]["statistics"]["mean"] == 0.625
