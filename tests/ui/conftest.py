"""Jobs recorded once for all tests of the pages, a viewer on them, and browsers to look with."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from hud.platform.assets import FOLDER
from tests.needs import missing, need_program
from tests.ui.viewer import ROOT, Reader, Viewer, browser, environment, reading, viewing

RECORDED = ("quickstart", "letters", "forms", "desktop", "robots", "notes", "workshop")
_LONGEST_S = 600


@pytest.fixture(scope="session")
def built() -> None:
    """See that the pages are there."""
    if not (FOLDER / "index.html").is_file():
        missing("the web UI (scripts/ui builds it)")


@pytest.fixture(scope="session")
def recorded(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with real jobs in it: shells, browsers, a desktop, tools, robots, judges."""
    for name in ("bwrap", "chromium", "Xtigervnc", "openbox", "mousepad"):
        need_program(name)
    home = tmp_path_factory.mktemp("recorded") / "home"
    done = subprocess.run(
        [sys.executable, "-m", "tests.ui.recorded", *RECORDED],
        cwd=ROOT,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=_LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


@pytest.fixture(scope="session")
def viewer(recorded: Path) -> Generator[Viewer]:
    """Return a running `hud view`."""
    with viewing(recorded) as started:
        yield started


# For a module: while it is open its event loop counts as running, and no other test could have one.
@pytest.fixture(scope="module")
def chromium() -> Generator[Browser]:
    """Return a browser."""
    with browser() as opened:
        yield opened


@pytest.fixture
def reader(chromium: Browser, viewer: Viewer) -> Generator[Reader]:
    """Return a signed-in reader; what the pages complain of fails the test."""
    with reading(chromium, viewer) as one:
        yield one


@pytest.fixture
def another(chromium: Browser, viewer: Viewer) -> Generator[Callable[..., Reader]]:
    """Return what makes readers with other windows."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> Reader:
            return stack.enter_context(reading(chromium, viewer, **options))

        yield make
