"""A platform to report to, and a home to record in."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.settings import get_settings
from hud.eval.reporting.sink import end_reporters
from tests.platform_server import FakePlatform, running_platform
from tests.rollouts import recorded_in


@pytest.fixture
def platform() -> Generator[FakePlatform]:
    with running_platform() as platform:
        yield platform


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: FakePlatform
) -> Generator[Path]:
    """Record under a temporary folder, and report to the platform."""
    monkeypatch.chdir(tmp_path)
    for name, value in platform.env.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with recorded_in(tmp_path, monkeypatch) as home:
        try:
            yield home
        finally:
            end_reporters(0.0)
    get_settings.cache_clear()
