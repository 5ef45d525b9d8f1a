"""Every page of the UI, opened and seen whole: by day and by night, on a laptop and on a phone.

`pytest tests/ui/test_{pictures,walk,environments,live_screen}.py --pictures` takes the pictures of
the docs anew; without it the pages are opened and checked, and the pictures are only compared by
name.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.ui import sights
from tests.ui.sights import DEPLOYED, EMPTY, FOLDER, LIVE, PLAIN, SCHEMES, SIGHTS, WINDOWS, Recorded
from tests.ui.viewer import ROOT, Viewer, reading, viewing

WALK = ("walk-1-job", "walk-2-run", "walk-3-grade", "walk-4-ungraded")
MOST_BYTES = 6 << 20
_LOOKS = [(window, scheme) for window in WINDOWS for scheme in SCHEMES]


@pytest.fixture(scope="module")
def nothing(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[Viewer]:
    """Return a viewer on a home with nothing in it."""
    with viewing(tmp_path_factory.mktemp("nothing") / "home") as viewer:
        yield viewer


@pytest.mark.parametrize(("window", "scheme"), _LOOKS)
def test_every_page_fits_its_window(
    chromium: Browser,
    viewer: Viewer,
    nothing: Viewer,
    recorded: Path,
    request: pytest.FixtureRequest,
    window: str,
    scheme: str,
) -> None:
    found = Recorded(recorded)
    for seen, shown in ((viewer, SIGHTS), (nothing, EMPTY)):
        with reading(chromium, seen, color_scheme=scheme, **WINDOWS[window], **PLAIN) as reader:
            for sight in shown:
                page = reader.open(sight.where(found))
                sights.settled(page)
                sight.before(page)
                sights.settled(page)
                assert not sights.cut_off(page), f"{sight.name}: {sights.cut_off(page)}"
                if request.config.getoption("--pictures"):
                    sights.keep(page, sight.name, window, scheme)


def test_every_page_has_its_pictures() -> None:
    wanted = {
        sights.place_of(sight.name, window, scheme).name
        for sight in (*SIGHTS, *EMPTY)
        for window, scheme in _LOOKS
    }
    wanted |= {
        sights.place_of(name, window, scheme).name
        for name in (*DEPLOYED, LIVE)
        for window, scheme in _LOOKS
    }
    wanted |= {sights.place_of(name, "wide", "light").name for name in WALK}
    kept = {path.name for path in FOLDER.iterdir()}
    assert kept == wanted, f"missing {wanted - kept}, unknown {kept - wanted}; see --pictures"
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_BYTES


def test_every_address_of_the_pages_is_pictured(recorded: Path) -> None:
    router = (ROOT / "ui" / "src" / "router.tsx").read_text(encoding="utf-8")
    routes = {route for route in re.findall(r'path: "([^"]+)"', router) if route != "/"}
    routes.remove("/settings")  # leads on to its first section
    found = Recorded(recorded)
    places = [sight.where(found) for sight in SIGHTS] + list(DEPLOYED.values())
    places = [place.partition("?")[0] for place in places]
    for route in routes:
        address = re.compile(re.sub(r"\$\w+", "[^/]+", route).replace("$", ".+"))
        assert any(address.fullmatch(place) for place in places), f"no picture of {route}"
