"""ModalRuntime through Modal's own SDK, against a server that speaks what the SDK speaks."""

from __future__ import annotations

import asyncio

import modal
import pytest

from hud._core.errors import InputError, NotFound, RuntimeFault
from hud.clients import connect
from hud.environment.runtime_config import (
    RuntimeConfig,
    RuntimeGPU,
    RuntimeLimits,
    RuntimeResources,
)
from hud.environment.task import Task
from hud.runtimes.cloud.owner import OWNER
from hud.runtimes.modal import ModalRuntime, named
from hud.testing.check_provider import check_provider
from tests.clouds.faults import ROW, check_missing_extra
from tests.clouds.modal_server import (
    APP_NAME,
    TOKEN_SECRET,
    ModalServer,
    assert_nothing_is_left,
    close_client,
)


@pytest.fixture
def server(modal_server: ModalServer) -> ModalServer:
    return modal_server


def asking(resources: RuntimeResources) -> Task:
    return ROW.model_copy(update={"runtime_config": RuntimeConfig(resources=resources)})


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


async def test_an_image_that_builds_for_long_can_be_waited_for_no_more(
    server: ModalServer,
) -> None:
    async def hold() -> None:
        async with ModalRuntime("registry.example/slow")(ROW):
            pass

    work = asyncio.create_task(hold())
    async with asyncio.timeout(30):
        while "ImageJoinStreaming" not in server.calls:
            await server.called()
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()
    hasty = ModalRuntime(
        "registry.example/slow", runtime_config={"limits": {"startup_timeout_s": 1}}
    )
    with pytest.raises(RuntimeFault, match=r"did not build image .*/slow within 1 s"):
        async with hasty(ROW):
            pass
    assert not server.machines.made


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
