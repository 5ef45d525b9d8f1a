"""An environment lent by a platform: the agent works here, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hud import HUDRuntime, Task, Taskset
from hud._core import json
from hud._core.processes import find_marked
from hud.agents.run import Run
from hud.platform.builds import placing
from hud.platform.builds.placing import Built
from hud.platform.config import PlatformConfig
from hud.platform.database import Database
from hud.platform.errors import ApiError
from hud.platform.leases import records
from hud.platform.leases.lease import Borrower, Lease
from hud.platform.leases.lending import Leases, LendingLimits
from hud.platform.leases.places import Places
from hud.platform.services import Services
from hud.runtimes.base import Runtime
from hud.testing.check_provider import check_provider
from tests.platform.registry.known import know
from tests.platform.remote.conftest import BROKEN, QA, Team, team_with_qa
from tests.platform.remote.served import source
from tests.platform.server import Server

DEADLINE_S = 60.0
HELLO = b'{"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {}}\n'


@pytest.fixture
def settled(team: Team, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "own"))
    for name, value in team.settings().items():
        monkeypatch.setenv(name, value)


async def _answers(run: Run) -> str:
    return str(int(run.args["number"]) + 1)


@pytest.mark.usefixtures("settled")
async def test_a_taskset_runs_in_lent_environments_with_the_rewards_of_a_local_run(
    team: Team,
) -> None:
    tasks = [Task(env="qa", id="ask", args={"number": number}) for number in range(4)]
    job = await Taskset("numbers", tasks).run(_answers, runtime=HUDRuntime())
    assert [run.reward for run in job.runs] == [1.0] * 4
    with team.client() as client:
        left = client.get("/runtime/sessions").json()["items"]
        all_of_them = client.get("/runtime/sessions", params={"open_only": False}).json()["items"]
    assert left == []
    assert [one["reason"] for one in all_of_them] == ["it was given back"] * 4
    assert {one["trace_id"] for one in all_of_them} == {run.trace_id for run in job.runs}


@pytest.mark.usefixtures("settled")
async def test_lent_environments_keep_the_contract_of_providers(team: Team) -> None:
    broken = team_with_qa(team.server, environment="broken", source=BROKEN)
    runtime = HUDRuntime()
    await check_provider(runtime, Task(env="qa", id="ask"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUD_API_KEY", broken.key)
        job = await Task(env="broken", id="ask").run(_waits, runtime=runtime)
    [run] = job.runs
    assert run.outcome is not None and run.outcome.value == "runtime"
    assert "no disk" in (run.trace.error or "")


@pytest.mark.usefixtures("settled")
async def test_an_environment_nobody_deployed_is_said_to_be_missing() -> None:
    job = await Taskset("none", [Task(env="nobody", id="ask")]).run(_answers, runtime=HUDRuntime())
    [run] = job.runs
    assert not run.is_graded
    assert "there is no environment 'nobody'" in (run.trace.error or "")


@pytest.mark.usefixtures("settled")
async def test_a_lease_that_is_ended_under_a_rollout_is_no_grade_and_says_so(team: Team) -> None:
    async def ends_it(run: Run) -> str:
        with team.client() as client:
            [lease] = client.get("/runtime/sessions").json()["items"]
            assert client.delete(f"/runtime/sessions/{lease['id']}").status_code == 200
        await asyncio.wait_for(run.client.lost, DEADLINE_S)
        return "2"

    job = await Task(env="qa", id="ask").run(ends_it, runtime=HUDRuntime())
    [run] = job.runs
    assert run.outcome is not None and run.outcome.value == "runtime"
    assert "it was given back" in (run.trace.error or "")


@pytest.mark.usefixtures("settled")
async def test_an_environment_that_dies_in_grading_is_no_zero(team: Team, tmp_path: Path) -> None:
    task = Task(env="qa", id="killed", args={"marker": str(tmp_path / "died")})
    job = await task.run(_waits, runtime=HUDRuntime())
    [run] = job.runs
    assert run.outcome is not None and run.outcome.value == "runtime"
    with team.client() as client:
        assert client.get("/runtime/sessions").json()["items"] == []


async def _waits(run: Run) -> None:
    return None


def _lend(team: Team) -> str:
    with team.client() as client:
        reply = client.post("/runtime/sessions", json={"environment": "qa"})
        assert reply.status_code == 201, reply.text
        assert reply.json()["status"] == "starting"
        return reply.json()["id"]


def _tunnel(team: Team, lease: str, key: str | None = None) -> connect:
    url = team.server.url.replace("http://", "ws://")
    headers = {"Authorization": f"Bearer {key or team.key}"}
    return connect(
        f"{url}/runtime/tunnels/{lease}", additional_headers=headers, proxy=None, compression=None
    )


async def _hello(tunnel: ClientConnection) -> Any:
    await tunnel.send(HELLO)
    return json.decode(await tunnel.recv())


async def test_each_tunnel_is_a_connection_of_its_own(team: Team) -> None:
    lease = _lend(team)
    async with _tunnel(team, lease) as one, _tunnel(team, lease) as other:
        first, second = await _hello(one), await _hello(other)
        await one.close()
        assert (await _hello(other))["result"]["env"]["name"] == "qa"
    assert first["result"]["session_id"] != second["result"]["session_id"]


async def test_a_tunnel_of_another_team_is_not_found_and_changes_nothing(team: Team) -> None:
    lease = _lend(team)
    stranger = team_with_qa(team.server)
    with pytest.raises(InvalidStatus) as refused:
        async with _tunnel(stranger, lease):
            pass
    assert refused.value.response.status_code == 404
    with stranger.client() as client:
        assert client.get(f"/runtime/sessions/{lease}").status_code == 404
        assert client.delete(f"/runtime/sessions/{lease}").status_code == 404
        assert client.get("/runtime/sessions").json()["items"] == []
    async with _tunnel(team, lease) as tunnel:
        assert (await _hello(tunnel))["result"]["env"]["name"] == "qa"


async def test_a_tunnel_through_a_lease_that_is_over_is_refused_or_closed(team: Team) -> None:
    lease = _lend(team)
    async with _tunnel(team, lease) as tunnel:
        await _hello(tunnel)
        with team.client() as client:
            assert client.delete(f"/runtime/sessions/{lease}").json()["status"] == "ended"
            assert client.get(f"/runtime/sessions/{lease}").json()["status"] == "ended"
        with pytest.raises(ConnectionClosed):
            await tunnel.recv()
        assert tunnel.close_code == 4410
        assert tunnel.close_reason == "it was given back"
    with pytest.raises(InvalidStatus):
        async with _tunnel(team, lease):
            pass


async def test_a_large_message_goes_through_in_both_directions(team: Team) -> None:
    lease = _lend(team)
    word = "x" * 3_000_000
    ask = {"jsonrpc": "2.0", "id": 2, "method": word}
    async with _tunnel(team, lease) as tunnel:
        await tunnel.send(json.encode(ask) + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            piece = await tunnel.recv()
            assert isinstance(piece, bytes)
            said += piece
    assert json.decode(said)["error"]["code"] == -32601


# -- who vanished -------------------------------------------------------------------------------


class Lending:
    """Leases in this process, looked at often."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases

    async def lend(self, team: str = "local") -> Lease:
        return await self.leases.lend(Borrower(team, "someone", None, None), "qa")


