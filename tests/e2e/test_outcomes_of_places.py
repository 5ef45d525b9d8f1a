"""Rollouts whose place breaks, takes too long, is cancelled or cannot be left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud._core import json
from hud._core.errors import RuntimeFault
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.environment.server import bind
from hud.environment.task import Task
from hud.eval import LocalRuntime, Runtime, Taskset, rollout
from hud.eval.holding import GOODBYE_S, TEARDOWN_S
from hud.eval.recording import default_store
from tests.misbehaving import Steps, env, play, task
from tests.rollouts import (
    Counting,
    Gate,
    assert_ungraded,
    echo,
    forever,
    leap,
    outlast,
    recorded_in,
    recorded_runs,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


# -- runtime ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _never_placed(row: Task) -> AsyncGenerator[Runtime]:
    raise OSError("no machine is free")
    yield


@contextlib.asynccontextmanager
async def _yields_no_runtime(row: Task) -> AsyncGenerator[Any]:
    yield "tcp://127.0.0.1:1"


@contextlib.asynccontextmanager
async def _yields_nonsense(row: Task) -> AsyncGenerator[Runtime]:
    yield Runtime("gopher://x")


@contextlib.asynccontextmanager
async def _bad_timeout(row: Task) -> AsyncGenerator[Runtime]:
    yield Runtime("tcp://127.0.0.1:1", {"ready_timeout": "soon"})


@pytest.mark.parametrize(
    ("provider", "says"),
    [
        (_never_placed, "[provisioning] OSError: no machine is free"),
        (_yields_no_runtime, "[connecting] the provider yielded no Runtime but 'tcp:"),
        (_yields_nonsense, "[connecting] environment address 'gopher://x' cannot be dialled"),
        (_bad_timeout, "[connecting] ValueError"),
        (print, "[provisioning] AttributeError"),
        (Runtime("memory://nobody"), "no environment answered at memory://nobody"),
        (Runtime("tcp://127.0.0.1:1", {"ready_timeout": 0.01}), "no environment answered"),
    ],
    ids=["raises", "no runtime", "nonsense", "params", "no manager", "memory", "refused"],
)
async def test_a_place_that_cannot_be_had_is_named_runtime(provider: Any, says: str) -> None:
    run = await rollout(task("good"), echo, runtime=provider)
    assert_ungraded(run, Outcome.RUNTIME, says)


@pytest.mark.parametrize("provider", ["tcp://127.0.0.1:1", LocalRuntime, 3])
async def test_what_is_no_provider_is_refused_up_front(provider: Any) -> None:
    with pytest.raises(TypeError, match="runtime must be a provider"):
        await Taskset([task("good")]).run(echo, runtime=provider)
    with pytest.raises(TypeError, match="runtime must be a provider"):
        await rollout(task("good"), echo, runtime=provider)


async def test_what_answers_but_is_no_environment_is_named_environment() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        run = await rollout(task("good"), echo, runtime=Runtime(f"tcp://127.0.0.1:{port}"))
    assert_ungraded(run, Outcome.ENVIRONMENT, "refused the handshake")


@pytest.mark.parametrize(
    ("named", "outcome"),
    [
        (None, Outcome.ENVIRONMENT),
        ("nonsense", Outcome.ENVIRONMENT),
        ("graded", Outcome.ENVIRONMENT),
        ("agent", Outcome.ENVIRONMENT),
        ("timeout", Outcome.ENVIRONMENT),
        ("model", Outcome.MODEL),
        ("capability", Outcome.CAPABILITY),
        ("cancelled", Outcome.RUNTIME),
    ],
)
async def test_a_peer_names_only_the_boundaries_that_are_its_own(
    named: str | None, outcome: Outcome
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            frame = json.decode(line)
            reply: dict[str, Any] = {"jsonrpc": "2.0", "id": frame["id"]}
            if frame["method"] == "tasks.start":
                data = {"data": {"boundary": named}} if named else {}
                reply["error"] = {"code": -32000, "message": "it broke", **data}
            else:
                env = {"name": "peer", "version": "1"}
                reply["result"] = {"session_id": "s", "env": env, "bindings": []}
            writer.write(json.encode(reply) + b"\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        run = await rollout(task("good"), echo, runtime=Runtime(f"tcp://127.0.0.1:{port}"))
    assert_ungraded(run, outcome, "[starting task] it broke")


class Dying:
    """Serve `env` on a Unix socket, and vanish when told, knowing why."""

    def __init__(self, folder: Path, home: Environment) -> None:
        self.path = folder / "s"
        self.home = home
        self.close: Callable[[], None] = lambda: None
        self.reason: str | None = None

    @contextlib.asynccontextmanager
    async def __call__(self, row: Task, /) -> AsyncGenerator[Runtime]:
        """Relay bytes, so that the connection can be cut without a goodbye."""
        async with bind(self.home) as url:
            port = int(url.rpartition(":")[2])
            writers: list[asyncio.StreamWriter] = []
            pumps: list[asyncio.Task[None]] = []

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
                writers.extend((writer, far_writer))
                pumps.append(asyncio.ensure_future(_pump(reader, far_writer)))
                pumps.append(asyncio.ensure_future(_pump(far_reader, writer)))

            def cut() -> None:
                self.reason = "killed by SIGKILL"
                for writer in writers:
                    writer.transport.abort()

            self.close = cut
            server = await asyncio.start_unix_server(relay, self.path)
            try:
                yield Runtime(f"unix://{self.path}", {"exit_reason": lambda: self.reason})
            finally:
                cut()
                server.close()
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize("phase", ["start", "agent", "busy agent", "between", "grade"])
async def test_an_environment_that_vanishes_is_named_runtime_with_what_is_known(
    phase: str, tmp_path: Path
) -> None:
    home = Environment(name="faults")
    dying = Dying(tmp_path, home)

    @home.template()
    async def good() -> Steps:
        if phase == "start":
            dying.close()
            await forever()
        yield "say yes"
        dying.close()
        await forever()

    async def agent(run: Run) -> str:
        if phase in ("agent", "between"):
            dying.close()
        if phase == "agent":
            await forever()
        elif phase == "busy agent":
            dying.close()
            try:
                await run.client.list_tasks()
            except RuntimeFault:
                raise ValueError("a harness that wraps what it does not know") from None
        return "yes"

    run = await play(task("good"), agent, dying)
    assert_ungraded(run, Outcome.RUNTIME, "killed by SIGKILL")


async def test_a_provider_whose_helper_task_fails_breaks_its_place_and_nothing_else() -> None:
    failing = asyncio.Event()

    async def helper() -> None:
        await failing.wait()
        raise ConnectionError("the tunnel closed")

    @contextlib.asynccontextmanager
    async def provider(row: Task) -> AsyncGenerator[Runtime]:
        async with LocalRuntime(env)(row) as place, asyncio.TaskGroup() as group:
            held = group.create_task(helper())
            yield place
            held.cancel()

    async def agent(run: Run) -> str:
        if run.member == 0:
            failing.set()
            await forever()
        return "yes"

    job = await Taskset([task("good")]).run(agent, runtime=provider, group=3, max_concurrent=1)
    assert [run.outcome for run in job.runs] == [Outcome.RUNTIME, *[Outcome.RUNTIME] * 2]
    assert_ungraded(job.runs[0], Outcome.RUNTIME, "ConnectionError: the tunnel closed")


# -- timeout ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "named"),
    [
        ("provision", "provisioning"),
        ("start", "starting task"),
        ("agent", "agent loop"),
        ("grade", "grading"),
    ],
)
async def test_the_rollouts_limit_ends_any_phase_as_timeout(phase: str, named: str) -> None:
    async def slow(*_: Any) -> None:
        await outlast(10)

    provider = Counting(LocalRuntime(env), on_enter=slow if phase == "provision" else None)
    row = task("waits", phase=phase) if phase in ("start", "grade") else task("good")
    agent = slow if phase == "agent" else echo
    run = await rollout(row, agent, runtime=provider, rollout_timeout=10)
    assert_ungraded(run, Outcome.TIMEOUT, f"[{named}] the rollout took longer than 10 s")
    assert provider.is_even


async def test_the_rollouts_limit_does_not_cut_teardown_short_nor_cost_a_grade() -> None:
    async def slow_exit() -> None:
        leap(30)
        for _ in range(10):
            await asyncio.sleep(0)

    provider = Counting(LocalRuntime(env), on_exit=slow_exit)
    run = await rollout(task("good"), echo, runtime=provider, rollout_timeout=10)
    assert (run.outcome, provider.is_even) == (Outcome.GRADED, True)


# -- cancelled -------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["provision", "start", "agent", "grade", "teardown"])
@pytest.mark.parametrize("by", ["rollout", "taskset"])
async def test_a_cancelled_run_is_kept_torn_down_and_the_cancellation_passed_on(
    phase: str, by: str
) -> None:
    home = Environment(name="faults")
    gate = Gate()

    @home.template()
    async def good() -> Steps:
        if phase == "start":
            await gate()
        yield "say yes"
        if phase == "grade":
            await gate()
        yield 1.0

    async def agent(run: Run) -> str:
        runs.append(run)
        if phase == "agent":
            await gate()
        return "yes"

    runs: list[Run] = []
    provider = Counting(
        LocalRuntime(home),
        on_enter=gate if phase == "provision" else None,
        on_exit=gate if phase == "teardown" else None,
    )
    work: asyncio.Task[Any]
    if by == "rollout":
        work = asyncio.create_task(rollout(task("good"), agent, runtime=provider))
    else:
        work = asyncio.create_task(Taskset([task("good")]).run(agent, runtime=provider))
    await gate.reached.wait()
    for _ in range(3 if phase == "teardown" else 1):
        work.cancel()
        await asyncio.sleep(0)
    if phase == "teardown":
        gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert provider.is_even
    [job] = default_store().list_jobs()
    assert job.job.status == "cancelled"
    [kept] = recorded_runs(job.job.id)
    if phase == "teardown":  # it was graded before
        assert (kept.outcome, kept.reward) == (Outcome.GRADED, 1.0)
    else:
        assert (kept.outcome, kept.reward) == (Outcome.CANCELLED, None)
        assert kept.error is not None and "the rollout was cancelled" in kept.error


async def test_cancelling_at_every_turn_of_the_loop_tears_down_once_and_records_the_end() -> None:
    turns, seen = 0, set[Outcome | None]()
    while True:
        provider = Counting(LocalRuntime(env))
        work = asyncio.create_task(rollout(task("good"), echo, runtime=provider))
        for _ in range(turns):
            await asyncio.sleep(0)
        was_cancelled = work.cancel()
        await asyncio.wait([work])
        assert provider.is_even
        if not was_cancelled:
            break
        assert work.cancelled()
        turns += 1
        if turns > 200 or (not provider.entered and turns > 50):
            break  # the rest of it waits for the disk
    for job in default_store().list_jobs(limit=1000):
        assert job.job.status == "cancelled" or job.counts.graded
        for kept in recorded_runs(job.job.id):
            seen.add(kept.outcome)
            assert kept.outcome in (Outcome.CANCELLED, Outcome.GRADED)
    assert seen == {Outcome.CANCELLED, Outcome.GRADED}


# -- teardown --------------------------------------------------------------------------------


async def test_a_teardown_that_raises_costs_no_grade(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("the volume is busy")

    provider = Counting(LocalRuntime(env), on_exit=fail)
    run = await rollout(task("good"), echo, runtime=provider)
    assert run.reward == 1.0
    assert provider.left == 1
    assert "tearing a place down failed: OSError: the volume is busy" in caplog.text


async def test_a_teardown_that_hangs_is_given_up_and_costs_no_grade(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hang() -> None:
        await outlast(TEARDOWN_S)

    run = await rollout(task("good"), echo, runtime=Counting(LocalRuntime(env), on_exit=hang))
    assert run.reward == 1.0
    assert "tearing a place down failed: TimeoutError" in caplog.text


async def test_an_environment_that_does_not_say_goodbye_is_left_anyway() -> None:
    home = Environment(name="faults")
    opened = asyncio.Event()

    @home.template()
    async def good() -> Steps:
        try:
            yield "say yes"
        finally:
            leap(GOODBYE_S + 1)
            await opened.wait()

    async def agent(run: Run) -> None:
        raise ValueError("no idea")

    async with bind(home) as url:
        run = await rollout(task("good"), agent, runtime=Runtime(url))
        opened.set()
    assert_ungraded(run, Outcome.AGENT, "no idea")


async def test_a_failing_runtime_scope_costs_no_results(caplog: pytest.LogCaptureFixture) -> None:
    class Scoped(Counting):
        async def __aenter__(self) -> Scoped:
            return self

        async def __aexit__(self, *exc: object) -> None:
            raise OSError("the cluster is gone")

    job = await Taskset([task("good")]).run(echo, runtime=Scoped(LocalRuntime(env)))
    assert job.reward == 1.0
    assert "the cluster is gone" in caplog.text
