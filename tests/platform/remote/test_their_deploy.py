"""The published client, from a folder to a remote run: deploy, sync, eval, all unchanged."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud.testing.model_server import Say
from tests.needs import need_program
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.platform.programs import Published
from tests.platform.server import Server, running

SOURCE = """
from hud import Environment

env = Environment("theirs-deployed")


@env.template()
async def ask(number: int = 1):
    answer = yield f"What is {number} + 1?"
    yield 1.0 if str(answer).strip() == str(number + 1) else 0.0


tasks = [ask(number=41), ask(number=1)]
"""
DOCKERFILE = 'FROM python:3.11-slim\nCOPY . .\nCMD ["hud", "serve", "env.py"]\n'


@pytest.fixture(autouse=True, scope="module")
def walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    need_program("bwrap")


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    with running(tmp_path / "home") as found:
        yield found


def test_their_deploy_sync_and_remote_eval(
    server: Server, peer_python: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "env.py").write_text(SOURCE)
    (folder / "Dockerfile.hud").write_text(DOCKERFILE)
    key = server.key(team="theirs")
    theirs = Published(peer_python, server, folder, key)

    def hud(*words: str) -> None:
        theirs.run("-m", "hud.cli", *words)

    with (
        model_server(lambda question: Say("42"), api_key=PROVIDER_KEY) as models,
        server.client(key) as client,
    ):
        body = {"base_url": models.base_url("messages"), "api_key": PROVIDER_KEY}
        put = client.put("/v2/providers/anthropic", json={**body, "dialect": "anthropic"})
        assert put.status_code == 200, put.text
        hud("deploy", ".", "-y")
        hud("sync", "tasks", "their-taskset", "env.py", "-y")
        hud("eval", "their-taskset", "claude", "-m", "claude-haiku-4-5", "--all", "-y", "--remote")
        job = client.get("/v2/jobs", params={"limit": 1}).json()["items"][0]
        runs = client.get(f"/v2/jobs/{job['id']}/traces").json()["items"]
    assert sorted(run["reward"] for run in runs) == [0.0, 1.0]
    assert {run["env"] for run in runs} == {"theirs-deployed"}
    assert {run["runtime"] for run in runs} == {"OnPlatform"}
