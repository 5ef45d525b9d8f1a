"""ModalRuntime through Modal's own SDK, against a server that speaks what the SDK speaks."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import modal
import pytest
from grpclib import Status

from hud._core.errors import InputError, NotFound, RuntimeFault
from hud.clients import connect
from hud.environment.runtime_config import (
    RuntimeConfig,
    RuntimeGPU,
    RuntimeLimits,
    RuntimeResources,
)
from hud.environment.task import Task
from hud.runtimes.cloud.owner import OWNER, labels
from hud.runtimes.modal import ModalRuntime, named
from hud.testing.check_provider import check_provider
from tests.clouds.faults import ROW, check_missing_extra, check_vanishing
from tests.clouds.machines import Machines, images
from tests.clouds.modal_server import APP_NAME, TOKEN_ID, TOKEN_SECRET, ModalServer
from tests.rollouts import leap


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ModalServer]:
    async with ModalServer(Machines(images(tmp_path))).serving() as server:
        monkeypatch.setenv("MODAL_SERVER_URL", server.url)
        monkeypatch.setenv("MODAL_TOKEN_ID", TOKEN_ID)
        monkeypatch.setenv("MODAL_TOKEN_SECRET", TOKEN_SECRET)
        monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
        monkeypatch.setenv("MODAL_DISABLE_API_PROXY", "1")
        yield server
        await close_client()


async def close_client() -> None:
    """Close the client that the SDK keeps for the whole process, so that it reads its keys anew."""
    client = await cast("Any", modal.Client).from_env.aio()
    await client.close.aio()


def asking(resources: RuntimeResources) -> Task:
    return ROW.model_copy(update={"runtime_config": RuntimeConfig(resources=resources)})


def assert_nothing_is_left(server: ModalServer) -> None:
    machines = server.machines
    assert not machines.living
    assert sorted(machines.ended) == [machine.id for machine in machines.made]


async def test_a_task_is_graded_in_a_sandbox_without_an_open_port(server: ModalServer) -> None:
    provider = ModalRuntime("good", env_vars={"SAY": "hello"})
    row = asking(RuntimeResources(cpu=0.5, memory_mb=512))
    async with provider(row) as place, connect(place) as client:
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hello"
        assert (await client.grade({"answer": "hi"}))["score"] == 1.0
    made = server.machines.made[0]
    asked = server.asked(made)
    assert not asked.open_ports.ports
    assert (asked.resources.milli_cpu, asked.resources.milli_cpu_max) == (500, 500)
    assert (asked.resources.memory_mb, asked.resources.memory_mb_max) == (512, 512)
    assert made.life_s == 3_600
    assert OWNER in made.labels
    assert_nothing_is_left(server)


async def test_it_keeps_the_contract_of_providers(server: ModalServer) -> None:
    await check_provider(
        ModalRuntime("good"),
        ROW,
        broken=ModalRuntime("broken"),
        broken_says="no disk",
        unsupported=asking(RuntimeResources(storage_mb=64)),
        parallel=3,
    )
    assert server.calls.count("ImageGetByTag") == 2, "each image is looked up once"
    assert_nothing_is_left(server)


async def test_a_gpu_is_placed_by_the_backend_that_has_them(server: ModalServer) -> None:
    row = asking(RuntimeResources(gpu=RuntimeGPU(type=["h100", "a100"], count=2)))
    async with ModalRuntime("good", env_vars={"SAY": "gpu"})(row) as place, connect(place) as it:
        assert (await it.start_task("ask", {}))["prompt"] == "say gpu"
    config = server.asked(server.machines.made[0]).resources.gpu_config
    assert (config.gpu_type, config.count) == ("H100", 2)
    with pytest.raises(RuntimeFault, match=r"(?s)exited with code \d+.*no disk"):
        async with ModalRuntime("broken")(row):
            pass
    assert "SandboxCreate" in server.calls
    assert "SandboxCreateV2" not in server.calls
    assert_nothing_is_left(server)


async def test_more_than_a_pipe_holds_passes_both_ways(server: ModalServer) -> None:
    word = "é" * 700_000
    async with ModalRuntime("good")(ROW) as place, connect(place) as client:
        assert (await client.start_task("ask", {"word": word}))["prompt"] == f"say {word}"
        assert (await client.grade({"answer": word}))["score"] == 1.0
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("main/good:v2", "ImageGetByTag"),
        ("im-good", "ImageFromId"),
        ("registry.example/team/good", "ImageGetOrCreate"),
    ],
)
async def test_an_image_is_published_has_an_id_or_comes_from_a_registry(
    server: ModalServer, name: str, call: str
) -> None:
    row = ROW.model_copy(update={"runtime_config": RuntimeConfig(image=name)})
    async with ModalRuntime("nowhere")(row):
        pass
    assert server.calls.count(call) == 1
    assert_nothing_is_left(server)


async def test_an_image_and_an_app_of_the_sdk_are_used(server: ModalServer) -> None:
    app = await modal.App.lookup.aio("mine", create_if_missing=True)
    image = modal.Image.from_id("im-good")
    async with ModalRuntime(image=image, app=app)(ROW):
        pass
    with pytest.raises(InputError, match="was not looked up"):
        async with ModalRuntime(image=image, app=modal.App(APP_NAME))(ROW):
            pass
    assert server.calls.count("AppGetOrCreate") == 1
    assert_nothing_is_left(server)


async def test_an_image_that_cannot_be_built_says_what_its_build_printed(
    server: ModalServer,
) -> None:
    with pytest.raises(RuntimeFault, match=r"(?s)could not build.*manifest unknown") as failed:
        async with ModalRuntime("registry.example/nowhere")(ROW):
            pass
    assert failed.value.hint == "modal image logs im-nowhere"
    assert not server.machines.made


async def test_a_failed_start_says_what_the_environment_printed(server: ModalServer) -> None:
    with pytest.raises(RuntimeFault, match=r"(?s)exited with code \d+.*no disk"):
        async with ModalRuntime("broken")(ROW):
            pass
    assert_nothing_is_left(server)


async def test_an_environment_that_never_answers_says_what_it_printed(server: ModalServer) -> None:
    runtime = ModalRuntime(
        "good",
        command=["sh", "-c", "echo waiting for a disk; sleep 100"],
        runtime_config={"limits": {"startup_timeout_s": 2}},
    )
    with pytest.raises(RuntimeFault, match=r"(?s)no environment answered.*waiting for a disk"):
        async with runtime(ROW):
            pass
    assert_nothing_is_left(server)


async def test_an_image_without_python_says_so(server: ModalServer) -> None:
    python = server.machines.images["good"] / "bin" / "python3"
    python.unlink()
    python.write_text("#!/bin/sh\necho no interpreter >&2\nexit 127\n")
    python.chmod(0o755)
    runtime = ModalRuntime("good", runtime_config={"limits": {"startup_timeout_s": 2}})
    with pytest.raises(RuntimeFault, match=r"way to the control port ended: no interpreter"):
        async with runtime(ROW):
            pass
    assert_nothing_is_left(server)


async def test_an_environment_that_dies_is_told_of(server: ModalServer) -> None:
    async with ModalRuntime("good")(ROW) as place:
        assert place.params["exit_reason"]() is None
        os.killpg(server.machines.made[0].processes[0].pid, signal.SIGKILL)
        assert "exited with code 137" in await place.params["exit_reason"].wait(30)
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    ("how", "says"),
    [("terminated", "it was terminated at Modal"), ("expired", "its lifetime at Modal is over")],
)
async def test_a_sandbox_that_vanishes_leaves_its_rollout_ungraded(
    server: ModalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    async def vanish() -> None:
        sandbox_id = server.machines.made[0].id
        await (server.expire if how == "expired" else server.machines.end)(sandbox_id)

    await check_vanishing(ModalRuntime("good"), vanish, says, tmp_path, monkeypatch)
    assert_nothing_is_left(server)


async def test_an_outage_of_the_control_plane_ends_no_rollout(server: ModalServer) -> None:
    async with ModalRuntime("good")(ROW) as place, connect(place) as client:
        server.refusals["SandboxWaitV2"] = [(Status.UNAVAILABLE, "out of order")] * 5
        server.wake()
        async with asyncio.timeout(30):
            while server.refusals["SandboxWaitV2"]:
                await server.called()
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hi"
        assert place.params["exit_reason"]() is None
    assert_nothing_is_left(server)


async def test_an_outage_without_end_is_told_of(server: ModalServer) -> None:
    async with ModalRuntime("good")(ROW) as place:
        server.refusals["SandboxWaitV2"] = [(Status.UNAVAILABLE, "out of order")] * 1_000
        server.wake()
        for _ in range(2):
            left = len(server.refusals["SandboxWaitV2"])
            while len(server.refusals["SandboxWaitV2"]) > left - 5:  # one look is four calls
                await server.called()
            leap(100)
        assert "cannot be reached: out of order" in await place.params["exit_reason"].wait(300)
        server.refusals.clear()
    assert_nothing_is_left(server)


async def test_a_token_that_ran_out_is_replaced(server: ModalServer) -> None:
    server.token_life_s = 1.0
    async with ModalRuntime("good")(ROW) as place, connect(place) as client:
        server.refusals["TaskExecStdinWrite"] = [(Status.UNAUTHENTICATED, "expired")]
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hi"
    assert "SandboxGetCommandRouterAccess" in server.calls
    assert_nothing_is_left(server)


async def test_a_foreign_token_and_an_unknown_image_are_input_errors(
    server: ModalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="image nowhere"):
        async with ModalRuntime("nowhere")(ROW):
            pass
    with pytest.raises(InputError, match="needs an image"):
        async with ModalRuntime()(ROW):
            pass
    await close_client()
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-stolen")
    with pytest.raises(InputError, match="refuses the token") as refused:
        async with ModalRuntime("good")(ROW):
            pass
    assert "as-stolen" not in f"{refused.value} {refused.value.hint}"
    await close_client()
    monkeypatch.delenv("MODAL_TOKEN_SECRET")
    with pytest.raises(InputError, match="needs MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"):
        async with ModalRuntime("good")(ROW):
            pass
    monkeypatch.setenv("MODAL_TOKEN_SECRET", TOKEN_SECRET)
    assert not server.machines.made


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (Status.RESOURCE_EXHAUSTED, RuntimeFault, "limit is reached: no more"),
        (Status.PERMISSION_DENIED, InputError, "refuses the token: no more"),
        (Status.INVALID_ARGUMENT, InputError, "refuses image good: no more"),
        (Status.FAILED_PRECONDITION, RuntimeFault, "failed with image good: no more"),
        (Status.UNAVAILABLE, RuntimeFault, "failed with image good: no more"),
    ],
)
async def test_each_refusal_of_a_sandbox_has_its_boundary(
    server: ModalServer, status: Status, kind: type[Exception], says: str
) -> None:
    server.refusals["SandboxCreateV2"] = [(status, "no more")] * 9
    with pytest.raises(kind, match=says):
        async with ModalRuntime("good")(ROW):
            pass
    assert not server.machines.made


async def test_a_sandbox_whose_making_was_cut_off_is_found_and_removed(
    server: ModalServer,
) -> None:
    server.cut = 9
    with pytest.raises(RuntimeFault, match="Modal failed"):
        async with ModalRuntime("good")(ROW):
            pass
    assert len(server.machines.made) == 1
    assert_nothing_is_left(server)


async def test_a_reply_that_was_lost_makes_no_second_sandbox(server: ModalServer) -> None:
    server.cut = 1
    async with ModalRuntime("good")(ROW):
        assert len(server.machines.made) == 1
    assert_nothing_is_left(server)


async def test_a_removal_that_fails_is_tried_again(server: ModalServer) -> None:
    async with ModalRuntime("good")(ROW):
        server.refusals["SandboxTerminateV2"] = [(Status.INTERNAL, "out of order")] * 5
    assert_nothing_is_left(server)


@pytest.mark.parametrize(
    "asked",
    [
        RuntimeResources(storage_mb=64),
        RuntimeResources(os="macos"),
        RuntimeResources(gpu=RuntimeGPU(count=1)),
    ],
)
async def test_resources_are_refused_before_anything_is_asked(
    server: ModalServer, asked: RuntimeResources
) -> None:
    with pytest.raises(InputError, match="cannot honour"):
        async with ModalRuntime("good")(asking(asked)):
            pass
    long = RuntimeConfig(limits=RuntimeLimits(run_timeout_s=90_000))
    with pytest.raises(InputError, match="vendor ends everything"):
        async with ModalRuntime("good", runtime_config=long)(ROW):
            pass
    assert not server.calls


async def test_what_a_killed_command_left_is_reaped_by_the_next(server: ModalServer) -> None:
    dead, alive, foreign = (labels(name, "clouds") for name in ("dead", "alive", "foreign"))
    machine, _, _ = dead[OWNER].partition(".")
    dead[OWNER] = f"{machine}.4194300-1"
    foreign[OWNER] = "0123456789abcdef.4194300-1"
    for found in (alive, dead, foreign):
        await server.leave("good", found, gpu="T4" if found is dead else "")
    async with ModalRuntime("good") as runtime, runtime(ROW):
        await asyncio.wait_for(server.machines.gone.wait(), 30)
    assert sorted(server.machines.living) == ["sb-0001", "sb-0003"]


async def test_without_the_extra_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_missing_extra(ModalRuntime("good"), "modal", monkeypatch)


def test_what_contradicts_itself_is_refused_at_once() -> None:
    image = modal.Image.from_id("im-good")
    with pytest.raises(ValueError, match="not both"):
        ModalRuntime("good", image=image)
    with pytest.raises(ValueError, match="not both"):
        ModalRuntime("good", app_name="mine", app=modal.App("mine"))
    with pytest.raises(ValueError, match="absolute"):
        ModalRuntime("good", workdir="app")
    with pytest.raises(TypeError, match="list of words"):
        ModalRuntime("good", command="hud serve")


def test_the_command_line_names_the_image() -> None:
    provider = named("good", None, None)
    assert isinstance(provider, ModalRuntime)
    assert provider.image_name == "good"
