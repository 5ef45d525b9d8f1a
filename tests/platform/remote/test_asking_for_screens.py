"""Whoever may read may ask for the screens of a run, and barely disturbs it by that."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hud.platform.screens.placed import PlacedRuns, Standing
from hud.platform.screens.showing import Screens
from hud.runtimes.base import Runtime

ASKING = 20


async def test_many_who_ask_at_once_have_one_connection_at_a_time(tmp_path: Path) -> None:
    open_now = most = 0

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await reader.readline()
        await asyncio.sleep(0)
        writer.write(
            b'{"jsonrpc":"2.0","id":1,"result":{"session_id":"s","protocol_version":"hud/1.0",'
            b'"env":{"name":"e","version":"1"},"bindings":[]}}\n'
        )
        await reader.read()
        open_now -= 1
        writer.close()

    path = tmp_path / "control"
    nobodys: Any = None  # no run here is lent
    screens = Screens(PlacedRuns(), nobodys)
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    standing = Standing(Runtime(f"unix://{path}"), over)
    async with await asyncio.start_unix_server(hello, str(path)):
        found = await asyncio.gather(*(screens.list(standing) for _ in range(ASKING)))
    assert found == [[]] * ASKING
    assert most <= 2  # the next may come before the last is seen to be gone
