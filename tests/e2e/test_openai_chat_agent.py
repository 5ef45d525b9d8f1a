"""The Chat Completions agent: the real SDK against a real server, through real environments."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from hud._core.errors import AgentFault, Fault, InputError, ModelFault
from hud.agents import OpenAIChatAgent
from hud.agents.run import Run
from hud.agents.types import OpenAIChatConfig
from hud.clients.connect import connect
from hud.environment.environment import Environment
from hud.runtimes.local import LocalRuntime
from hud.testing import check_agent
from hud.testing.chat_server import (
    ChatError,
    ChatReply,
    ChatServer,
    HangUp,
    RawReply,
    letter_count,
)
from hud.trace.steps import AgentStep
from tests.e2e.asking_models import KEY, asked, bare

__all__ = ["bare"]


def agent_for(server: ChatServer, **config: Any) -> OpenAIChatAgent:
    config.setdefault("base_url", server.base_url)
    return OpenAIChatAgent(OpenAIChatConfig(**config))


def turn(run: Run) -> AgentStep:
    (step,) = run.trace.steps
    assert isinstance(step, AgentStep)
    return step


async def fault_of(reply: Any, **config: Any) -> Fault:
    """Return the fault that a reply of the server ends a run with."""
    async with ChatServer(lambda request: reply) as server:
        agent = agent_for(server, api_key=KEY, model_retries=0, **config)
        with pytest.raises(Fault) as caught:
            await agent(asked())
    assert KEY not in caught.value.message + str(caught.value.hint)
    return caught.value


async def test_a_turn_is_asked_recorded_and_graded() -> None:
    env = Environment(name="letters")

    @env.template()
    async def count(word: str) -> AsyncGenerator[Any, Any]:
        answer = yield f"How many 'r's are in '{word}'?"
        yield 1.0 if answer == "3" else 0.0

    reply = ChatReply(
        "3", reasoning="r, rr", prompt_tokens=11, completion_tokens=2, cached_tokens=7
    )
    async with ChatServer(lambda request: reply) as server, LocalRuntime(env) as runtime:
        agent = agent_for(server, model="m1", system_prompt="Answer briefly.")
        task = count("strawberry")
        async with runtime(task) as place, connect(place) as client:
            run = Run(client, task.id, task.args)
            await run.start()
            await agent(run)
            await run.finish()
    assert server.requests[0].body == {
        "model": "m1",
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            {"role": "user", "content": "How many 'r's are in 'strawberry'?"},
        ],
    }
    assert (run.trace.content, run.trace.stop_reason, run.grade.reward) == ("3", "done", 1.0)
    step = run.trace.steps[2]
    assert isinstance(step, AgentStep)
    assert (step.content, step.reasoning, step.finish_reason, step.model, step.done) == (
        "3", "r, rr", "stop", "m1", True,
    )  # fmt: skip
    assert step.started_at is not None and step.started_at <= (step.ended_at or "")
    usage = run.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (11, 2, 7)
    assert usage.llm_call_count == 1


async def test_the_agent_keeps_the_contract() -> None:
    async with ChatServer(lambda request: request["messages"][-1]["content"][-20:]) as server:
        await check_agent(lambda: agent_for(server))


async def test_messages_and_media_reach_the_model_in_turns() -> None:
    png = {"type": "image", "data": "aGV5", "mimeType": "image/png"}
    wav = {"type": "audio", "data": "aGV5", "mimeType": "audio/wav"}
    file = {"type": "resource", "resource": {"uri": "file:///a", "text": "inside"}}
    prompt = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "content": "third"},
        {"role": "user", "content": {"type": "text", "text": "look"}},
        *({"role": "user", "content": part} for part in (png, wav, file)),
    ]
    async with ChatServer(lambda request: "seen") as server:
        await agent_for(server)(asked(prompt))
    assert server.requests[0].body["messages"] == [
        {"role": "user", "content": "first\n\nsecond"},
        {"role": "assistant", "content": "third"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGV5"}},
                {"type": "input_audio", "input_audio": {"data": "aGV5", "format": "wav"}},
                {"type": "text", "text": "inside"},
            ],
        },
    ]


async def test_a_part_that_cannot_be_carried_is_named() -> None:
    link = {"type": "resource_link", "name": "a", "uri": "file:///a"}
    async with ChatServer() as server:
        with pytest.raises(AgentFault, match="resource_link, role user"):
            await agent_for(server)(asked([{"role": "user", "content": link}]))
    assert server.requests == []


async def test_a_row_lays_its_own_settings_over_the_agents() -> None:
    async with ChatServer(lambda request: "x") as server:
        agent = agent_for(
            server,
            model="base",
            system_prompt="base",
            completion_kwargs={"temperature": 0, "top_k": 1},
        )
        row: dict[str, Any] = {
            "model": "own",
            "system_prompt": "own",
            "max_steps": 3,
            "timeout_seconds": 5,
            "completion_kwargs": {"top_k": 2, "seed": 7},
        }
        await asyncio.gather(agent(asked(**row)), agent(asked()))
    bodies = sorted((request.body for request in server.requests), key=lambda body: body["model"])
    base, own = bodies
    assert (own["messages"][0]["content"], base["messages"][0]["content"]) == ("own", "base")
    assert (own["temperature"], own["top_k"], own["seed"]) == (0, 2, 7)
    assert (base["temperature"], base["top_k"], "seed" in base) == (0, 1, False)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"systemprompt": "x"}, "agent_config of task 'count-1': unknown setting 'systemprompt'"),
        ({"max_steps": "many"}, "setting max_steps = many"),
        ({"completion_kwargs": {"messages": []}}, "'messages' is set by the agent itself"),
        ({"base_url": "http://elsewhere"}, "may not set base_url"),
        ({"api_key": "x"}, "may not set api_key"),
    ],
)
async def test_a_row_with_a_setting_it_may_not_have_sends_nothing(
    row: dict[str, Any], said: str
) -> None:
    async with ChatServer() as server:
        with pytest.raises(AgentFault, match=said):
            await agent_for(server)(asked(**row))
    assert server.requests == []


async def test_what_is_no_json_in_completion_kwargs_is_the_agents_fault() -> None:
    async with ChatServer() as server:
        with pytest.raises(AgentFault, match="completion_kwargs cannot be sent"):
            await agent_for(server, completion_kwargs={"metadata": object()})(asked())


@pytest.mark.parametrize("content", ["", None])
async def test_an_empty_answer_is_an_answer(content: str | None) -> None:
    async with ChatServer(lambda request: ChatReply(content)) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")
    assert turn(run).content == content


async def test_a_refusal_is_an_answer() -> None:
    async with ChatServer(lambda request: ChatReply(None, refusal="I will not")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")
    assert turn(run).refusal == "I will not"


async def test_a_cut_answer_is_graded_and_says_so() -> None:
    async with ChatServer(lambda request: ChatReply("It is th", finish_reason="length")) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("It is th", "length")


@pytest.mark.parametrize(
    "refusal",
    [
        ChatError(400, "too long", "context_length_exceeded"),
        ChatError(400, "This model's maximum context length is 8 tokens"),
    ],
)
async def test_a_prompt_the_model_cannot_hold_is_graded(refusal: ChatError) -> None:
    async with ChatServer(lambda request: refusal) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == (None, "context_overflow")
    assert turn(run).stop_reason == "context_overflow"


async def test_token_ids_are_kept_when_asked_for() -> None:
    reply = ChatReply("3", prompt_token_ids=[1, 2, 3], token_ids=[7, 8], logprobs=[-0.5, -0.25])
    kwargs = {"return_token_ids": True, "logprobs": True}
    async with ChatServer(lambda request: reply) as server:
        run, plain = asked(), asked()
        await agent_for(server, completion_kwargs=kwargs, checkpoint="c1")(run)
        await agent_for(server)(plain)
    sample = turn(run).sample
    assert sample is not None
    assert sample.prompt_token_ids == [1, 2, 3]
    assert (sample.output_token_ids, sample.output_logprobs) == ([7, 8], [-0.5, -0.25])
    assert turn(plain).sample is None
    assert server.requests[0].body["return_token_ids"] is True
    assert server.requests[0].body["checkpoint"] == "c1"


async def test_a_large_answer_in_every_script_comes_back_whole() -> None:
    text = "žluťoučký 漢字 🚀 " * 600_000  # more than 10 MiB of UTF-8
    async with ChatServer(lambda request: request["messages"][0]["content"]) as server:
        run = asked(text)
        await agent_for(server)(run)
    assert run.trace.content == text


@pytest.mark.parametrize(
    ("reply", "said", "hint"),
    [
        (ChatError(401, f"Incorrect API key provided: {KEY}"), "status 401", "OPENAI_API_KEY"),
        (ChatError(403, "no"), "status 403 .*: no", "OPENAI_API_KEY"),
        (ChatError(404, "The model `m` does not exist"), "status 404 .*does not exist", "/v1"),
        (ChatError(400, "bad temperature"), "status 400 .*bad temperature", None),
        (ChatError(429, "slow down"), "status 429 .*slow down", "--max-concurrent"),
        (ChatError(503, "overloaded"), "status 503 .*overloaded", None),
        (RawReply(b"<html>oops</html>", 502, "text/html"), "status 502 .*an HTML page", None),
        (RawReply(b"", 500), "status 500 .*an empty body", None),
        (HangUp(), "broke off before its answer was whole: ", None),
        (HangUp(after_bytes=150), "broke off before its answer was whole: ", None),
    ],
)
async def test_a_failing_api_is_a_model_fault_in_one_sentence(
    reply: Any, said: str, hint: str | None
) -> None:
    fault = await fault_of(reply, model="m")
    assert isinstance(fault, ModelFault)
    assert fault.message.startswith("the model API at http://127.0.0.1:")
    with pytest.raises(ModelFault, match=said):
        raise fault
    assert "\n" not in fault.message
    assert hint is None or hint in (fault.hint or "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><p>hi", "no chat completion, not JSON: an HTML page"),
        (b'{"choices": [', "not JSON"),
        (b"", "not JSON: an empty body"),
        (b"[]", r"no chat completion, \[\]"),
        (b"{}", "no choices"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": [{}]}', "no message"),
        (b'{"choices": ["x"]}', "no message"),
        (b'{"error": {"message": "upstream is down", "code": 502}}', "error: upstream is down"),
    ],
)
async def test_a_reply_that_is_no_completion_is_a_model_fault(body: bytes, said: str) -> None:
    fault = await fault_of(
        RawReply(body, content_type="text/html" if b"<" in body else "application/json")
    )
    assert isinstance(fault, ModelFault)
    with pytest.raises(ModelFault, match=said):
        raise fault


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"content": "3"}}]},
        {"choices": [{"message": {"content": "3"}, "finish_reason": 1}], "usage": None, "model": 5},
        {"choices": [{"message": {"content": [{"type": "text", "text": "3"}]}}], "usage": []},
        {"choices": [{"message": {"content": "3"}}], "usage": {"prompt_tokens": "many"}},
    ],
)
async def test_a_careless_server_is_understood(body: dict[str, Any]) -> None:
    async with ChatServer(lambda request: RawReply(json.dumps(body).encode())) as server:
        run = asked()
        await agent_for(server, model="m")(run)
    assert run.trace.content == "3"
    assert turn(run).model == "m"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_where_nobody_listens_is_named(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    agent = OpenAIChatAgent(OpenAIChatConfig(base_url=f"http://me:hidden@{host}:{port}/v1"))
    agent.oai = agent.oai.with_options(max_retries=0)
    with pytest.raises(ModelFault) as caught:
        await agent(asked())
    assert f"http://{host}:{port}/v1 cannot be reached: Connection refused" in caught.value.message
    assert "hidden" not in caught.value.message


async def test_an_api_that_is_too_slow_is_a_model_fault() -> None:
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with ChatServer(lambda request: never) as server:
        agent = agent_for(server, completion_kwargs={"timeout": 0.05})
        agent.oai = agent.oai.with_options(max_retries=0)
        with pytest.raises(ModelFault, match="did not answer in time"):
            await agent(asked())
        never.cancel()


async def test_a_passing_failure_is_retried() -> None:
    failures = [ChatError(500, headers={"Retry-After-Ms": "1"}), HangUp()]
    async with ChatServer(lambda request: failures.pop() if failures else "3") as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, server.received) == ("3", 3)


def test_without_a_key_openai_itself_cannot_be_asked() -> None:
    with pytest.raises(InputError, match="no key for the OpenAI API") as caught:
        OpenAIChatAgent().check_ready()
    assert "OPENAI_API_KEY" in (caught.value.hint or "")


async def test_a_missing_key_met_only_in_a_run_is_the_agents_fault() -> None:
    with pytest.raises(AgentFault, match="no key for the OpenAI API"):
        await OpenAIChatAgent()(asked())


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://a b/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not an HTTP address"):
        OpenAIChatAgent(OpenAIChatConfig(base_url=url)).check_ready()


def test_a_key_with_a_line_break_or_accents_is_refused_without_showing_it() -> None:
    for key in ("abc\ndef", "clé-secrète"):
        config = OpenAIChatConfig(base_url="http://x/v1", api_key=key)
        with pytest.raises(InputError, match="characters no key has") as caught:
            OpenAIChatAgent(config).check_ready()
        assert key not in caught.value.message


async def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ChatServer(api_key=KEY) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
        run = asked()
        agent = OpenAIChatAgent()
        agent.check_ready()
        await agent(run)
    assert run.trace.content == "3"
    assert KEY not in run.trace.model_dump_json() + json.dumps(agent.describe())


def test_a_description_holds_no_secret() -> None:
    config = OpenAIChatConfig(
        model="m",
        api_key=KEY,
        base_url=f"http://me:{KEY}@host:1/v1",
        completion_kwargs={"seed": 1, "extra_headers": {"X-Auth": KEY}},
    )
    described = OpenAIChatAgent(config).describe()
    assert KEY not in json.dumps(described)
    assert described["config"]["base_url"] == "http://host:1/v1"
    assert described["config"]["completion_kwargs"] == {"seed": 1}


async def test_only_the_gateway_is_told_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ChatServer() as gateway, ChatServer() as other:
        monkeypatch.setenv("HUD_GATEWAY_URL", gateway.base_url.removesuffix("/v1"))
        monkeypatch.setenv("HUD_API_KEY", KEY)
        for server in (gateway, other):
            run = asked()
            run.trace.trace_id = "0123456789abcdef0123456789abcdef"
            headers = {"extra_headers": {"Trace-Id": "mine", "X-Own": "1"}}
            await agent_for(server, completion_kwargs=headers)(run)
    told, kept = gateway.requests[0].headers, other.requests[0].headers
    assert (told["trace-id"], told["x-own"]) == ("0123456789abcdef0123456789abcdef", "1")
    assert told["authorization"] == f"Bearer {KEY}"
    assert kept["trace-id"] == "mine"
    assert KEY not in kept["authorization"]


async def test_agents_on_one_endpoint_share_their_client() -> None:
    async with ChatServer() as server:
        one, two = agent_for(server, model="a"), agent_for(server, model="b")
        assert one.oai is two.oai
        assert agent_for(server, api_key="another-key").oai is not one.oai
        async with AsyncOpenAI(base_url=server.base_url, api_key="own-client-key") as client:
            one.oai = client
            assert one.oai is client
            await one(asked())
    assert server.requests[0].headers["authorization"] == "Bearer own-client-key"


def test_a_client_is_closed_with_its_event_loop_and_made_anew_for_the_next() -> None:
    async def work() -> AsyncOpenAI:
        async with ChatServer() as server:
            agent = agent_for(server)
            await asyncio.gather(*(agent(asked()) for _ in range(3)))
            return agent.oai

    first, second = asyncio.run(work()), asyncio.run(work())
    assert first is not second
    assert first.is_closed() and second.is_closed()
    gc.collect()  # an open connection would warn here, and a warning fails the test


async def test_hundreds_of_runs_at_once_are_all_answered() -> None:
    count = 350
    arrived: list[int] = []
    gate = asyncio.Event()

    async def rule(request: dict[str, Any]) -> str:
        arrived.append(1)
        if len(arrived) == count:
            gate.set()
        await gate.wait()
        return letter_count(request)

    async with ChatServer(rule) as server:
        agent = agent_for(server)
        runs = [asked(f"How many 'r's are in '{'r' * (index % 7)}x'?") for index in range(count)]
        async with asyncio.timeout(120):
            await asyncio.gather(*(agent(run) for run in runs))
    assert [run.trace.content for run in runs] == [str(index % 7) for index in range(count)]


@pytest.fixture
def process() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a chat server in a process of its own, and its base_url."""
    command = [sys.executable, "-m", "hud.testing.chat_server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        name, _, port = server.stdout.readline().strip().partition("=")
        assert name == "CHAT_SERVER_PORT"
        try:
            yield server, f"http://127.0.0.1:{port}/v1"
        finally:
            server.kill()


async def test_a_server_killed_half_way_leaves_answers_before_and_faults_after(
    process: tuple[subprocess.Popen[str], str],
) -> None:
    server, base_url = process
    agent = OpenAIChatAgent(OpenAIChatConfig(base_url=base_url))
    agent.oai = agent.oai.with_options(max_retries=0)
    before = [asked() for _ in range(5)]
    await asyncio.gather(*(agent(run) for run in before))
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    results = await asyncio.gather(*(agent(asked()) for _ in range(5)), return_exceptions=True)
    assert [run.trace.content for run in before] == ["3"] * 5
    assert all(isinstance(result, ModelFault) for result in results)


async def test_a_server_told_to_die_answers_exactly_so_many() -> None:
    async with ChatServer(dies_after=4) as server:
        agent = agent_for(server)
        agent.oai = agent.oai.with_options(max_retries=0)
        runs = [asked() for _ in range(10)]
        results = await asyncio.gather(*(agent(run) for run in runs), return_exceptions=True)
    assert sum(result is None for result in results) == 4
    assert sum(isinstance(result, ModelFault) for result in results) == 6
    assert server.answered == 4
