"""DaytonaRuntime through Daytona's own SDK, against a server that speaks what the SDK speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError, NotFound, RuntimeFault
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig, RuntimeLimits, RuntimeResources
from hud.runtimes.cloud.owner import OWNER
from hud.runtimes.daytona import DaytonaRuntime, named
from hud.testing.check_provider import check_provider
from tests.clouds.daytona_server import KEY, DaytonaServer
from tests.clouds.faults import ROW, check_missing_extra, check_vanishing
from tests.clouds.machines import Machines, images


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[DaytonaServer]:
    async with DaytonaServer(Machines(images(tmp_path))).serving() as server:
        monkeypatch.setenv("DAYTONA_API_KEY", KEY)
        monkeypatch.setenv("DAYTONA_API_URL", server.url)
        yield server


def runtime(server: DaytonaServer, snapshot: str, **given: Any) -> DaytonaRuntime:
    return DaytonaRuntime(snapshot, workdir=None, ssh_host=server.ssh_host, **given)


def assert_nothing_is_left(server: DaytonaServer) -> None:
    machines = server.machines
    assert not machines.living
    assert sorted(machines.ended) == [machine.id for machine in machines.made]


async def test_a_task_is_graded_in_a_sandbox(server: DaytonaServer) -> None:
    provider = runtime(server, "good", env_vars={"SAY": "hello"})
    async with provider(ROW) as place, connect(place) as client:
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hello"
        assert (await client.grade({"answer": "hi"}))["score"] == 1.0
    made = server.machines.made[0]
    assert made.asked["public"] is False
    assert made.asked["autoDeleteInterval"] == 0
    assert made.life_s == 3_600
    assert OWNER in made.labels
    assert_nothing_is_left(server)


async def test_it_keeps_the_contract_of_providers(server: DaytonaServer) -> None:
    await check_provider(runtime(server, "good"), ROW, broken=runtime(server, "broken"), parallel=3)
    assert_nothing_is_left(server)


async def test_a_failed_start_says_what_the_environment_printed(server: DaytonaServer) -> None:
    with pytest.raises(RuntimeFault, match=r"(?s)exited with code \d+.*no disk"):
        async with runtime(server, "broken")(ROW):
            pass
    assert_nothing_is_left(server)


async def test_an_environment_that_dies_is_told_of(server: DaytonaServer) -> None:
    async with runtime(server, "good")(ROW) as place:
        assert place.params["exit_reason"]() is None
        server.machines.made[0].processes[0].kill()
        assert "exited" in await place.params["exit_reason"].wait(30)
    assert_nothing_is_left(server)


async def test_a_sandbox_that_vanishes_leaves_its_rollout_ungraded(
    server: DaytonaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vanish() -> None:
        await server.machines.end(server.machines.made[0].id)

    says = "the sandbox is gone or cannot be reached"
    await check_vanishing(runtime(server, "good"), vanish, says, tmp_path, monkeypatch)
    assert_nothing_is_left(server)


async def test_without_the_extra_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_missing_extra(DaytonaRuntime("good"), "daytona", monkeypatch)


async def test_a_foreign_key_and_an_unknown_snapshot_are_input_errors(
    server: DaytonaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="snapshot nowhere"):
        async with runtime(server, "nowhere")(ROW):
            pass
    monkeypatch.setenv("DAYTONA_API_KEY", KEY[::-1])
    with pytest.raises(InputError, match="refuses the key"):
        async with runtime(server, "good")(ROW):
            pass
    monkeypatch.delenv("DAYTONA_API_KEY")
    with pytest.raises(InputError, match="needs DAYTONA_API_KEY"):
        async with runtime(server, "good")(ROW):
            pass
    assert not server.machines.made


async def test_a_limit_that_is_reached_is_a_fault_of_the_runtime(server: DaytonaServer) -> None:
    server.refusals["POST"] = [(429, "you have reached the maximum number of sandboxes")] * 9
    with pytest.raises(RuntimeFault, match="limit is reached"):
        async with runtime(server, "good", runtime_config={"limits": {"startup_timeout_s": 20}})(
            ROW
        ):
            pass
    assert not server.machines.made


async def test_a_sandbox_whose_making_was_cut_off_is_found_and_removed(
    server: DaytonaServer,
) -> None:
    server.cut = 1
    with pytest.raises(RuntimeFault, match="Daytona failed"):
        async with runtime(server, "good")(ROW):
            pass
    assert len(server.machines.made) == 1
    assert_nothing_is_left(server)


async def test_a_removal_that_fails_is_tried_again(server: DaytonaServer) -> None:
    async with runtime(server, "good")(ROW):
        server.refusals["DELETE"] = [(500, "out of order")]
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    "asked", [RuntimeResources(cpu=4), RuntimeResources(memory_mb=64), RuntimeResources(os="macos")]
)
async def test_resources_are_refused_before_anything_is_made(
    server: DaytonaServer, asked: RuntimeResources
) -> None:
    row = ROW.model_copy(update={"runtime_config": RuntimeConfig(resources=asked)})
    with pytest.raises(InputError, match="cannot honour"):
        async with runtime(server, "good")(row):
            pass
    long = RuntimeConfig(limits=RuntimeLimits(run_timeout_s=900_000))
    with pytest.raises(InputError, match="vendor ends everything"):
        async with runtime(server, "good", runtime_config=long)(ROW):
            pass
    assert not server.machines.made


async def test_what_a_killed_command_left_is_reaped_by_the_next(server: DaytonaServer) -> None:
    from hud.runtimes.cloud.owner import labels

    dead, alive, foreign = (labels(name, "clouds") for name in ("dead", "alive", "foreign"))
    machine, _, _ = dead[OWNER].partition(".")
    dead[OWNER] = f"{machine}.4194300-1"
    foreign[OWNER] = "0123456789abcdef.4194300-1"
    for found in (dead, alive, foreign):
        server.machines.make("good", labels=found, env={}, life_s=60)
    async with runtime(server, "good") as opened, opened(ROW):
        await asyncio.wait_for(server.machines.gone.wait(), 30)
    assert sorted(server.machines.living) == ["sb-0002", "sb-0003"]


def test_the_command_line_names_the_snapshot() -> None:
    provider = named("good", None, None)
    assert isinstance(provider, DaytonaRuntime)
    assert provider.snapshot_name == "good"
