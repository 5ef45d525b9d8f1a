"""An account at a stand-in of Modal, set up in the variables that the SDK reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.clouds.machines import Machines, images
from tests.clouds.modal_server import TOKEN_ID, TOKEN_SECRET, ModalServer, close_client


@pytest.fixture
async def modal_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[ModalServer]:
    async with ModalServer(Machines(images(tmp_path))).serving() as server:
        monkeypatch.setenv("MODAL_SERVER_URL", server.url)
        monkeypatch.setenv("MODAL_TOKEN_ID", TOKEN_ID)
        monkeypatch.setenv("MODAL_TOKEN_SECRET", TOKEN_SECRET)
        monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
        monkeypatch.setenv("MODAL_DISABLE_API_PROXY", "1")
        yield server
        await close_client()
