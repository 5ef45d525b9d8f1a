"""From a folder to a remote run, in the sandbox that strangers' environments get."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.needs import need_program
from tests.platform.remote.asking import over, submit
from tests.platform.remote.laptop import Laptop
from tests.platform.server import running

SOURCE = '''
import os
from pathlib import Path

from hud import Environment

env = Environment("measured")


@env.template()
async def measure(number: int = 1):
    answer = yield f"Say {number}."
    yield {"score": number / 10, "info": {"answer": answer}}


@env.template()
async def look_around(home: str):
    """What an environment can see of the platform that runs it; it should be nothing."""
    yield "Look."
    seen = [
        name
        for name, found in {
            "the home": os.path.exists(home),
            "its database": os.path.exists(f"{home}/hud.db"),
            "its secret key": os.path.exists(f"{home}/secret.key"),
            "a variable of the server": any(home in value for value in os.environ.values()),
            "another process": len([one for one in os.listdir("/proc") if one.isdigit()]) > 20,
        }.items()
        if found
    ]
    if _reaches(os.environ.get("PLATFORM_PORT", "")):
        seen.append("the server's port")
    yield {"score": 0.0 if seen else 1.0, "content": ", ".join(seen)}


@env.template()
async def told():
    yield "Say nothing."
    yield 1.0 if os.environ.get("TOLD") == "to the environment only" else 0.0


@env.template()
async def eat(megabytes: int):
    yield "Eat."
    held = bytearray(megabytes << 20)
    for place in range(0, len(held), 4096):
        held[place] = 1
    yield 1.0


def _reaches(port: str) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=2):
            return True
    except (OSError, ValueError):
        return False


tasks = [measure(number=number) for number in (0, 3, 10)]
'''


@pytest.fixture(autouse=True, scope="module")
def walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    need_program("bwrap")


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Generator[Laptop]:
    folder = tmp_path_factory.mktemp("deployed")
    with running(folder / "home", "--environment-memory", "512") as server:
        found = Laptop(server, folder / "measured", {"env.py": SOURCE})
        port = server.url.rpartition(":")[2]
        settings = ("--env", "TOLD=to the environment only", "--env", f"PLATFORM_PORT={port}")
        found.hud("deploy", ".", "--yes", *settings)
        found.hud("sync", "tasks", "measured", "env.py", "--yes")
        yield found


@pytest.mark.parametrize("how", [("--remote",), ("--runtime", "hud")])
def test_the_rewards_of_a_remote_run_are_those_of_a_local_one(
    laptop: Laptop, how: tuple[str, ...]
) -> None:
    local = laptop.rewards("env.py", "noop", "--all", "--runtime", "subprocess")
    remote = laptop.rewards("measured", "noop", "--all", *how)
    assert remote == local
    assert sorted(reward for [reward] in local.values()) == [0.0, 0.3, 1.0]


def _ended(laptop: Laptop, task: str, *, asks: Any = None, **args: Any) -> dict[str, Any]:
    with laptop.server.client(laptop.key) as client:
        more: dict[str, Any] = {"args": args, "retries": 0}
        if asks is not None:
            more["runtime_config"] = {"resources": asks}
        return over(client, submit(client, task, env="measured", **more))


def test_an_environment_sees_nothing_of_the_platform_that_runs_it(laptop: Laptop) -> None:
    ended = _ended(laptop, "look_around", home=str(laptop.server.home))
    assert ended["evaluation_result"]["content"] in (None, "")
    assert ended["reward"] == 1.0


def test_an_environment_is_run_with_what_it_was_deployed_with(laptop: Laptop) -> None:
    assert _ended(laptop, "told")["reward"] == 1.0


@pytest.mark.usefixtures("limits_on_memory")
def test_an_environment_that_asks_for_no_memory_gets_what_the_platform_gives(
    laptop: Laptop,
) -> None:
    ended = _ended(laptop, "eat", megabytes=4000)
    assert ended["status"] == "error" and ended["reward"] is None
    assert "512 MB of memory" in ended["error"]
    # The server has not suffered, nor has the next.
    assert _ended(laptop, "eat", megabytes=50)["reward"] == 1.0


def test_an_environment_that_asks_for_more_memory_than_there_is_to_have_is_not_run(
    laptop: Laptop,
) -> None:
    ended = _ended(laptop, "eat", asks={"memory_mb": 513}, megabytes=1)
    assert ended["status"] == "error" and ended["reward"] is None
    assert "513 MiB of memory" in ended["error"] and "at most 512" in ended["error"]
