"""ModalRuntime through Modal's own SDK, against a server that speaks what the SDK speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import modal
import pytest

from hud.clients import connect
from hud.environment.task import Task
from hud.runtimes.cloud.owner import OWNER
from hud.runtimes.modal import ModalRuntime
from tests.clouds.machines import Machines, images
from tests.clouds.modal_server import TOKEN_ID, TOKEN_SECRET, ModalServer

ROW = Task(env="clouds", id="ask")


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[ModalServer]:
    async with ModalServer(Machines(images(tmp_path))).serving() as server:
        monkeypatch.setenv("MODAL_SERVER_URL", server.url)
        monkeypatch.setenv("MODAL_TOKEN_ID", TOKEN_ID)
        monkeypatch.setenv("MODAL_TOKEN_SECRET", TOKEN_SECRET)
        monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "modal.toml"))
        monkeypatch.setenv("MODAL_DISABLE_API_PROXY", "1")
        yield server
        client = await modal.Client.from_env.aio()
        await client.close.aio()


def assert_nothing_is_left(server: ModalServer) -> None:
    machines = server.machines
    assert not machines.living
    assert sorted(machines.ended) == [machine.id for machine in machines.made]


async def test_a_task_is_graded_in_a_sandbox(server: ModalServer) -> None:
    provider = ModalRuntime("good", env_vars={"SAY": "hello"})
    async with provider(ROW) as place, connect(place) as client:
        assert (await client.start_task("ask", {"word": "hi"}))["prompt"] == "say hello"
        assert (await client.grade({"answer": "hi"}))["score"] == 1.0
    made = server.machines.made[0]
    assert made.life_s == 3_600
    assert OWNER in made.labels
    assert_nothing_is_left(server)
