"""Runs as OpenTelemetry traces: what spans say, what stays home, and a collector that is down."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hud import Environment, Taskset
from hud._core.errors import InputError
from hud._core.outcome import Outcome
from hud.agents.run import Run
from hud.eval.otel_export import provider_of, sink_from_environment, span_maker, spans_of_run
from hud.eval.recording import close_stores
from hud.store import Store, open_store
from hud.testing.check_sink import check_sink
from hud.trace.content import MCPToolCall, MCPToolResult, TextContent
from hud.trace.otel import Collector, otlp_line, traces_address
from hud.trace.otel_sink import OtelSink
from hud.trace.otel_spans import Span, SpanMaker, root_id
from hud.trace.sinks import RunEnded, RunStarted, StepRecorded
from hud.trace.steps import AgentStep, Step, SubagentStep, ToolStep, Trace, Usage
from tests.contenders import record_job
from tests.otlp_receiver import Receiver, attributes, receiving
from tests.rollouts import recorded_in

ENVIRONMENT = (
    "HUD_OTEL",
    "HUD_OTEL_CONTENT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
)
env = Environment("sums")


@env.template()
async def double(n: int = 2) -> AsyncGenerator[Any, Any]:
    answer = yield f"What is twice {n}?"
    yield float(answer == str(2 * n))


async def agent(run: Run) -> str:
    """Answer with one turn and one tool call."""
    usage = Usage(prompt_tokens=30, completion_tokens=5, cached_tokens=10, cost_usd=0.25)
    call = MCPToolCall(name="add", arguments={"a": 2, "b": 2}, id="call-1")
    run.record(
        AgentStep(
            content="I add", model="gpt-5.2", usage=usage, tool_calls=[call], finish_reason="stop"
        )
    )
    text = TextContent(text="secret-answer-4")
    run.record(ToolStep(call=call, result=MCPToolResult(content=[text], isError=True)))
    return "4"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


@pytest.fixture
def receiver() -> Generator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def store(home: Path) -> Generator[Store]:
    store = open_store(home)
    yield store
    store.close()


def asked_for(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUD_OTEL", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)


async def one_run() -> Run:
    return (await Taskset([double()]).run(agent)).runs[0]


class TestLive:
    async def test_a_run_arrives_as_a_trace_of_the_genai_conventions(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked_for(receiver, monkeypatch)
        run = await one_run()
        sink_closed()
        spans = receiver.of_trace(run.trace_id or "")
        root, *steps = spans
        assert root.name == "invoke_agent agent"
        assert not root.parent_span_id
        about = attributes(root)
        assert about["gen_ai.operation.name"] == "invoke_agent"
        assert (about["hud.outcome"], about["hud.reward"]) == ("graded", 1.0)
        assert (about["hud.task.id"], about["hud.stop_reason"]) == ("double", "done")
        assert about["gen_ai.usage.input_tokens"] == 30
        assert about["hud.usage.cost_usd"] == 0.25
        assert root.status.code == 0
        [event] = root.events
        assert event.name == "gen_ai.evaluation.result"
        assert attributes(event)["gen_ai.evaluation.score.value"] == 1.0
        assert {span.parent_span_id for span in steps} == {root.span_id}
        by_name = {span.name: span for span in steps}
        chat = attributes(by_name["chat gpt-5.2"])
        assert chat["gen_ai.request.model"] == "gpt-5.2"
        assert chat["gen_ai.provider.name"] == "openai"
        assert chat["gen_ai.usage.output_tokens"] == 5
        assert chat["gen_ai.usage.cache_read.input_tokens"] == 10
        assert chat["gen_ai.response.finish_reasons"] == ["stop"]
        assert by_name["chat gpt-5.2"].kind == 3, "a client's call"
        tool = by_name["execute_tool add"]
        assert attributes(tool)["gen_ai.tool.call.id"] == "call-1"
        assert (tool.status.code, attributes(tool)["error.type"]) == (2, "tool_error")
        assert {"task setup", "task evaluate"} <= set(by_name)
        assert receiver.paths[0] == "/v1/traces"

    async def test_what_was_said_goes_along_only_when_asked(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked_for(receiver, monkeypatch)
        await one_run()
        sink_closed()
        sent = b"".join(request.SerializeToString() for request in receiver.requests)
        assert b"secret-answer-4" not in sent and b"I add" not in sent
        monkeypatch.setenv("HUD_OTEL_CONTENT", "1")
        run = await one_run()
        sink_closed()
        by_name = {span.name: attributes(span) for span in receiver.of_trace(run.trace_id or "")}
        [said] = json.loads(by_name["chat gpt-5.2"]["gen_ai.output.messages"])
        assert said["parts"][0] == {"type": "text", "content": "I add"}
        assert said["parts"][1]["arguments"] == {"a": 2, "b": 2}
        given = json.loads(by_name["execute_tool add"]["gen_ai.tool.call.result"])
        assert given["content"] == [{"type": "text", "content": "secret-answer-4"}]

    async def test_an_address_alone_sends_nothing(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        await one_run()
        monkeypatch.setenv("HUD_OTEL", "0")
        await one_run()
        assert sink_from_environment() is None
        assert receiver.paths == []

    async def test_a_collector_that_is_down_neither_breaks_nor_holds_a_run(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HUD_OTEL", "1")
            address = f"http://127.0.0.1:{unused.getsockname()[1]}"
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
            with caplog.at_level(logging.WARNING):
                runs = (await Taskset([double()]).run(agent, group=5)).runs
                sink_closed()
        assert [run.reward for run in runs] == [1.0] * 5
        assert caplog.text.count("events of runs are dropped") == 1

    @pytest.mark.parametrize(
        ("name", "value", "says"),
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "nothing says where to send to"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "is no address"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf"),
        ],
    )
    async def test_what_cannot_be_meant_is_said_before_anything_runs(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
    ) -> None:
        monkeypatch.setenv("HUD_OTEL", "1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
        monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=says):
            await one_run()


def sink_closed() -> None:
    """Send what waits, as at the end of a process."""
    close_stores()


async def test_it_is_a_sink(receiver: Receiver) -> None:
    def read(trace_id: str) -> list[dict[str, Any]]:
        steps = [attributes(span) for span in receiver.of_trace(trace_id)]
        said = [step["gen_ai.output.messages"] for step in steps if "hud.step.seq" in step]
        return [{"content": json.loads(text)[0]["parts"][0]["content"]} for text in said]

    await check_sink(
        lambda: OtelSink(
            lambda: Collector(receiver.url), span_maker(content=True), patience_s=60.0
        ),
        read,
    )


class Full:
    """A collector that takes nothing until it may."""

    def __init__(self) -> None:
        self.taken: list[Span] = []
        self.is_up = True

    def send(self, spans: Sequence[Span]) -> bool:
        if self.is_up:
            self.taken += spans
        return self.is_up

    def close(self) -> None: ...


def recorded(number: int, size: int = 10) -> StepRecorded:
    now = "2026-11-26T00:00:00.000000Z"
    payload = json.dumps({"source": "agent", "content": "x" * size}).encode()
    return StepRecorded(
        trace_id="a" * 32,
        seq=number,
        source="agent",
        schema="hud.step.v1",
        started_at=now,
        ended_at=now,
        payload=payload,
    )


async def test_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    taker = Full()
    sink = OtelSink(lambda: taker, patience_s=60.0, waiting_bytes=5_000)
    sink.put(recorded(1, 100_000))
    assert sink.dropped == 1
    sink.put(recorded(2))
    await sink.committed()
    assert len(taker.taken) == 1
    taker.is_up = False
    sink.put(recorded(3))
    await sink.committed()
    taker.is_up = True
    sink.put(recorded(4))
    await sink.committed()
    assert (len(taker.taken), sink.dropped) == (1, 3), "nothing is tried right after a failure"
    await sink.aclose()
    await sink.aclose()
    sink.put(recorded(5))
    await sink.committed()


async def test_an_impatient_wait_ends_while_the_collector_takes_its_time() -> None:
    released = threading.Event()

    class Slow(Full):
        def send(self, spans: Sequence[Span]) -> bool:
            released.wait(60)
            return super().send(spans)

    taker = Slow()
    sink = OtelSink(lambda: taker, patience_s=0.01)
    sink.put(recorded(1))
    await sink.committed()
    assert taker.taken == []
    released.set()
    await asyncio.to_thread(sink.close)
    assert len(taker.taken) == 1


class TestRecorded:
    def test_recorded_runs_give_the_same_spans_however_often(
        self, store: Store, receiver: Receiver
    ) -> None:
        payload = json.dumps(
            {"source": "agent", "model": "claude-sonnet-5", "usage": {"prompt_tokens": 7}}
        ).encode()
        job_id = record_job(store, {"a": [0.5], "b": [Outcome.MODEL]}, steps=[payload])
        job = store.find_job(job_id)
        maker = span_maker(content=False)
        spans = [
            span for run in store.runs_of(job_id) for span in spans_of_run(store, run, job, maker)
        ]
        again = [
            span for run in store.runs_of(job_id) for span in spans_of_run(store, run, job, maker)
        ]
        assert spans == again
        collector = Collector(receiver.url)
        assert collector.send(spans)
        collector.close()
        collector.close()
        graded, broken = store.runs_of(job_id)
        root, chat = receiver.of_trace(graded.id)
        assert root.name == "invoke_agent claude"
        assert attributes(root)["hud.reward"] == 0.5
        assert attributes(chat)["gen_ai.usage.input_tokens"] == 7
        assert attributes(chat)["gen_ai.provider.name"] == "anthropic"
        root = receiver.of_trace(broken.id)[0]
        about = attributes(root)
        assert "hud.reward" not in about, "an ungraded run has no reward, not one of 0"
        assert (about["error.type"], about["hud.outcome"]) == ("model", "model")
        assert (root.status.code, root.status.message) == (2, "it broke")
        assert len(root.events) == 0

    def test_headers_and_the_service_name_are_those_of_opentelemetrys_variables(
        self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=blue")
        span = SpanMaker().run_span(started(), None)
        assert span is not None
        for name in ("", "mine"):
            monkeypatch.setenv("OTEL_SERVICE_NAME", name)
            collector = Collector(f"{receiver.url}/v1/traces")
            assert collector.send([span])
            collector.close()
        assert receiver.headers[0]["x-team"] == "blue"
        about = [attributes(request.resource_spans[0].resource) for request in receiver.requests]
        assert [one["service.name"] for one in about] == ["hud", "mine"]

    def test_a_collector_that_refuses_is_told_apart_from_one_that_takes(
        self, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.status = 401
        span = SpanMaker().run_span(started(), None)
        assert span is not None
        collector = Collector(receiver.url)
        assert not collector.send([span])
        collector.close()
        assert "401" in caplog.text

    def test_a_file_holds_otlp_lines_with_ids_in_hex(self) -> None:
        span = SpanMaker().run_span(started(), ended(Outcome.GRADED))
        assert span is not None
        document = json.loads(otlp_line([span]))
        [found] = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert (found["traceId"], found["spanId"]) == ("a" * 32, root_id("a" * 32))
        assert found["kind"] == 1
        assert found["startTimeUnixNano"] == "1000000"


def started() -> RunStarted:
    return RunStarted(
        trace_id="a" * 32, job_id="b" * 32, task_slug="t", task_id="t", env="e", started_at=1_000
    )


def ended(outcome: Outcome) -> RunEnded:
    return RunEnded(
        trace_id="a" * 32,
        job_id="b" * 32,
        status="completed",
        outcome=outcome,
        ended_at=2_000,
        reward=0.25 if outcome is Outcome.GRADED else None,
    )


def test_a_subagents_steps_hang_under_its_own_span() -> None:
    inner = Trace(steps=[AgentStep(model="m", content="hi"), Step(source="user")])
    step = SubagentStep(subagent=inner)
    payload = step.model_dump_json(exclude_none=True).encode()
    event = recorded(3)
    found = list(
        SpanMaker().step_spans(
            StepRecorded(
                trace_id=event.trace_id,
                seq=3,
                source="subagent",
                schema="hud.step.v1",
                started_at=event.started_at,
                ended_at=event.ended_at,
                payload=payload,
            )
        )
    )
    assert [span.name for span in found] == ["invoke_agent", "chat m", "step user"]
    assert [span.parent_id for span in found] == [root_id("a" * 32), *[found[0].span_id] * 2]
    assert len({span.span_id for span in found}) == 3


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"[1, 2]",
        b'{"usage": {"prompt_tokens": 1e400, "cost_usd": "x", "completion_tokens": true}}',
        b'{"usage": {"prompt_tokens": 99999999999999999999999}, "model": 7, "error": 5}',
        b'{"call": [], "result": "x", "tool_calls": {"a": 1}, "messages": [3, {"content": 4}]}',
        b'{"subagent": {"steps": [1, {"source": 5, "started_at": "never"}]}}',
    ],
)
@pytest.mark.parametrize("source", ["agent", "tool", "user", "subagent", "task", "evil\x00"])
def test_whatever_a_step_holds_becomes_spans_that_can_be_sent(payload: bytes, source: str) -> None:
    step = StepRecorded(
        trace_id="not hex at all",
        seq=1,
        source=source,
        schema="hud.step.v1",
        started_at="",
        ended_at="yesterday",
        payload=payload,
    )
    spans = list(SpanMaker(content=True).step_spans(step))
    assert spans
    assert json.loads(otlp_line(spans))


def test_pictures_are_named_and_long_texts_cut() -> None:
    picture = {"type": "image", "data": "A" * 100_000, "mimeType": "image/png"}
    payload = {
        "source": "tool",
        "call": {"name": "look", "arguments": {"deep": [picture]}},
        "result": {"content": [picture, {"type": "text", "text": "y" * 100_000}]},
    }
    step = recorded(1)
    [span] = SpanMaker(content=True).step_spans(
        StepRecorded(
            trace_id=step.trace_id,
            seq=1,
            source="tool",
            schema=step.schema,
            started_at=step.started_at,
            ended_at=step.ended_at,
            payload=json.dumps(payload).encode(),
        )
    )
    result = json.loads(str(span.attributes["gen_ai.tool.call.result"]))
    assert result["content"][0] == {"type": "image", "mime_type": "image/png", "left_out": True}
    assert len(result["content"][1]["content"]) == 20_000
    assert "AAAA" not in str(span.attributes["gen_ai.tool.call.arguments"])


def test_providers_are_called_as_the_conventions_call_them() -> None:
    assert provider_of("claude-sonnet-5") == "anthropic"
    assert provider_of("gemini-3-pro") == "gcp.gemini"
    assert provider_of("nobody-knows-this-model") is None


def test_an_address_gets_the_path_of_the_standard_once() -> None:
    assert traces_address("http://h:4318") == "http://h:4318/v1/traces"
    assert traces_address("https://h/otlp/") == "https://h/otlp/v1/traces"
    assert traces_address("http://h/v1/traces?key=k") == "http://h/v1/traces?key=k"
    for text in ("h:4318", "ftp://h", "http://", "file:///x"):
        with pytest.raises(InputError, match="is no address"):
            traces_address(text)
