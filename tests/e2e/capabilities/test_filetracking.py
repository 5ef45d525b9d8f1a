"""Files that change during a rollout are on its trace, whatever becomes of the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core import json
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.capabilities.ssh import SSHClient
from hud.environment import Environment
from hud.environment.filetracking import PROTOCOL, FileTracker
from hud.environment.task import Task
from hud.eval import LocalRuntime, rollout
from hud.eval import filetracking as following
from hud.eval.recording import default_store
from hud.protocol.capability import Capability
from hud.runtimes.subprocess import SubprocessRuntime
from hud.store import every_run
from hud.trace.file_steps import FileBatch, FilesStep, files_of
from hud.trace.steps import Step, Trace
from tests.needs import need_program
from tests.rollouts import forever, outlast, recorded, recorded_in
from tests.wire.conftest import tcp
from tests.wire.harness import DEADLINE_S, Place, until
from tests.wire.peer.theirs import program

__all__ = ["tcp"]

NEVER = 3_600.0
TASK = Task(env="tracked", id="write")
Act = Callable[[Run], Awaitable[str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def tracked(root: Path, *, interval: float = NEVER) -> tuple[Environment, FileTracker]:
    """Return an environment whose template, agent and grader write into `root`."""
    env = Environment("tracked")
    tracker = env.add_daemon(FileTracker(root, interval=interval))

    @env.template()
    async def write() -> AsyncGenerator[Any, Any]:
        (root / "task.md").write_text("the task\n")
        yield "write something"
        (root / "grader.log").write_text("secret of the grader\n")
        yield 1.0

    return env, tracker


def batches(trace: Trace) -> list[FileBatch]:
    return [batch for step in trace.steps if (batch := files_of(step)) is not None]


def told(trace: Trace) -> list[tuple[str, list[str]]]:
    return [(one.phase, sorted(row.path for row in one.patches)) for one in batches(trace)]


async def play(env: Environment, act: Act, **options: Any) -> Run:
    return await rollout(TASK, act, runtime=LocalRuntime(env), **options)


async def test_what_template_and_agent_wrote_is_on_the_trace_and_the_grader_is_not(
    root: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = home / "spans"
    monkeypatch.setenv("HUD_TELEMETRY_LOCAL_DIR", str(spans))
    from hud._core.settings import get_settings

    get_settings.cache_clear()
    env, _ = tracked(root)

    async def act(run: Run) -> str:
        (root / "answer").write_text("42\n")
        (root / ".env").write_text("TOKEN=abc\n")
        return "done"

    try:
        run = await play(env, act)
    finally:
        get_settings.cache_clear()
    assert (run.outcome, run.reward, run.trace.extra) == (Outcome.GRADED, 1.0, {})
    assert told(run.trace) == [("setup", ["task.md"]), ("agent", [".env", "answer"])]
    changes = {change.path: change for change in batches(run.trace)[1].patches}
    assert changes["answer"].patch == "--- /dev/null\n+++ b/answer\n@@ -0,0 +1,1 @@\n+42\n"
    assert (changes[".env"].patch, changes[".env"].withheld) == (None, "secret")

    kept = [json.decode(step.payload) for step in default_store().read_steps(run.trace_id or "")]
    assert [step["step_id"] for step in kept] == list(range(1, len(kept) + 1))
    read = Trace.model_validate({"steps": kept, "trace_id": run.trace_id})
    assert told(read) == told(run.trace)
    (file,) = spans.iterdir()
    lines = [json.decode(line) for line in file.read_text().splitlines()]
    files = [
        line["attributes"]["hud.payload"]
        for line in lines
        if "files" in line["attributes"]["hud.payload"]["extra"]
    ]
    assert {line["name"] for line in lines} <= {
        f"step.{source}" for source in ("user", "agent", "tool", "task", "subagent", "system")
    }
    assert len(files) == 2
    assert all(type(Step.model_validate(step)) is Step for step in files)


async def test_changes_are_on_the_trace_while_the_agent_still_works(root: Path) -> None:
    env, tracker = tracked(root)

    async def act(run: Run) -> str:
        (root / "early").write_text("x\n")
        tracker.changed()
        await until(lambda: ("agent", ["early"]) in told(run.trace))
        (root / "late").write_text("x\n")
        return "done"

    run = await play(env, act)
    assert told(run.trace) == [
        ("setup", ["task.md"]),
        ("agent", ["early"]),
        ("agent", ["late"]),
    ]
    assert all(isinstance(step, FilesStep) for step in run.trace.steps if files_of(step))


@pytest.mark.parametrize("how", ["raises", "runs out of time", "is cancelled"])
async def test_a_rollout_that_ends_badly_keeps_what_was_written(root: Path, how: str) -> None:
    env, _ = tracked(root)
    working = asyncio.Event()

    async def act(run: Run) -> str:
        (root / "begun").write_text("x\n")
        working.set()
        if how == "raises":
            raise LookupError("no idea")
        await (forever() if how == "is cancelled" else outlast(1_000.0))
        return ""

    playing = asyncio.create_task(play(env, act, rollout_timeout=1_000.0))
    await working.wait()
    if how == "is cancelled":
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        store = default_store()
        (record,) = every_run(store, store.list_jobs()[0].job.id)
        payloads = [json.decode(step.payload) for step in store.read_steps(record.id)]
        trace = Trace.model_validate({"steps": payloads})
    else:
        run = await playing
        assert recorded(run).outcome is not Outcome.GRADED
        trace = run.trace
    assert ("agent", ["begun"]) in told(trace)


async def test_two_rollouts_of_one_environment_have_each_their_own(root: Path) -> None:
    env, _ = tracked(root)

    def agent(name: str) -> Act:
        async def act(run: Run) -> str:
            (root / name).write_text("x\n")
            return "done"

        return act

    async with asyncio.timeout(DEADLINE_S):
        runtime = LocalRuntime(env)
        first = await rollout(TASK, agent("one"), runtime=runtime)
        second = await rollout(TASK, agent("two"), runtime=runtime)
    assert told(first.trace) == [("setup", ["task.md"]), ("agent", ["one"])]
    assert ("agent", ["two"]) in told(second.trace)
    assert not [paths for _, paths in told(second.trace) if "one" in paths]


async def test_a_rollout_in_a_process_of_its_own_is_followed(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "tracked.py"
    source.write_text(f"""
