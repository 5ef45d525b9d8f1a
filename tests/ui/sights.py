"""Every page of the UI with something to see on it, and how its picture is taken.

What the pages show is `workshop` and its neighbours in `recorded`; what a page must do is tested
elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, expect

from tests.ui.viewer import ROOT, jobs_of, runs_of

FOLDER = ROOT / "docs" / "pictures"
SCHEMES = ("light", "dark")
WINDOWS: dict[str, dict[str, Any]] = {
    "wide": {"viewport": {"width": 1280, "height": 800}},
    "narrow": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 1.5,
        "has_touch": True,
        "is_mobile": True,
    },
}
PLAIN: dict[str, Any] = {"reduced_motion": "reduce"}
_COLOURS = 256


class Recorded:
    """What was recorded, found by what it is about."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._runs: dict[str, list[dict[str, Any]]] = {}

    @cached_property
    def jobs(self) -> list[dict[str, Any]]:
        return jobs_of(self.home)

    def job(self, name: str, at: int = 0) -> str:
        """Return the id of a job of this taskset, the newest first."""
        return [job["id"] for job in self.jobs if job["name"].startswith(name)][at]

    def run(self, task: str, **wanted: Any) -> str:
        """Return the id of a run of the workshop."""
        job = self.job("workshop")
        runs = self._runs.setdefault(job, runs_of(self.home, job))
        for run in runs:
            if run["task"] == task and all(run[name] == value for name, value in wanted.items()):
                return run["trace_id"]
        raise AssertionError(f"no run of {task} with {wanted}")


Where = Callable[[Recorded], str]
Before = Callable[[Page], None]


def _as_it_is(page: Page) -> None:
    """Do nothing before the picture is taken."""


@dataclass(frozen=True)
class Sight:
    """One picture's name, the page's address, and what is done there before."""

    name: str
    where: Where
    before: Before = _as_it_is


def _at(path: str) -> Where:
    return lambda recorded: path


def _trace(task: str, step: int | None = None, **wanted: Any) -> Where:
    at = "" if step is None else f"?step={step}"
    return lambda recorded: f"/trace/{recorded.run(task, **wanted)}{at}"


def _press(*keys: str) -> Before:
    def press(page: Page) -> None:
        for key in keys:
            page.keyboard.press(key)

    return press


SIGHTS = (
    Sight("jobs", _at("/jobs")),
    Sight("job", lambda recorded: f"/jobs/{recorded.job('workshop')}"),
    Sight(
        "job-runs",
        lambda recorded: f"/jobs/{recorded.job('workshop')}?view=runs",
        lambda page: page.locator(".job-bar").evaluate("(bar) => bar.scrollIntoView()"),
    ),
    Sight("trace-shell", _trace("shell-fix-discount", reward=0.0), _press("G")),
    Sight("trace-browser", _trace("browser-sign-up-ada", 6)),
    Sight("trace-desktop", _trace("desktop-note", 7)),
    Sight("trace-mcp", _trace("mcp-buy-cheese", 5)),
    Sight("trace-robot", _trace("robot-push-far", 40)),
    Sight("trace-judged", _trace("judged-notes-calendar", reward=1.0), _press("G")),
    Sight("trace-subagent", _trace("judged-notes-calendar", 7, reward=1.0)),
    Sight("trace-capability-broke", _trace("robot-worn-table"), _press("G")),
    Sight("trace-model-failed", _trace("browser-sign-up-zoe", outcome="model")),
    Sight("trace-keys", _trace("shell-fix-discount", reward=0.0), _press("?")),
    Sight(
        "beside",
        lambda recorded: (
            f"/trace/{recorded.run('shell-fix-discount', reward=1.0)}"
            f"/beside/{recorded.run('shell-fix-discount', reward=0.0)}"
        ),
    ),
    Sight("tasksets", _at("/tasksets")),
    Sight("leaderboard", _at("/tasksets/release_notes")),
    Sight("taskset-jobs", _at("/tasksets/release_notes?view=jobs")),
    Sight(
        "compare",
        lambda recorded: (
            f"/compare?jobs={recorded.job('release_notes')},{recorded.job('release_notes', 1)}"
        ),
    ),
    Sight("compare-nothing", _at("/compare")),
    Sight("usage", _at("/usage")),
    Sight("settings-keys", _at("/settings/keys")),
    Sight("settings-members", _at("/settings/members")),
    Sight("settings-projects", _at("/settings/projects")),
    Sight("settings-budgets", _at("/settings/budgets")),
    Sight("settings-audit", _at("/settings/audit")),
)
EMPTY = (
    Sight("empty-jobs", _at("/jobs")),
    Sight("empty-tasksets", _at("/tasksets")),
    Sight("empty-environments", _at("/environments")),
    Sight("empty-models", _at("/models")),
    Sight("empty-usage", _at("/usage")),
)


DEPLOYED = {
    "environments": "/environments",
    "environment": "/environments/{environment}",
    "environment-variables": "/environments/{environment}?view=variables",
    "build": "/environments/{environment}/builds/{build}",
    "models": "/models",
    "settings-providers": "/settings/providers",
    "taskset-tasks": "/tasksets/checks?view=tasks",
    "taskset-run": "/tasksets/checks?view=tasks",
}
"""Pages of what is deployed; the last with its form open."""
LIVE = "trace-live"
"""The page of a run whose desktop is shown while it works."""


def settled(page: Page) -> None:
    """Wait until nothing is on its way: rows, letters, pictures, films."""
    expect(page.locator("main h1, main .empty").first).to_be_visible()
    expect(page.locator("[aria-busy=true], .skeleton")).to_have_count(0)
    expect(page.get_by_text("Loading…")).to_have_count(0)
    expect(page.locator(".datatable:not(:has(.datatable-row))")).to_have_count(0)
    page.wait_for_function(
        "() => document.fonts.status === 'loaded'"
        " && [...document.images].every((i) => i.complete || i.loading === 'lazy')"
        " && [...document.querySelectorAll('video')].every((v) => v.readyState >= 2)"
    )
    page.evaluate("() => new Promise((d) => requestAnimationFrame(() => requestAnimationFrame(d)))")


def cut_off(page: Page) -> list[str]:
    """Return what is wider than the place it has, other than what is meant to be scrolled."""
    return page.evaluate(
        """() => [document.documentElement, document.querySelector('main'),
                  ...document.querySelectorAll('.list-head, .job-bar, .empty, .trace-head, '
                    + '.panel:not(.section-table), .datatable, .datatable-head > div, .warnings, '
                    + '.verdict, .settings-page')]
          .filter((one) => one && one.scrollWidth > one.clientWidth + 1)
          .map((one) => `${one.tagName} ${one.className}: ${one.scrollWidth} > ${one.clientWidth}`
            + ` ${one.textContent.slice(0, 60)}`)"""
    )


def keep(page: Page, name: str, window: str, scheme: str) -> None:
    """Take a picture of the window, in few colours, for the docs."""
    shot = page.screenshot(animations="disabled", caret="hide")
    seen = Image.open(io.BytesIO(shot)).convert("RGB")
    few = seen.quantize(_COLOURS, kmeans=2, dither=Image.Dither.NONE).convert("RGB")
    FOLDER.mkdir(exist_ok=True)
    few.save(place_of(name, window, scheme), lossless=True, method=6)


def place_of(name: str, window: str, scheme: str) -> Path:
    """Return where a picture is kept."""
    return FOLDER / f"{name}-{window}-{scheme}.webp"
