"""The socket that stands in a folder is dialled, never one that a link there leads to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud.clients.dial import dial


class Heard(asyncio.Protocol):
    """Counts who came."""

    def __init__(self, came: list[str]) -> None:
        self._came = came

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._came.append("somebody")
        transport.close()


class Until(asyncio.Protocol):
    """Waits for the end of a connection."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(None)


@pytest.fixture
async def of_the_host(tmp_path: Path) -> AsyncGenerator[tuple[Path, list[str]]]:
    came: list[str] = []
    path = tmp_path / "engine.sock"
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: Heard(came), str(path))
    yield path, came
    server.close()


async def test_a_link_in_a_sockets_place_leads_nowhere(
    tmp_path: Path, of_the_host: tuple[Path, list[str]]
) -> None:
    path, came = of_the_host
    control = tmp_path / "control"
    control.symlink_to(path)
    with pytest.raises(OSError, match="no socket"):
        await dial(f"unix://{control}", asyncio.Protocol)
    assert came == []


async def test_the_socket_itself_is_dialled(of_the_host: tuple[Path, list[str]]) -> None:
    path, came = of_the_host
    async with asyncio.timeout(30):
        await (await dial(f"unix://{path}", Until)).over
    assert came == ["somebody"]


async def test_where_nothing_is_nothing_is_dialled(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await dial(f"unix://{tmp_path}/control", asyncio.Protocol)
