"""E2BRuntime through E2B's own SDK, against a server that speaks what the SDK speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import InputError, NotFound, RuntimeFault
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig, RuntimeLimits, RuntimeResources
from hud.runtimes.cloud.owner import OWNER
from hud.runtimes.e2b import E2BRuntime, named
from hud.testing.check_provider import check_provider
from tests.clouds.e2b_server import KEY, E2BServer
from tests.clouds.faults import ROW, check_missing_extra, check_vanishing
from tests.clouds.machines import Machines, images


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[E2BServer]:
    async with E2BServer(Machines(images(tmp_path))).serving() as server:
        monkeypatch.setenv("E2B_API_KEY", KEY)
        monkeypatch.setenv("E2B_API_URL", server.url)
        monkeypatch.setenv("E2B_SANDBOX_URL", server.url)
        monkeypatch.setenv("E2B_HTTP_VERSION", "1.1")
        yield server


def assert_nothing_is_left(server: E2BServer) -> None:
    machines = server.machines
    assert not machines.living
    assert sorted(machines.ended) == [machine.id for machine in machines.made]


async def test_a_task_is_graded_in_a_sandbox(server: E2BServer) -> None:
    provider = E2BRuntime("good", env_vars={"SAY": "hello"})
    async with provider(ROW) as place, connect(place) as client:
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hello"
        assert (await client.grade({"answer": "hi"}))["score"] == 1.0
    made = server.machines.made[0]
    assert made.asked["network"] == {"allowPublicTraffic": False}
    assert made.life_s == 3_600
    assert OWNER in made.labels
    assert_nothing_is_left(server)


async def test_it_keeps_the_contract_of_providers(server: E2BServer) -> None:
    await check_provider(E2BRuntime("good"), ROW, broken=E2BRuntime("broken"), parallel=3)
    assert_nothing_is_left(server)


async def test_a_failed_start_says_what_the_environment_printed(server: E2BServer) -> None:
    with pytest.raises(RuntimeFault, match=r"(?s)exited with code \d+.*no disk"):
        async with E2BRuntime("broken")(ROW):
            pass
    assert_nothing_is_left(server)


async def test_an_environment_that_dies_is_told_of(server: E2BServer) -> None:
    async with E2BRuntime("good")(ROW) as place:
        assert place.params["exit_reason"]() is None
        server.machines.made[0].processes[0].kill()
        assert "exited" in await place.params["exit_reason"].wait(30)
    assert_nothing_is_left(server)


async def test_a_sandbox_that_vanishes_leaves_its_rollout_ungraded(
    server: E2BServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def vanish() -> None:
        await server.machines.end(server.machines.made[0].id)

    says = "the sandbox is gone or cannot be reached"
    await check_vanishing(E2BRuntime("good"), vanish, says, tmp_path, monkeypatch)
    assert_nothing_is_left(server)


async def test_without_the_extra_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_missing_extra(E2BRuntime("good"), "e2b", monkeypatch)


async def test_a_foreign_key_and_an_unknown_template_are_input_errors(
    server: E2BServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="template nowhere"):
        async with E2BRuntime("nowhere")(ROW):
            pass
    monkeypatch.setenv("E2B_API_KEY", KEY[::-1])
    with pytest.raises(InputError, match="refuses the key"):
        async with E2BRuntime("good")(ROW):
            pass
    monkeypatch.delenv("E2B_API_KEY")
    with pytest.raises(InputError, match="needs E2B_API_KEY"):
        async with E2BRuntime("good")(ROW):
            pass
    assert not server.machines.made


async def test_a_limit_that_is_reached_is_a_fault_of_the_runtime(server: E2BServer) -> None:
    server.refusals["POST"] = [(429, "you have reached the maximum number of sandboxes")] * 9
    with pytest.raises(RuntimeFault, match="limit is reached"):
        async with E2BRuntime("good", runtime_config={"limits": {"startup_timeout_s": 20}})(ROW):
            pass
    assert not server.machines.made


async def test_a_sandbox_whose_making_was_cut_off_is_found_and_removed(server: E2BServer) -> None:
    server.cut = 1
    with pytest.raises(RuntimeFault, match="E2B failed"):
        async with E2BRuntime("good")(ROW):
            pass
    assert len(server.machines.made) == 1
    assert_nothing_is_left(server)


async def test_a_removal_that_fails_is_tried_again(server: E2BServer) -> None:
    async with E2BRuntime("good")(ROW):
        server.refusals["DELETE"] = [(500, "out of order")]
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    "asked", [RuntimeResources(cpu=4), RuntimeResources(memory_mb=64), RuntimeResources(os="macos")]
)
async def test_resources_are_refused_before_anything_is_made(
    server: E2BServer, asked: RuntimeResources
) -> None:
    row = ROW.model_copy(update={"runtime_config": RuntimeConfig(resources=asked)})
    with pytest.raises(InputError, match="cannot honour"):
        async with E2BRuntime("good")(row):
            pass
    long = RuntimeConfig(limits=RuntimeLimits(run_timeout_s=90_000))
    with pytest.raises(InputError, match="vendor ends everything"):
        async with E2BRuntime("good", runtime_config=long)(ROW):
            pass
    assert not server.machines.made


async def test_what_a_killed_command_left_is_reaped_by_the_next(server: E2BServer) -> None:
    from hud.runtimes.cloud.owner import labels

    dead, alive, foreign = (labels(name, "clouds") for name in ("dead", "alive", "foreign"))
    machine, _, _ = dead[OWNER].partition(".")
    dead[OWNER] = f"{machine}.4194300-1"
    foreign[OWNER] = "0123456789abcdef.4194300-1"
    for found in (dead, alive, foreign):
        server.machines.make("good", labels=found, env={}, life_s=60)
    async with E2BRuntime("good") as runtime, runtime(ROW):
        await asyncio.wait_for(server.machines.gone.wait(), 30)
    assert sorted(server.machines.living) == ["sb-0002", "sb-0003"]


def test_the_command_line_names_the_template() -> None:
    provider = named("good", None, None)
    assert isinstance(provider, E2BRuntime)
    assert provider.template == "good"
