"""A platform in this process, with no provider yet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.settings import Settings
from tests.platform.gateway.gatewayed import Gatewayed, gatewayed


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide every key and address that this machine knows."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Gatewayed]:
    """Return a running platform."""
    async with gatewayed(tmp_path / "home") as running:
        yield running