@contextlib.asynccontextmanager
async def lending(home: Path, **limits: Any) -> AsyncGenerator[Lending]:
    services = Services.open(PlatformConfig(home=home))
    places = Places()
    try:
        know(Server(home), "local", "qa", [{"id": "ask"}], uri=f"source:{QA}")
        leases = Leases(
            services.database,
            placing.Deployed(services.database, services.secrets, home),
            places,
            LendingLimits(look_s=0.02, **limits),
        )
        async with leases.running():
            yield Lending(leases)
    finally:
        await places.aclose()
        services.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(placing.KINDS, "source", source)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


async def test_a_lease_whose_client_vanished_is_over_and_its_environment_gone(home: Path) -> None:
    async with lending(home, unused_s=0.3) as here:
        lease = await here.lend()
        with here.leases.tunnelling(lease):
            place = await lease.place()
        socket = Path(place.url.removeprefix("unix://"))
        assert socket.exists()
        async with asyncio.timeout(DEADLINE_S):
            assert "nobody was connected" in await lease.over
            await lease.ended()
        assert not socket.exists()


async def test_a_lease_that_ends_while_it_is_written_down_does_not_stay_open(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hear, place = records.hear, Places.place
    written = threading.Event()

    @contextlib.asynccontextmanager
    async def place_slowly(self: Places, built: Built, task: Task) -> AsyncGenerator[Runtime]:
        """Be torn down once it was written that it is not."""
        try:
            async with place(self, built, task) as found:
                yield found
        finally:
            while not written.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0.01)

    monkeypatch.setattr(Places, "place", place_slowly)
    monkeypatch.setattr("hud.platform.leases.lending._TOLD_EVERY_S", 0.1)
    async with lending(home, unused_s=0.3) as here:
        lease = await here.lend()
        with here.leases.tunnelling(lease):
            await lease.place()

        def hear_slowly(connection: Connection, news: Sequence[records.Heard]) -> None:
            hear(connection, news)
            if lease.over.done():
                written.set()
                ends = time.monotonic() + DEADLINE_S
                while lease.state != "ended":
                    assert time.monotonic() < ends
                    time.sleep(0.01)

        monkeypatch.setattr(records, "hear", hear_slowly)
        with contextlib.closing(Database(home, None)) as database:
            async with asyncio.timeout(DEADLINE_S / 3):
                is_open = True
                while is_open:
                    await asyncio.sleep(0.05)
                    with database.reading() as connection:
                        is_open = records.count_open(connection, "local") > 0


async def test_a_lease_that_is_used_outlives_the_patience_with_unused_ones(home: Path) -> None:
    async with lending(home, unused_s=0.3) as here:
        lease = await here.lend()
        with here.leases.tunnelling(lease):
            other = await here.lend()
            async with asyncio.timeout(DEADLINE_S):
                await other.over
            assert not lease.over.done()


async def test_a_team_has_as_many_leases_as_it_may_and_another_has_its_own(home: Path) -> None:
    async with lending(home, per_team=2) as here:
        know(Server(home), "other", "qa", [{"id": "ask"}], uri=f"source:{QA}")
        await here.lend()
        await here.lend()
        with pytest.raises(ApiError, match="has 2 environments lent already"):
            await here.lend()
        await here.lend("other")


async def test_when_the_server_ends_every_environment_ends_with_it(home: Path) -> None:
    async with lending(home) as here:
        leases = [await here.lend() for _ in range(3)]
        for lease in leases:
            await lease.place()
    assert {lease.reason for lease in leases} == {"the server ends"}
    async with asyncio.timeout(DEADLINE_S):
        while find_marked("HUD_HOME", str(home)):
            await asyncio.to_thread(os.sched_yield)
