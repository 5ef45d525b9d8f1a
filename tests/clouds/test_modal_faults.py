"""What breaks at Modal: starts, sandboxes, calls and commands; each ends as what it is, once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from grpclib import Status

from hud._core.errors import InputError, RuntimeFault
from hud.clients import connect
from hud.runtimes.cloud.owner import OWNER, labels
from hud.runtimes.modal import ModalRuntime
from tests.clouds.faults import ROW, check_vanishing
from tests.clouds.modal_server import ModalServer, assert_nothing_is_left
from tests.rollouts import leap

_HOLDING = """
import asyncio
from hud.environment.task import Task
from hud.runtimes.modal import ModalRuntime

async def hold():
    async with ModalRuntime("good")(Task(env="clouds", id="ask")):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


@pytest.fixture
def server(modal_server: ModalServer) -> ModalServer:
    return modal_server


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


async def test_a_command_that_was_killed_is_followed_by_one_that_cleans_up(
    server: ModalServer, tmp_path: Path
) -> None:
    source = Path(__file__).parents[2]
    killed = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _HOLDING,
        env={**os.environ, "PYTHONPATH": str(source / "src"), "HUD_HOME": str(tmp_path / "home")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert killed.stdout is not None
    assert await killed.stdout.readline() == b"held\n"
    killed.kill()
    await killed.wait()
    left = list(server.machines.living)
    assert len(left) == 1
    async with ModalRuntime("good") as runtime, runtime(ROW):
        await asyncio.wait_for(server.machines.gone.wait(), 30)
        assert server.machines.ended == left
    assert_nothing_is_left(server)
