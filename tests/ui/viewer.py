"""A real `hud view` on a recorded home, and a real Chromium that was signed in by its link."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.needs import need_program

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
DEADLINE_MS = 30_000


def environment(home: Path) -> dict[str, str]:
    """Return an environment that knows of no other home, key or desktop."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HUD_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "PYTEST", "DISPLAY"))
    }
    return {**kept, "HUD_HOME": str(home), "PYTHONPATH": os.pathsep.join([*_paths()])}


def _paths() -> list[str]:
    return [path for path in sys.path if path]


@dataclass
class Viewer:
    """One `hud view`. The first link is used up by the first browser."""

    home: Path
    url: str
    link: str
    process: subprocess.Popen[str] = field(repr=False)

    def sign_in(self) -> str:
        """Return another link."""
        done = subprocess.run(
            [sys.executable, "-m", "hud", "platform", "sign-in"],
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout.strip()


@contextlib.contextmanager
def viewing(home: Path, *words: str) -> Generator[Viewer]:
    """Yield a viewer that answers, and end it as Ctrl-C does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hud", "view", "--no-open", *words],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        link = process.stdout.readline().strip()
        assert link, process.stderr.read()
        yield Viewer(home, link.partition("/sign-in")[0], link, process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            process.stdout.close()
            process.stderr.close()
    assert process.returncode == 0


@dataclass
class Reader:
    """Somebody at a browser. What the pages complain of is kept, and fails the test at its end.

    Attributes:
        complaints: Errors of the console and of scripts.
    """

    viewer: Viewer
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list[str])

    def open(self, path: str) -> Page:
        """Go to a page and return it."""
        self.page.goto(self.viewer.url + path)
        return self.page


@contextlib.contextmanager
def browser() -> Generator[Browser]:
    """Yield the system's Chromium."""
    program = need_program("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        yield opened
        opened.close()


@contextlib.contextmanager
def reading(opened: Browser, viewer: Viewer, **options: Any) -> Generator[Reader]:
    """Yield a signed-in reader with a window of their own."""
    window: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}, **options}
    context = opened.new_context(**window)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    reader = Reader(viewer, context, page)
    page.on("console", lambda message: _note(reader, message))
    page.on("pageerror", lambda error: reader.complaints.append(f"error: {error}"))
    page.goto(viewer.sign_in())
    try:
        yield reader
    finally:
        context.close()
    assert not reader.complaints, reader.complaints


def _note(reader: Reader, message: ConsoleMessage) -> None:
    if message.type == "error":
        reader.complaints.append(f"{message.text} ({message.location.get('url')})")


def jobs_of(home: Path) -> list[dict[str, Any]]:
    """Return the recorded jobs, newest first."""
    done = subprocess.run(
        [sys.executable, "-m", "hud", "jobs", "--limit", "0", "--json"],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return json.loads(done.stdout)["jobs"]


def runs_of(home: Path, job_id: str) -> list[dict[str, Any]]:
    """Return the runs of a job."""
    done = subprocess.run(
        [sys.executable, "-m", "hud", "jobs", job_id, "--limit", "0", "--json"],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    return json.loads(done.stdout)["runs"]
