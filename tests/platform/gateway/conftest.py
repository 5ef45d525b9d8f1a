"""A platform in this process, with no provider yet."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.bare import forget_settings
from tests.platform.gateway.gatewayed import Gatewayed, gatewayed


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide every key and address that this machine knows."""
    forget_settings(monkeypatch)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncGenerator[Gatewayed]:
    """Return a running platform."""
    async with gatewayed(tmp_path / "home") as running:
        yield running
