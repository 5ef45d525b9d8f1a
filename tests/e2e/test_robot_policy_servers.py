"""Robot agents whose policy is served elsewhere, and what a policy server may break."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from hud._core.outcome import Outcome
from hud.agents.robot import (
    OpenPIAdapter,
    RemoteModel,
    RobotAgent,
)
from tests.e2e.policy_server import Answer, PolicyServer
from tests.e2e.robot_agents import (
    drive,
    home,
    once,
    points,
    seeded,
)
from tests.needs import need_module
from tests.rollouts import assert_ungraded

np = need_module("numpy")
need_module("gymnasium")
need_module("websockets")


__all__ = ["home"]


def onwards(_: dict[str, Any]) -> dict[str, Any]:
    timing = {"infer_ms": 1.5}
    return {"actions": np.tile([1.0, 0.0], (4, 1)), "policy_timing": timing}


async def test_a_policy_server_drives_many_rollouts_over_few_connections() -> None:
    server = PolicyServer(onwards)
    walk = points(num_envs=3)
    async with server.serving() as model:
        agent = RobotAgent(model=model, adapter=OpenPIAdapter(chunk_size=3))
        runs = await drive(agent, *seeded(walk, (1, 2, 3)))
        assert [run.reward for run in runs] == [1.0] * 3, [run.trace.error for run in runs]
        assert model.metadata == {"policy": "scripted"}
    assert len(server.asked) == 6 and 1 <= server.connections <= 3
    assert sorted({shown["prompt"] for shown in server.asked}) == ["walk 1", "walk 2", "walk 3"]
    assert server.asked[0]["camera"].shape == (24, 32, 3)


def _error(_: dict[str, Any]) -> str:
    return "Traceback (most recent call last):\n  File \"policy.py\"\nKeyError: 'wrist'\n"


FAILURES: dict[str, tuple[Answer, str]] = {
    "error": (_error, "failed: KeyError: 'wrist'"),
    "hangs up": (lambda _: None, "ended the connection"),
    "nonsense": (lambda _: b"\xc1", "answered nonsense"),
    "other key": (
        lambda _: {"action": np.zeros((1, 2))},
        "answered without 'actions': ['action']",
    ),
    "shape": (lambda _: {"actions": np.zeros((2, 2, 2))}, "actions of shape [2, 2, 2]"),
    "text": (lambda _: {"actions": "left"}, "no array of actions"),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_what_a_policy_server_breaks_is_the_models_fault(failure: str) -> None:
    answer, says = FAILURES[failure]
    async with PolicyServer(answer).serving() as model:
        run = await once(RobotAgent(model=model, adapter=OpenPIAdapter()))
        assert_ungraded(run, Outcome.MODEL, says)


async def test_a_server_that_is_none_is_the_models_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
    nobody = RemoteModel("127.0.0.1", port, connect_timeout_s=0.1)
    run = await once(RobotAgent(model=nobody, adapter=OpenPIAdapter()))
    assert_ungraded(run, Outcome.MODEL, f"ws://127.0.0.1:{port} does not listen")
    async with PolicyServer(onwards, greeting="no key").serving() as model:
        run = await once(RobotAgent(model=model, adapter=OpenPIAdapter()))
        assert_ungraded(run, Outcome.MODEL, "refuses: no key")


async def test_a_rollout_that_is_cancelled_hangs_up_on_its_policy_server() -> None:
    server = PolicyServer(lambda _: ...)
    async with asyncio.timeout(60), server.serving() as model:
        asking = asyncio.create_task(model.ainfer({"place": np.zeros(2)}))
        await server.begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.left.wait()


async def test_a_server_that_was_started_anew_goes_on_answering() -> None:
    first, second = PolicyServer(onwards), PolicyServer(onwards)
    async with first.serving() as model:
        await asyncio.to_thread(model.connect)
        await asyncio.to_thread(model.connect)
        assert (await model.ainfer({"place": np.zeros(2)})).shape == (4, 2)
        assert first.connections == 1
        kept = RemoteModel("127.0.0.1", first.port)
        await kept.ainfer({"place": np.zeros(2)})
    async with second.serving(first.port):
        assert (await kept.ainfer({"place": np.zeros(2)})).shape == (4, 2)
        await asyncio.to_thread(kept.close)
    assert second.connections == 1


async def test_the_published_client_understands_the_server_these_tests_use(
    peer_python: Path,
) -> None:
    program = dedent("""
        import sys
        import numpy as np
        try:
            from openpi_client.websocket_client_policy import WebsocketClientPolicy
        except ModuleNotFoundError:
            sys.exit(7)
        policy = WebsocketClientPolicy("127.0.0.1", int(sys.argv[1]))
        found = policy.infer({"place": np.zeros(2, np.float32), "prompt": "go"})
        assert policy.get_server_metadata() == {"policy": "scripted"}
        assert found["actions"].tolist() == [[1.0, 0.0]] * 4
    """)
    server = PolicyServer(onwards)
    async with server.serving():
        done = await asyncio.to_thread(
            subprocess.run,
            [str(peer_python), "-c", program, str(server.port)],
            capture_output=True,
            text=True,
            timeout=120,
        )
    if done.returncode == 7:
        pytest.skip("openpi-client is not installed beside the published client")
    assert done.returncode == 0, done.stderr
    assert server.asked[0]["prompt"] == "go"
