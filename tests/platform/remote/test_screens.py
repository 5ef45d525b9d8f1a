"""The live screens of a rollout: seen by its team, touched by nobody, and gone with it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hud import HUDRuntime, Task
from hud.agents.run import Run
from hud.capabilities import RFBClient
from hud.protocol.capability import Capability
from tests.needs import need_module, need_program
from tests.platform.registry.known import know
from tests.platform.remote.asking import over, screen, screen_settled, submit
from tests.platform.remote.conftest import Team, team_with_qa
from tests.platform.server import Server

STUDIO = Path(__file__).parent / "sources" / "studio.py"
DEADLINE_S = 60.0
JPEG = b"\xff\xd8\xff"
GONE = (4404, 4410)
"""The desktop is gone, for it is ended before grading; the whole environment is."""


@pytest.fixture(autouse=True)
def needed() -> None:
    need_module("PIL")
    for name in ("bwrap", "openbox", "xterm", "Xtigervnc", "chromium"):
        need_program(name)


@pytest.fixture
def studio(server: Server) -> Team:
    """Return a new team that has deployed `studio`."""
    team = team_with_qa(server)
    know(server, team.name, "studio", [{"id": "hold"}], uri=f"source:{STUDIO}")
    return team


async def live(client: httpx.Client, run: str) -> list[dict[str, str]]:
    """Return the screens of a run, once there are some."""
    said = await asyncio.to_thread(screen_settled, client, run)
    assert said["state"] == "live", said
    return said["screens"]


def look(team: Team, run: str, name: str, **headers: str) -> connect:
    """Connect to a screen as a viewer does."""
    url = team.server.url.replace("http://", "ws://")
    return connect(
        f"{url}/v2/traces/{run}/screen?name={name}",
        additional_headers=headers or {"Authorization": f"Bearer {team.key}"},
        proxy=None,
        compression=None,
    )


@contextlib.asynccontextmanager
async def vnc(viewer: ClientConnection) -> AsyncGenerator[RFBClient]:
    """Yield a real VNC client that looks through a viewer's connection."""
    near, far = socket.socketpair()
    near.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=far)

    async def outward() -> None:
        while piece := await reader.read(65_536):
            await viewer.send(piece)

    async def inward() -> None:
        async for piece in viewer:
            assert isinstance(piece, bytes)
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def dial() -> socket.socket:
        return near

    ways = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        async with await RFBClient.connect(Capability.rfb(url="rfb://viewer"), dial=dial) as rfb:
            yield rfb
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.close()


async def changes(picture: Callable[[], Awaitable[bytes]]) -> None:
    """Return once a picture is not what it was."""
    async with asyncio.timeout(DEADLINE_S):
        first = await picture()
        while await picture() == first:
            pass


