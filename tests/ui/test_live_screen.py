"""The screen of a rollout that goes on, in a real browser: seen moving, touched by nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from hud._core.ids import new_id
from tests.needs import need_program
from tests.platform.registry.known import know
from tests.platform.remote.asking import over, screen_settled, submit, until
from tests.platform.remote.conftest import QA, RemoteServer
from tests.platform.remote.test_screens import STUDIO
from tests.ui.sights import LIVE, PLAIN, SCHEMES, WINDOWS, cut_off, keep, settled
from tests.ui.test_pages import faults
from tests.ui.viewer import Viewer, reading

TEAM = "local"
WIDE: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, **PLAIN}


class Studio:
    """A server with an environment that has a desktop and a browser, and a client of it."""

    def __init__(self, server: RemoteServer, client: httpx.Client) -> None:
        self.server = server
        self.client = client

    @property
    def viewer(self) -> Viewer:
        """What browsers look at."""
        assert self.server.process is not None
        process: Any = self.server.process
        return Viewer(self.server.home, self.server.url, self.server.sign_in_url, process)

    @contextlib.contextmanager
    def running(self, marker: Path) -> Generator[str]:
        """Yield a rollout that waits; afterwards it is let go, and has to have been left alone."""
        run = submit(self.client, "hold", env="studio", args={"marker": str(marker)})
        try:
            until(self.client, run, "running")
            screen_settled(self.client, run)
            yield run
        finally:
            marker.touch()
            ended = over(self.client, run)
        assert (ended["outcome"], ended["reward"]) == ("graded", 1.0), ended


@pytest.fixture(scope="module")
def studio(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Studio]:
    for name in ("bwrap", "openbox", "xterm", "Xtigervnc", "chromium"):
        need_program(name)
    server = RemoteServer(tmp_path_factory.mktemp("studio") / "home")
    with contextlib.closing(server):
        server.start()
        know(server, TEAM, "studio", [{"id": "hold"}], uri=f"source:{STUDIO}")
        know(server, TEAM, "qa", [{"id": "slow"}], uri=f"source:{QA}")
        with server.client(server.key(team=TEAM)) as client:
            yield Studio(server, client)


def is_seen(canvas: Locator) -> None:
    """Wait until a picture is there that is not of one colour."""
    canvas.page.wait_for_function(_COLOURS + " > 1", arg=canvas.element_handle())


def moves(canvas: Locator) -> None:
    """Wait until a picture is not what it was."""
    handle = canvas.element_handle()
    before = canvas.page.evaluate("(canvas) => canvas.toDataURL()", handle)
    canvas.page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before", arg=[handle, before]
    )


_COLOURS = """(canvas) => !canvas.width ? 0 : new Set(new Uint32Array(
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"""


def desktop_of(page: Page) -> Locator:
    return page.locator(".live-desktop canvas")


def test_a_desktop_is_seen_moving_and_keys_and_clicks_on_it_do_nothing(
    chromium: Browser, studio: Studio, tmp_path: Path
) -> None:
    with reading(chromium, studio.viewer, **WIDE) as reader:
        with studio.running(tmp_path / "go") as run:
            page = reader.open(f"/trace/{run}")
            expect(page.get_by_role("tab", name="Live", selected=True)).to_be_visible()
            expect(page.locator(".live-mark")).to_have_text("live")
            is_seen(desktop_of(page))
            moves(desktop_of(page))
            desktop_of(page).click(position={"x": 150, "y": 150})
            page.keyboard.type("zzz")
            desktop_of(page).hover(position={"x": 50, "y": 80})
            page.mouse.wheel(0, 200)
            moves(desktop_of(page))
        # The place is given up first, and the run is written down as over a moment later.
        said = page.locator(".live-says, .live-none")
        expect(said).to_contain_text("This run is over", timeout=60_000)


def test_a_browser_is_seen_moving_with_its_address(
    chromium: Browser, studio: Studio, tmp_path: Path
) -> None:
    with (
        reading(chromium, studio.viewer, **WIDE) as reader,
        studio.running(tmp_path / "go") as run,
    ):
        page = reader.open(f"/trace/{run}")
        page.get_by_role("group", name="Which screen").get_by_text("browser").click()
        canvas = page.locator("canvas.live-browser")
        expect(page.locator(".live-place")).to_contain_text("data:text/html")
        is_seen(canvas)
        moves(canvas)
        canvas.click()
        page.keyboard.type("zzz")
        moves(canvas)


def test_a_run_whose_environment_has_no_screen_or_is_elsewhere_says_so(
    chromium: Browser, studio: Studio, tmp_path: Path
) -> None:
    marker, elsewhere = tmp_path / "go", new_id()
    run = submit(studio.client, "slow", args={"marker": str(marker)})
    until(studio.client, run, "running")
    screen_settled(studio.client, run)
    assert studio.client.post(f"/v2/trace/{elsewhere}/enter", json={}).status_code == 200
    with reading(chromium, studio.viewer, **WIDE) as reader:
        for which, says in ((run, "has no screen"), (elsewhere, "is not on this platform")):
            page = reader.open(f"/trace/{which}")
            expect(page.get_by_role("tab", name="Live")).to_have_count(0)
            page.get_by_role("button", name="Its screen, live (l)").click()
            expect(page.locator(".live-none")).to_contain_text(says)
    marker.touch()
    over(studio.client, run)


@pytest.mark.parametrize(
    ("window", "scheme"), [(window, scheme) for window in WINDOWS for scheme in SCHEMES]
)
def test_a_live_screen_fits_its_window(
    chromium: Browser,
    studio: Studio,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    window: str,
    scheme: str,
) -> None:
    look = {"color_scheme": scheme, **WINDOWS[window], **PLAIN}
    with (
        reading(chromium, studio.viewer, **look) as reader,
        studio.running(tmp_path / "go") as run,
    ):
        page = reader.open(f"/trace/{run}")
        if window == "narrow":
            page.get_by_role("button", name="Its screen, live", exact=True).click()
        expect(page.locator(".live-mark")).to_have_text("live")
        is_seen(desktop_of(page))
        settled(page)
        assert not cut_off(page), cut_off(page)
        assert not faults(page)
        if request.config.getoption("--pictures"):
            keep(page, LIVE, window, scheme)
