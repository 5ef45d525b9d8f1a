"""What a run did is on its trace: numbered, stamped, redacted, in every sink, whatever it holds."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, model_serializer

from hud import Environment, instrument
from hud._core import json, redact
from hud._core.errors import ModelFault, StoreError
from hud.agents.run import Run
from hud.eval import LocalRuntime, Taskset, rollout
from hud.eval.recording import default_store
from hud.trace.content import MCPToolCall, MCPToolResult, TextContent
from hud.trace.jsonl import JsonlSink
from hud.trace.recorder import Recorder
from hud.trace.sinks import Event, StepRecorded
from hud.trace.spans import span_trace_id, step_span
from hud.trace.steps import AgentStep, Sample, Step, SubagentStep, ToolStep, Trace, Usage
from tests.rollouts import echo, recorded, recorded_in

Steps = AsyncGenerator[Any, Any]
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

env = Environment(name="traced")


@env.template()
async def say(word: str = "yes") -> Steps:
    answer = yield f"say {word}"
    yield {"score": float(answer == word), "content": answer, "info": {"heard": answer}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ask for span files and return their folder."""
    folder = tmp_path / "made" / "spans"
    monkeypatch.setenv("HUD_TELEMETRY_LOCAL_DIR", str(folder))
    return folder


def stored(run: Run) -> list[dict[str, Any]]:
    return [json.decode(step.payload) for step in default_store().read_steps(run.trace_id or "")]


def lines(folder: Path, trace_id: str | None) -> list[dict[str, Any]]:
    path = folder / f"{span_trace_id(trace_id or '')}.jsonl"
    return [json.decode(line) for line in path.read_bytes().splitlines()]