from pathlib import Path
from hud.environment import Environment
from hud.environment.filetracking import FileTracker

root = Path({str(root)!r})
env = Environment("tracked")
env.add_daemon(FileTracker(root))

@env.template()
async def write():
    (root / "task.md").write_text("the task\\n")
    yield "write something"
    yield 1.0
""")

    async def act(run: Run) -> str:
        (root / "answer").write_text("42\n")
        return "done"

    run = await rollout(TASK, act, runtime=SubprocessRuntime(source))
    assert run.is_graded, run.trace.error
    assert told(run.trace) == [("setup", ["task.md"]), ("agent", ["answer"])]


async def test_what_a_shell_command_wrote_is_on_the_trace(tmp_path: Path) -> None:
    need_program("bwrap")
    env = Environment("tracked")
    workspace = env.workspace(track_files=True)

    @env.template()
    async def write() -> AsyncGenerator[Any, Any]:
        (workspace.root / "task.md").write_text("one\n")
        yield "write something"
        yield 1.0

    async def act(run: Run) -> str:
        shell = await run.client.open("ssh")
        assert isinstance(shell, SSHClient)
        await shell.run("echo two >> task.md; mkdir -p a; printf '\\000' > a/blob")
        return "done"

    run = await play(env, act)
    assert run.is_graded, run.trace.error
    changes = {row.path: row for batch in batches(run.trace)[1:] for row in batch.patches}
    assert changes["task.md"].patch is not None
    assert changes["task.md"].patch.endswith(" one\n+two\n")
    assert changes["a/blob"].withheld == "binary"


class Row:
    """A capability that says what a test wants, in the place of a real tracker."""

    def __init__(self) -> None:
        self.conversations: list[list[bytes]] = []
        self.heard: list[bytes] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await reader.readline())
            for line in self.conversations.pop(0) if self.conversations else []:
                if line == b"wait for flush":
                    self.heard.append(await reader.readline())
                elif line == b"wait for ever":
                    await reader.read()
                else:
                    writer.write(line + b"\n")
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def saying(*conversations: list[bytes]) -> AsyncGenerator[tuple[Environment, Row]]:
    row = Row()
    row.conversations = list(conversations)
    server = await asyncio.start_server(row.talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    url = f"tcp://{host}:{port}"
    env = Environment("tracked", capabilities=[Capability("filetracking", PROTOCOL, url)])

    @env.template()
    async def write() -> AsyncGenerator[Any, Any]:
        yield "write something"
        yield 1.0

    try:
        yield env, row
    finally:
        server.close()
        await server.wait_closed()


def batch(seq: int, name: str) -> bytes:
    patches = [{"path": name, "status": "added", "a later field": 1}]
    row = {"phase": "agent", "patches": patches, "files_changed": 1, "more": [2]}
    return json.encode({"seq": seq, "episode": 1, "batch": row})


async def settled(run: Run) -> str:
    """Be an agent that has nothing to do with files."""
    return "done"


async def test_a_broken_connection_is_taken_up_where_it_broke() -> None:
    flushed = b'{"flushed":1}'
    first = [batch(1, "a"), batch(2, "b")]
    second = [batch(2, "b"), batch(3, "c"), b"wait for flush", flushed, b"wait for ever"]
    async with saying(first, second) as (env, row):

        async def act(run: Run) -> str:
            await until(lambda: len(told(run.trace)) == 3)
            return "done"

        run = await play(env, act)
    assert run.is_graded
    assert [paths for _, paths in told(run.trace)] == [["a"], ["b"], ["c"]]
    assert [json.decode(line) for line in row.heard] == [
        {"after": None},
        {"after": 2},
        {"flush": 1},
    ]
    assert run.trace.extra == {}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([b"no json"], "malformed"),
        ([b"[1]"], "no message"),
        ([b'{"seq":1,"batch":{"phase":"other"}}'], "no batch of files"),
        ([], "closed the connection"),
        ([b'{"seq":1,"failed":"no such folder"}'], "no such folder"),
    ],
)
async def test_tracking_that_fails_is_noted_and_fails_nothing(
    lines: list[bytes], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_RETRY_S", 0.001)
    async with saying(*[lines] * 9) as (env, _):
        run = await play(env, settled)
    assert (run.outcome, run.reward) == (Outcome.GRADED, 1.0)
    note: Any = run.trace.extra["file_tracking"]
    assert says in note["failed"]
    assert recorded(run).extra == run.trace.extra


async def test_tracking_that_never_answers_is_waited_for_in_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "DRAIN_S", 0.05)
    async with saying([b"wait for ever"] * 2) as (env, _):
        run = await play(env, settled)
    assert run.is_graded
    note: Any = run.trace.extra["file_tracking"]
    assert "no answer" in note["failed"]


async def test_dropped_batches_are_noted() -> None:
    lines = [b'{"lost":7}', batch(8, "a"), b"wait for flush", b'{"flushed":1}', b"wait for ever"]
    async with saying(lines) as (env, _):
        run = await play(env, settled)
    assert run.trace.extra == {"file_tracking": {"lost_batches": 7}}
    assert told(run.trace) == [("agent", ["a"])]


async def test_tracking_that_cannot_start_leaves_the_rollout_alone(tmp_path: Path) -> None:
    env, _ = tracked(tmp_path / "nowhere" / "at" / "all")
    env.tasks.clear()

    @env.template()
    async def write() -> AsyncGenerator[Any, Any]:
        yield "write something"
        yield 1.0

    run = await play(env, settled)
    assert run.is_graded
    note: Any = run.trace.extra["file_tracking"]
    assert "FileNotFoundError" in note["failed"]


async def test_the_published_client_is_not_kept_waiting(
    tcp: Place, root: Path, tmp_path: Path, peer_python: Path
) -> None:
    env, _ = tracked(root)
    url = await tcp.serve(env)
    folder = tmp_path / "theirs"
    folder.mkdir()
    text = """
async def main(url):
    from hud.eval.file_tracking import file_tracking_observer
    from hud.settings import settings
    settings.telemetry_enabled = True
    async with connect(Runtime(url)) as client:
        say([row.protocol for row in client.manifest.bindings])
        await client.start_task("write")
        async with file_tracking_observer(client):
            say("working")
        say(await client.grade({"answer": "done"}))
"""
    async with program(peer_python, folder, text, url) as theirs:
        assert await theirs.said() == [PROTOCOL]
        assert await theirs.said() == "working"
        assert (await theirs.said())["score"] == 1.0
        await theirs.ended()
