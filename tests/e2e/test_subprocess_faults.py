"""Processes that crash, hang, leak or are killed: the others go on, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from hud._core.errors import EnvironmentFault, HudError, RuntimeFault
from hud.clients import connect
from hud.runtimes.subprocess import ExitReason, SubprocessRuntime
from hud.runtimes.warm import scope
from tests.e2e.placed import (
    MARK,
    SOURCES,
    alive,
    marked,
    prompt_of,
    score_of,
    started,
    task,
    until_childless,
    until_dead,
    until_gone,
)

FAULTY = SOURCES / "faulty.py"
COUNT = task("faulty", "count")
DRIVER = Path(__file__).parent / "eval_driver.py"


@pytest.fixture(autouse=True)
async def mark(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[str]:
    """Mark every process of a test, and see at its end that none is left."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    yield value
    await until_gone(value)


@pytest.mark.parametrize(
    ("how", "says"),
    [("abort", "SIGABRT"), ("exit", "status 3"), ("kill", "SIGKILL")],
)
@pytest.mark.parametrize("phase", ["start", "grade"])
@pytest.mark.parametrize("fresh", [None, True])
async def test_a_crash_ends_its_own_rollout_only_and_says_how(
    how: str, says: str, phase: str, fresh: bool | None
) -> None:
    row = task("faulty", "broken", **{phase: how})
    async with SubprocessRuntime(FAULTY, fresh=fresh) as runtime:
        async with started(runtime, COUNT) as (_, beside, _prompt):
            async with runtime(row) as place, connect(place) as client:
                if phase == "grade":
                    await client.start_task(row.id, row.args)
                call = client.grade({"answer": ""}) if phase == "grade" else None
                with pytest.raises(RuntimeFault):
                    await (call or client.start_task(row.id, row.args))
                reason = place.params["exit_reason"]
                assert isinstance(reason, ExitReason)
                text = await reason.wait(30)
            assert text is not None and says in text and f"about to {how}" in text
            assert (await beside.grade({"answer": "ok"}))["score"] == 1.0
        assert await score_of(runtime, COUNT, "ok") == 1.0


async def test_an_ordinary_end_has_no_exit_reason() -> None:
    async with SubprocessRuntime(FAULTY) as runtime:
        async with started(runtime, COUNT) as (place, client, _):
            await client.bye()
            assert place.params["exit_reason"]() is None
        assert place.params["exit_reason"]() is None


@pytest.mark.parametrize(
    ("text", "fault", "says"),
    [
        ("import os\nprint('so far')\nos.abort()", EnvironmentFault, r"SIGABRT.*so far"),
        ("import os\nos._exit(3)", EnvironmentFault, "status 3"),
        ("import os\nos.kill(os.getpid(), 9)", RuntimeFault, "SIGKILL"),
    ],
)
async def test_an_import_that_ends_its_interpreter_is_named(
    tmp_path: Path, text: str, fault: type[HudError], says: str
) -> None:
    source = tmp_path / "ends.py"
    source.write_text(text)
    async with SubprocessRuntime(source) as runtime:
        with pytest.raises(fault, match=says):
            async with runtime(COUNT):
                pass


async def test_an_import_that_hangs_ends_with_the_ready_timeout(tmp_path: Path) -> None:
    source = tmp_path / "hangs.py"
    source.write_text("import time\nprint('before')\ntime.sleep(1000)\n")
    async with SubprocessRuntime(source, ready_timeout=2.0) as runtime:
        for _ in range(2):
            with pytest.raises(EnvironmentFault, match=r"importing within 2 s.*before"):
                async with runtime(COUNT):
                    pass


async def test_a_source_that_always_dies_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "_FIRST_BACKOFF_S", 0.0)
    source = tmp_path / "dies.py"
    source.write_text("import os\nos.kill(os.getpid(), 9)\n")
    messages: list[str] = []
    async with SubprocessRuntime(source) as runtime:
        for _ in range(7):
            with pytest.raises(RuntimeFault) as caught:
                async with runtime(COUNT):
                    pass
            messages.append(caught.value.message)
    assert "in a row died" in messages[-1] and messages[-1] == messages[-2]


@pytest.mark.parametrize("fresh", [None, True])
async def test_what_a_rollout_leaves_behind_ends_with_it(fresh: bool | None) -> None:
    async with SubprocessRuntime(FAULTY, fresh=fresh) as runtime:
        async with started(runtime, task("faulty", "leak")) as (_, client, prompt):
            left = [int(word) for word in prompt.split()]
            assert len(left) == 4 and all(map(alive, left))
            await client.bye()
        await until_dead(*left)
        await until_childless(runtime.parent_pid)


