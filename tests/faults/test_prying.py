"""A lent environment looks for the platform that lends it, and for those lent to others."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hud import HUDRuntime, Run, Task, Taskset
from hud._core.processes import descendants_of
from hud.packaging.bundle import build_bundle
from tests.faults.places import need_walls
from tests.faults.table import Record
from tests.platform.registry.known import know
from tests.platform.server import Server

SOURCE = Path(__file__).parent / "sources" / "prying.py"
DEADLINE_S = 120.0
TRIED = (
    ("read `HUD_HOME`, its database, its secret key, its bundles", "none exists for it"),
    ("connect to the control socket of an environment lent to another team", "it does not exist"),
    ("signal the server, or the processes of another's environment", "there are none"),
    ("connect to the platform's port", "refused: its loopback is its own"),
    ("find the temporary files of others", "it finds none"),
)


async def test_a_lent_environment_sees_neither_the_platform_nor_another_teams(
    platform: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt_row: Record
) -> None:
    need_walls()
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    (tmp_path / "prying").mkdir()
    (tmp_path / "prying" / "tasks.py").write_text(SOURCE.read_text())
    bundle = await build_bundle(tmp_path / "prying", store=platform.home / "bundles")
    keys: list[str] = []
    for team in ("pried-upon", "prying"):
        keys.append(await asyncio.to_thread(platform.key, team=team))
        know(platform, team, "prying", [{"id": "pry"}], uri=bundle.uri)
    at_work, go_on = asyncio.Event(), asyncio.Event()

    async def hold(run: Run) -> str:
        at_work.set()
        await go_on.wait()
        return "something"

    async def answer(run: Run) -> str:
        return "something"

    def row(**tried: object) -> Task:
        nothing: dict[str, object] = {"paths": [], "sockets": [], "pids": [], "ports": []}
        return Task(env="prying", id="pry", args={**nothing, **tried})

    monkeypatch.setenv("HUD_API_URL", platform.url)
    monkeypatch.setenv("HUD_RUNTIME_URL", platform.url)
    monkeypatch.setenv("HUD_API_KEY", keys[0])
    held = asyncio.create_task(Taskset("held", [row()]).run(hold, runtime=HUDRuntime()))
    try:
        async with asyncio.timeout(DEADLINE_S):
            await at_work.wait()
        assert platform.process is not None
        server = platform.process.pid
        home = platform.home
        sockets = [str(path) for path in Path("/tmp").glob("hud-bundle-*/*")]
        assert sockets, "the one that is lent has a socket"
        pried = row(
            paths=[str(home), *(str(home / name) for name in ("hud.db", "secret.key", "bundles"))],
            sockets=sockets,
            pids=[server, *(pid for pid in descendants_of(server) if pid > 100)],
            ports=[platform.port],
        )
        monkeypatch.setenv("HUD_API_KEY", keys[1])
        job = await Taskset("prying", [pried]).run(answer, runtime=HUDRuntime())
    finally:
        go_on.set()
        first = await held
    assert [run.reward for run in (*first.runs, *job.runs)] == [1.0, 1.0]
    nothing: dict[str, list[str]] = {
        "read": [],
        "connected": [],
        "signalled": [],
        "reached": [],
        "folders": [],
    }
    assert job.runs[0].grade.info == nothing
    for what, came in TRIED:
        attempt_row(by="a lent environment", what=what, came=came)