async def a_picture(viewer: ClientConnection) -> bytes:
    """Return the next picture of a browser."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            said = await viewer.recv()
            if isinstance(said, bytes):
                assert said.startswith(JPEG)
                return said


async def test_a_desktop_is_seen_moving_and_no_key_or_pointer_of_a_viewer_reaches_it(
    studio: Team, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    with studio.client() as client:
        run = submit(client, "hold", env="studio", args={"marker": str(marker)})
        assert await live(client, run) == [
            {"name": "screen", "kind": "desktop"},
            {"name": "browser", "kind": "browser"},
        ]
        async with look(studio, run, "screen") as viewer, vnc(viewer) as rfb:

            async def picture() -> bytes:
                shot = await rfb.screenshot()
                assert (shot.width, shot.height) == (640, 480)
                return bytes(shot)

            await changes(picture)
            await rfb.click(500, 400)
            await rfb.press("z")
            await rfb.set_clipboard("z" * 100_000)
            await changes(picture)
            marker.touch()
            ended = await asyncio.to_thread(over, client, run)
            async with asyncio.timeout(DEADLINE_S):
                await viewer.wait_closed()
        assert screen(client, run)["state"] == "ended"
    assert (ended["outcome"], ended["reward"]) == ("graded", 1.0), ended
    assert viewer.close_code in GONE


async def test_a_browser_is_seen_moving_and_takes_nothing_from_a_viewer(
    studio: Team, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    with studio.client() as client:
        run = submit(client, "hold", env="studio", args={"marker": str(marker)})
        await live(client, run)
        async with look(studio, run, "browser") as viewer:
            told = await viewer.recv()
            assert isinstance(told, str)
            assert '"url":"data:text/html' in told
            away = '{"id":1,"method":"Page.navigate","params":{"url":"about:blank"}}'
            await viewer.send(away)
            await viewer.send(away.encode())
            await changes(lambda: a_picture(viewer))
            marker.touch()
            ended = await asyncio.to_thread(over, client, run)
    assert (ended["outcome"], ended["reward"]) == ("graded", 1.0), ended


async def test_the_screen_of_a_lent_environment_is_seen_and_does_not_keep_it(
    studio: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    for name, value in studio.settings().items():
        monkeypatch.setenv(name, value)
    marker = tmp_path / "go"
    marker.touch()
    viewers: list[ClientConnection] = []
    async with contextlib.AsyncExitStack() as stack:

        async def shown(run: Run) -> str:
            assert run.trace.trace_id is not None
            with studio.client() as client:
                await live(client, run.trace.trace_id)
            viewer = await stack.enter_async_context(look(studio, run.trace.trace_id, "screen"))
            viewers.append(viewer)
            assert (await viewer.recv()) == b"RFB 003.008\n"
            return "seen"

        task = Task(env="studio", id="hold", args={"marker": str(marker)})
        job = await task.run(shown, runtime=HUDRuntime())
        async with asyncio.timeout(DEADLINE_S):
            await viewers[0].wait_closed()
    assert [run.reward for run in job.runs] == [1.0], job.runs[0].trace.error
    assert viewers[0].close_code in GONE


async def test_nobody_else_sees_a_screen(studio: Team, tmp_path: Path) -> None:
    marker = tmp_path / "go"
    stranger = team_with_qa(studio.server)
    origin = {"Origin": studio.server.url}
    with studio.client() as client, stranger.client() as other:
        run = submit(client, "hold", env="studio", args={"marker": str(marker)})
        await live(client, run)
        assert other.get(f"/v2/traces/{run}/screen").status_code == 404
        for status, headers in (
            (404, {"Authorization": f"Bearer {stranger.key}"}),
            (401, {"Authorization": "Bearer hud_none"}),
            (401, origin),
            (401, {**origin, "Cookie": "hud_session=unknown"}),
            (403, {"Authorization": f"Bearer {studio.key}", "Origin": "https://elsewhere.example"}),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with look(studio, run, "screen", **headers):
                    pass
            assert refused.value.response.status_code == status, headers
        marker.touch()
        over(client, run)


async def test_a_viewer_that_says_what_none_says_is_let_go_and_the_rollout_goes_on(
    studio: Team, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    with studio.client() as client:
        run = submit(client, "hold", env="studio", args={"marker": str(marker)})
        await live(client, run)
        for words in (b"x" * 12, b"RFB 003.008\n\x01\x01" + b"\xee" * 4, b"y" * 100_000):
            async with look(studio, run, "screen") as viewer:
                await viewer.send(words)
                async with asyncio.timeout(DEADLINE_S):
                    with contextlib.suppress(ConnectionClosed):
                        async for _ in viewer:
                            pass
                assert viewer.close_code == 1008
        async with look(studio, run, "nothing") as viewer:
            await viewer.wait_closed()
            assert viewer.close_code == 4404
            assert "no capability 'nothing'" in (viewer.close_reason or "")
        marker.touch()
        ended = over(client, run)
    assert (ended["outcome"], ended["reward"]) == ("graded", 1.0), ended


async def test_an_environment_without_a_screen_and_a_run_from_elsewhere_say_so(
    team: Team, tmp_path: Path
) -> None:
    marker = tmp_path / "go"
    with team.client() as client:
        run = submit(client, "slow", args={"marker": str(marker)})
        said = await asyncio.to_thread(screen_settled, client, run)
        assert said == {
            "state": "none",
            "screens": [],
            "says": "Its environment has no screen.",
        }
        marker.touch()
        over(client, run)
        assert client.post(f"/v2/trace/{'a' * 32}/enter", json={}).status_code == 200
        said = screen(client, "a" * 32)
    assert said["state"] == "elsewhere"
    assert "where the run was begun" in said["says"]