async def test_what_a_killed_rollout_leaves_behind_ends_with_it() -> None:
    async with SubprocessRuntime(FAULTY) as runtime:
        async with started(runtime, task("faulty", "leak")) as (_, client, prompt):
            left = [int(word) for word in prompt.split()]
            os.kill(left[-1], signal.SIGKILL)
            await client.lost
        await until_dead(*left)
        await until_childless(runtime.parent_pid)
        assert await score_of(runtime, COUNT, "ok") == 1.0


async def test_a_process_that_ignores_the_request_to_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scope, "STOP_GRACE_S", 0.2)
    with caplog.at_level(logging.WARNING, "hud"):
        async with SubprocessRuntime(FAULTY) as runtime:
            pid = int(await prompt_of(runtime, task("faulty", "stubborn")))
            assert not alive(pid)
    assert any("did not stop within 0.2 s" in record.getMessage() for record in caplog.records)


async def test_a_killed_parent_fails_its_rollouts_and_is_replaced(mark: str) -> None:
    async with SubprocessRuntime(FAULTY) as runtime:
        async with started(runtime, task("faulty", "leak")) as (place, client, prompt):
            left = [int(word) for word in prompt.split()]
            parent = runtime.parent_pid
            assert parent is not None
            os.kill(parent, signal.SIGKILL)
            await client.lost
            text = await place.params["exit_reason"].wait(30)
            assert text is not None and "SIGKILL" in text
        await until_dead(*left)
        assert await score_of(runtime, COUNT, "ok") == 1.0
        assert runtime.parent_pid not in (None, parent)


async def test_a_terminated_parent_ends_its_rollouts_with_their_hooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("HUD_TEST_LOG", str(log))
    async with SubprocessRuntime(SOURCES / "hooks.py") as runtime:
        async with started(runtime, task("hooks", "hold")) as (_, client, pid):
            parent = runtime.parent_pid
            assert parent is not None
            os.kill(parent, signal.SIGTERM)
            await client.lost
            await until_dead(parent, int(pid))
            assert f"shutdown {pid}" in log.read_text()
        assert await prompt_of(runtime, task("hooks", "hold")) != pid


async def test_leaving_the_scope_ends_rollouts_that_are_still_held(mark: str) -> None:
    runtime = SubprocessRuntime(FAULTY)
    entered = asyncio.Event()

    async def hold() -> None:
        async with started(runtime, task("faulty", "wait")):
            entered.set()
            await asyncio.Event().wait()

    async with runtime:
        held = [asyncio.create_task(hold()) for _ in range(3)]
        await entered.wait()
        for work in held:
            work.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    await until_gone(mark)


async def test_a_start_that_several_wait_for_survives_one_that_gives_up() -> None:
    async with SubprocessRuntime(FAULTY) as runtime:
        first = asyncio.create_task(prompt_of(runtime, COUNT))
        second = asyncio.create_task(prompt_of(runtime, COUNT))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).endswith(" 1")
        with contextlib.suppress(asyncio.CancelledError):
            await first


class Driver:
    """An eval process in the background, and what it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.seen: dict[str, list[str]] = {}

    @classmethod
    async def start(cls) -> Driver:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(DRIVER),
            str(FAULTY),
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def until(self, word: str, count: int = 1) -> None:
        """Read until `word` was said `count` more times."""
        wanted = len(self.seen.get(word, [])) + count
        async with asyncio.timeout(60):
            while len(self.seen.get(word, [])) < wanted:
                assert self.process.stdout is not None
                line = (await self.process.stdout.readline()).decode().split()
                assert line, f"the eval process ended by itself, after {self.seen}"
                self.seen.setdefault(line[0], []).append(line[1])

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


async def test_a_killed_eval_process_leaves_nothing_behind(
    mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("TMPDIR", folder)
        driver = await Driver.start()
        await driver.until("child", 3)
        assert len(marked(mark)) > 3 and list(Path(folder).iterdir())
        await driver.kill()
        await until_gone(mark)
        assert not list(Path(folder).iterdir())


@pytest.mark.parametrize("rounds", [20, pytest.param(100, marks=pytest.mark.soak)])
async def test_random_kills_lose_no_grade_and_leave_no_orphan(mark: str, rounds: int) -> None:
    dice = random.Random(rounds)
    driver = await Driver.start()
    try:
        for turn in range(rounds):
            await driver.until("graded", dice.randint(1, 3))
            victim = "eval" if turn % 5 == 4 else dice.choice(["child", "parent"])
            await asyncio.sleep(dice.random() * 0.03)  # a random moment is what is tested
            if victim == "eval":
                await driver.kill()
                await until_gone(mark)
                driver = await Driver.start()
                continue
            await driver.until(victim)
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(driver.seen[victim][-1]), signal.SIGKILL)
            assert set(driver.seen["graded"]) == {"1.0"}
            assert set(driver.seen.get("fault", [])) <= {RuntimeFault.code}
    finally:
        await driver.kill()
    await until_gone(mark)