class Keeping:
    """A sink that keeps events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        self.events.append(event)

    async def committed(self) -> None: ...
    async def aclose(self) -> None: ...

    @property
    def payloads(self) -> list[Any]:
        return [json.decode(e.payload) for e in self.events if isinstance(e, StepRecorded)]


def kept(step: Step) -> Any:
    """Return how a step reaches a sink."""
    sink = Keeping()
    Recorder(Trace(trace_id="7" * 32), [sink]).record(step)
    return sink.payloads[0]


async def test_a_run_is_numbered_from_one_and_stamped_in_memory_and_in_every_sink(
    spans: Path,
) -> None:
    async def agent(run: Run) -> str:
        run.record(AgentStep(content="thinking"))
        run.record(ToolStep(call=MCPToolCall(name="look", arguments={"at": "it"})))
        return await echo(run)

    run = await rollout(say(), agent, runtime=LocalRuntime(env))
    expected = ["task", "user", "agent", "tool", "task"]
    assert [step.source for step in run.trace.steps] == expected
    assert [step.step_id for step in run.trace.steps] == [1, 2, 3, 4, 5]
    for step in run.trace.steps:
        assert STAMP.fullmatch(step.started_at or "") and STAMP.fullmatch(step.ended_at or "")
    assert [step["step_id"] for step in stored(run)] == [1, 2, 3, 4, 5]
    assert [step["source"] for step in stored(run)] == expected
    in_files = [span["attributes"]["hud.payload"] for span in lines(spans, run.trace_id)]
    assert in_files == stored(run)


async def test_span_files_have_exactly_the_published_shape(spans: Path) -> None:
    @instrument(name="thought")
    def think(about: str) -> int:
        return len(about)

    async def agent(run: Run) -> str:
        think("it")
        run.record(Step(source="system", error="the tool hung up"))
        return await echo(run)

    run = await rollout(say(), agent, runtime=LocalRuntime(env))
    rows = lines(spans, run.trace_id)
    keys = {
        *("name", "trace_id", "span_id", "parent_span_id", "kind", "start_time", "end_time"),
        *("status_code", "status_message", "attributes", "events"),
    }
    for row in rows:
        assert row.keys() == keys
        assert row["trace_id"] == run.trace_id
        assert re.fullmatch(r"[0-9a-f]{16}", row["span_id"])
        assert (row["parent_span_id"], row["kind"]) == (None, "INTERNAL")
        assert STAMP.fullmatch(row["start_time"]) and STAMP.fullmatch(row["end_time"])
        assert row["attributes"]["hud.task_run_id"] == run.trace_id
    assert len({row["span_id"] for row in rows}) == len(rows)
    names = [row["name"] for row in rows]
    assert names == ["step.task", "step.user", "thought", "step.system", "step.task"]
    for row in rows:
        if row["name"].startswith("step."):
            assert row["attributes"].keys() == {
                *("hud.task_run_id", "hud.schema", "hud.seq", "hud.payload")
            }
            assert row["attributes"]["hud.schema"] == "hud.step.v1"
            assert row["events"] == []
    failed = rows[3]
    assert (failed["status_code"], failed["status_message"]) == ("ERROR", "the tool hung up")
    assert (rows[0]["status_code"], rows[0]["status_message"]) == ("OK", None)
    debug = rows[2]
    assert debug["attributes"].keys() == {"hud.task_run_id", "code.function", "code.namespace"}
    assert [event["name"] for event in debug["events"]] == ["hud.request", "hud.result"]
    for event in debug["events"]:
        assert event.keys() == {"name", "timestamp", "attributes"}


def test_a_foreign_run_id_maps_to_a_stable_trace_id() -> None:
    dashed = "12345678-1234-5678-1234-567812345678"
    assert span_trace_id(dashed) == dashed.replace("-", "")
    wanted = uuid.uuid5(uuid.NAMESPACE_URL, "hud.task_run:my run").hex
    assert span_trace_id("my run") == wanted != span_trace_id("your run")


async def test_no_secret_reaches_any_sink_wherever_it_stands(
    spans: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, named = "sk-proj-abcdefghijklmnop1234", "correct-horse-battery"
    monkeypatch.setenv("MY_DB_PASSWORD", named)
    redact.refresh()
    leaky = Environment(name="leaky")

    @leaky.template()
    async def ask(word: str) -> Steps:
        answer = yield f"use {secret} and {named} on {word}"
        yield {"score": 1.0, "content": answer, "info": {"key": named}, "subscores": []}

    @instrument
    def call(key: str) -> str:
        return key

    async def agent(run: Run) -> str:
        call(secret)
        arguments = {"token": named, "nested": [{"inner": f"Bearer {secret}"}]}
        run.record(ToolStep(call=MCPToolCall(name="curl", arguments=arguments)))
        run.record(AgentStep(content=named, raw={"headers": secret}))
        run.trace.extra = {"url": f"https://u:{named}@host/"}
        if run.member == 1:
            raise ModelFault(f"401 for {secret} with {named}")
        return f"{secret} {named}"

    job = await Taskset([ask(word=named)]).run(agent, runtime=LocalRuntime(leaky), group=2)
    assert secret in str(job.runs[0].prompt), "what is in memory stays as it was"
    default_store().flush()
    files = [path for folder in (spans, home) for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        data = path.read_bytes()
        assert secret.encode() not in data and named.encode() not in data, path
    for run in job.runs:
        said = f"{stored(run)} {recorded(run)}"
        assert secret not in said and named not in said and "[redacted]" in said
    monkeypatch.undo()
    redact.refresh()


async def test_concurrent_rollouts_never_mix_traces(spans: Path) -> None:
    barrier = asyncio.Barrier(20)

    @instrument
    async def work(word: str) -> str:
        await barrier.wait()
        Step(source="system", extra={"word": word}).emit()
        await barrier.wait()
        return word

    async def agent(run: Run) -> str:
        word = await echo(run)
        return (await asyncio.gather(work(word), asyncio.to_thread(emit, word)))[0]

    def emit(word: str) -> None:
        Step(source="system", extra={"word": word}).emit()

    job = await Taskset(say(word=f"w{n}") for n in range(20)).run(agent)
    assert job.reward == 1.0
    for run in job.runs:
        word = str(run.args["word"])
        words = [step.extra["word"] for step in run.trace.steps if step.source == "system"]
        assert words == [word, word]
        assert [step["step_id"] for step in stored(run)] == list(range(1, 6))
        [debug] = [row for row in lines(spans, run.trace_id) if "work" in row["name"]]
        assert debug["events"][0]["attributes"]["hud.payload"] == {"args": [word]}


# -- what a step may hold --------------------------------------------------------------------


class Refusing(BaseModel):
    @model_serializer
    def refuse(self) -> str:
        raise RuntimeError("not today")


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("not even this")


def _endless() -> list[Any]:
    itself: list[Any] = [1]
    itself.append(itself)
    return itself


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (math.nan, None),
        ([math.inf, 1.5], [None, 1.5]),
        ("half \ud83d", "half \ufffd"),
        ({"\udc00": "x"}, {"\ufffd": "x"}),
        ({1: 2, None: 3}, {"1": 2, "None": 3}),
        ({"x"}, ["x"]),
        (Path("/a/b"), "/a/b"),
        (b"\xff", None),
        (10**30, None),
        (object, None),
        (Odd(), "<Odd>"),
    ],
    ids=[str(number) for number in range(11)],
)
def test_whatever_a_step_holds_is_recorded_as_well_as_it_can_be(value: Any, spelled: Any) -> None:
    found = kept(AgentStep(content="beside it", raw={"odd": value}))
    assert (found["step_id"], found["content"]) == (1, "beside it")
    if spelled is not None:
        assert found["raw"]["odd"] == spelled


def test_a_step_that_contains_itself_is_recorded_to_some_depth() -> None:
    found = kept(AgentStep(content="beside it", error="but", raw=_endless()))
    assert (found["step_id"], found["content"], found["error"]) == (1, "beside it", "but")
    assert found["raw"][1][1][0] == 1


def test_what_cannot_be_recorded_leaves_a_note_and_the_rest_of_its_step() -> None:
    found = kept(AgentStep(content="beside it", error="but", raw=Refusing()))
    assert (found["step_id"], found["source"], found["error"]) == (1, "agent", "but")
    assert "cannot be recorded: PydanticSerializationError" in found["extra"]["unrecorded"]


def test_an_error_text_that_is_no_valid_text_is_kept() -> None:
    assert kept(Step(source="system", error="\ud800 broke"))["error"] == "\ufffd broke"


def test_all_kinds_of_steps_come_back_as_they_were() -> None:
    sub = Trace(trace_id="8" * 32)
    sub.record(AgentStep(content="inside"))
    turns = [
        AgentStep(
            content="c",
            reasoning="r",
            tool_calls=[MCPToolCall(name="t", arguments="{not json", id="1")],
            usage=Usage(prompt_tokens=3, cost_usd=0.5),
            sample=Sample(output_token_ids=[1, 2], output_logprobs=[-0.5, -1.0]),
        ),
        ToolStep(result=MCPToolResult(content=[TextContent(text="ü")], isError=True)),
        SubagentStep(subagent=sub),
    ]
    for step in turns:
        assert type(step).model_validate(kept(step)) == step


def test_a_trace_without_a_recorder_numbers_its_steps_itself() -> None:
    trace = Trace()
    for number in range(3):
        trace.record(AgentStep(content=str(number)))
    assert [step.step_id for step in trace.steps] == [1, 2, 3]
    assert len(trace) == 3
    assert trace.final(lambda step: getattr(step, "content", None)) == "2"
    assert trace.collect(lambda step: getattr(step, "content", None)) == ["0", "1", "2"]


def test_truncation_is_any_stop_reason_but_done() -> None:
    trace = Trace()
    assert not trace.is_truncated
    trace.stop_reason = "done"
    assert not trace.is_truncated
    trace.stop_reason = "max_steps"
    assert trace.is_truncated


def test_emit_outside_of_a_trace_does_nothing() -> None:
    step = Step(source="agent")
    step.emit()
    step.emit(trace_id="9" * 32)
    assert step.step_id is None


async def test_emit_finds_a_trace_by_its_id() -> None:
    async def agent(run: Run) -> str:
        other = asyncio.get_running_loop().run_in_executor(
            None, lambda: AgentStep(content="by id").emit(trace_id=run.trace_id)
        )
        await other
        return await echo(run)

    run = await rollout(say(), agent, runtime=LocalRuntime(env))
    assert [step["content"] for step in stored(run) if step["source"] == "agent"] == ["by id"]


# -- instrument ------------------------------------------------------------------------------


async def _debug_spans(spans: Path, work: Any) -> list[dict[str, Any]]:
    async def agent(run: Run) -> str:
        result = work()
        if asyncio.iscoroutine(result):
            await result
        return await echo(run)

    run = await rollout(say(), agent, runtime=LocalRuntime(env))
    assert run.is_graded, run.trace.error
    return [row for row in lines(spans, run.trace_id) if not row["name"].startswith("step.")]


async def test_instrument_records_sync_and_async_functions_with_and_without_parentheses(
    spans: Path,
) -> None:
    @instrument
    def plain(a: int, b: int = 2) -> int:
        return a + b

    @instrument()
    async def awaited(a: int) -> int:
        await asyncio.sleep(0)
        return a

    @instrument(name="quiet", record_args=False, record_result=False)
    def quiet(secret: str) -> str:
        return secret

    async def work() -> None:
        assert plain(1, b=3) == 4
        assert await awaited(5) == 5
        assert quiet("x") == "x"

    rows = await _debug_spans(spans, work)
    module = __name__
    where = "test_instrument_records_sync_and_async_functions_with_and_without_parentheses"
    assert [row["name"] for row in rows] == [
        f"{module}.{where}.<locals>.plain",
        f"{module}.{where}.<locals>.awaited",
        "quiet",
    ]
    payloads = [event["attributes"]["hud.payload"] for event in rows[0]["events"]]
    assert payloads == [{"args": [1], "b": 3}, 4]
    assert rows[2]["events"] == []
    assert rows[1]["attributes"]["code.namespace"] == module


async def test_instrument_cuts_containers_and_survives_any_argument(spans: Path) -> None:
    @instrument
    def take(*things: Any) -> Any:
        return things[0]

    def work() -> None:
        take(list(range(50)), {n: n for n in range(50)}, Odd(), _endless(), "x" * 9000, math.nan)
        take("half \ud83d", 10**40, {Odd(): 1}, [Odd()], range(99), b"\xff")

    first, second = await _debug_spans(spans, work)
    args = first["events"][0]["attributes"]["hud.payload"]["args"]
    assert args[0] == list(range(10))
    assert args[1] == {str(n): n for n in range(10)}
    assert args[2] == "<Odd>"
    assert len(args[4]) == 2000
    assert args[5] is None
    assert second["events"][0]["attributes"]["hud.payload"]["args"][0] == "half \ufffd"


async def test_instrument_records_what_is_raised_and_passes_it_on(spans: Path) -> None:
    @instrument
    def fail() -> None:
        raise ValueError("no")

    @instrument
    async def cancelled() -> None:
        raise asyncio.CancelledError

    async def work() -> None:
        with pytest.raises(ValueError, match="no"):
            fail()
        with pytest.raises(asyncio.CancelledError):
            await cancelled()

    first, second = await _debug_spans(spans, work)
    assert (first["status_code"], first["status_message"]) == ("ERROR", "no")
    assert first["events"][-1]["name"] == "exception"
    assert second["status_code"] == "ERROR"


async def test_instrumenting_twice_records_once_and_outside_of_a_trace_never(spans: Path) -> None:
    calls: list[int] = []

    def count() -> None:
        calls.append(1)

    twice = instrument(instrument(count))
    twice()
    assert (len(calls), spans.exists()) == (1, False)
    assert len(await _debug_spans(spans, twice)) == 1
    assert len(calls) == 2


# -- span files ------------------------------------------------------------------------------


def test_a_span_file_cut_at_any_byte_is_readable_up_to_its_last_whole_line(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path)
    trace = Trace(trace_id="7" * 32)
    recorder = Recorder(trace, [sink])
    for number in range(4):
        recorder.record(AgentStep(content=f"ü\n{number}"))
    path = tmp_path / f"{'7' * 32}.jsonl"
    data = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    assert len(ends) == 4
    for cut in range(len(data) + 1):
        whole = [line for line in data[:cut].splitlines(keepends=True) if line.endswith(b"\n")]
        assert [json.decode(line)["attributes"]["hud.payload"]["step_id"] for line in whole] == (
            list(range(1, sum(end <= cut for end in ends) + 1))
        )


def test_every_line_is_handed_to_the_system_before_record_returns(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from hud.trace.jsonl import JsonlSink\n"
        "from hud.trace.recorder import Recorder\n"
        "from hud.trace.steps import AgentStep, Trace\n"
        "recorder = Recorder(Trace(trace_id='7' * 32), [JsonlSink(sys.argv[1])])\n"
        "for n in range(50):\n"
        "    recorder.record(AgentStep(content='x' * n * 1000))\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)])
    assert done.returncode == 9
    rows = (tmp_path / f"{'7' * 32}.jsonl").read_bytes().splitlines()
    lengths = [len(json.decode(row)["attributes"]["hud.payload"]["content"]) for row in rows]
    assert lengths == [n * 1000 for n in range(50)]


def test_a_span_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"span folder .*file/below cannot be made"):
        JsonlSink(tmp_path / "file" / "below")


async def test_a_span_folder_that_vanishes_ends_the_job_with_its_name(
    spans: Path,
) -> None:
    async def agent(run: Run) -> str:
        for file in spans.iterdir():
            file.unlink()
        spans.rmdir()
        return await echo(run)

    with pytest.raises(StoreError, match=r"span file .* cannot be written"):
        await Taskset([say()]).run(agent)


def test_a_recorded_step_is_spelled_once_for_all_sinks() -> None:
    one, two = Keeping(), Keeping()
    Recorder(Trace(trace_id="7" * 32), [one, two]).record(AgentStep(content="x"))
    assert one.events[0] is two.events[0]
    event = one.events[0]
    assert isinstance(event, StepRecorded)
    assert json.decode(step_span(event))["name"] == "step.agent"


# -- imports ---------------------------------------------------------------------------------


def test_steps_runs_and_rollouts_import_nothing_heavy() -> None:
    heavy = "{'mcp', 'openai', 'anthropic', 'rich', 'numpy', 'sqlalchemy', 'alembic', 'httpx'}"
    for module in ("hud.trace.steps", "hud.trace.instrument", "hud.eval", "hud.runtimes.local"):
        program = f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("[]\n", ""), module
