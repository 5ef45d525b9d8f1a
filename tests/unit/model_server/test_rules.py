"""The server's own behaviour: paths, rules, delays, deaths, and the command that starts it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from hud.models.provider import Dialect
from hud.testing.model_server import (
    ApiError,
    Call,
    ModelServer,
    Question,
    RawReply,
    Say,
    after_failures,
    letter_count,
    script,
)

ASK = "How many 'r's are in 'strawberry'?"
BODIES: dict[Dialect, Any] = {
    Dialect.CHAT: {"model": "m", "messages": [{"role": "user", "content": ASK}]},
    Dialect.RESPONSES: {"model": "m", "input": ASK},
    Dialect.MESSAGES: {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": ASK}],
    },
    Dialect.GEMINI: {"contents": [{"parts": [{"text": ASK}]}]},
}
PATHS = {
    Dialect.CHAT: "/v1/chat/completions",
    Dialect.RESPONSES: "/v1/responses",
    Dialect.MESSAGES: "/v1/messages?beta=true",
    Dialect.GEMINI: "/v1beta/models/m%2Fn:generateContent",
}


async def post(server: ModelServer, path: str, body: Any, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        return await client.post(path, json=body, headers=headers)


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_each_path_is_served_with_and_without_version_and_as_a_gateway(
    server: ModelServer, dialect: Dialect
) -> None:
    path = PATHS[dialect]
    bare = "/" + path.split("/", 2)[2]
    for form in (path, bare, f"/inference{path}", f"/inference{bare}"):
        reply = await post(server, form, BODIES[dialect])
        assert (reply.status_code, '"3"' in reply.text) == (200, True), form
        assert (server.requests[-1].dialect, server.requests[-1].path) == (dialect, form)
    assert server.requests[-1].model == ("m/n" if dialect is Dialect.GEMINI else "m")
    assert server.gateway_url.endswith(f":{server.port}/inference")


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_every_place_of_a_key_is_read(server: ModelServer, dialect: Dialect) -> None:
    server.api_key = "right"
    path, body = PATHS[dialect], BODIES[dialect]
    for name, value in (
        ("Authorization", "Bearer right"),
        ("x-api-key", "right"),
        ("x-goog-api-key", "right"),
    ):
        assert (await post(server, path, body, **{name: value})).status_code == 200
    assert (await post(server, path, body)).status_code in (401, 403)
    assert (await post(server, path, body, **{"x-api-key": "wrong"})).status_code in (400, 401)
    assert server.received == 3


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_a_rule_that_breaks_is_a_500(server: ModelServer, dialect: Dialect) -> None:
    def raising(question: Question) -> Say:
        raise KeyError("odd")

    async def later(question: Question) -> Say:
        raise KeyError("odd")

    def wrong(question: Question) -> Any:
        return 3

    for rule, said in ((raising, "raised KeyError"), (later, "raised KeyError"), (wrong, "int")):
        server.rule = rule
        reply = await post(server, PATHS[dialect], BODIES[dialect])
        assert (reply.status_code, said in reply.text) == (500, True)


async def test_any_bytes_can_be_answered(server: ModelServer) -> None:
    server.rule = lambda question: RawReply(b"<html>", 502, "text/html")
    reply = await post(server, PATHS[Dialect.CHAT], BODIES[Dialect.CHAT])
    assert (reply.status_code, reply.text, reply.headers["content-type"]) == (
        502,
        "<html>",
        "text/html",
    )


async def test_a_script_plays_by_turn_in_any_number_of_conversations(server: ModelServer) -> None:
    server.rule = script("one", lambda question: f"turn {question.turn}")
    path = PATHS[Dialect.CHAT]
    first = BODIES[Dialect.CHAT]
    told = {"role": "assistant", "content": "one"}
    asked = {"role": "user", "content": "go on"}
    second = {**first, "messages": [*first["messages"], told, asked]}
    third = {**first, "messages": [*second["messages"], told, asked]}
    for body, said in ((first, "one"), (second, "turn 1"), (first, "one"), (second, "turn 1")):
        assert said in (await post(server, path, body)).text
    over = await post(server, path, third)
    assert (over.status_code, "2 turns" in over.text) == (400, True)


async def test_failures_come_first_and_then_the_rule(server: ModelServer) -> None:
    server.rule = after_failures(letter_count, ApiError(429), ApiError(529))
    path, body = PATHS[Dialect.MESSAGES], BODIES[Dialect.MESSAGES]
    statuses = [(await post(server, path, body)).status_code for _ in range(3)]
    assert statuses == [429, 529, 200]


async def test_answers_wait_alone_and_a_dead_server_is_silent() -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def rule(question: Question) -> str:
        if "slow" in question.prompt_text:
            arrived.set()
            await release.wait()
        return question.prompt_text

    async with ModelServer(rule, latency_s=(0.0, 0.001), dies_after=2) as server:
        path = PATHS[Dialect.CHAT]
        slow = {"model": "m", "messages": [{"role": "user", "content": "slow"}]}
        waiting = asyncio.ensure_future(post(server, path, slow))
        await arrived.wait()
        assert (await post(server, path, BODIES[Dialect.CHAT])).status_code == 200
        assert not waiting.done()
        release.set()
        assert "slow" in (await waiting).text
        with pytest.raises(httpx2.TransportError):
            await post(server, path, BODIES[Dialect.CHAT])
        with pytest.raises(httpx2.ConnectError):
            await post(server, path, BODIES[Dialect.CHAT])
        assert server.answered == 2


async def test_ids_are_made_for_calls_and_differ_between_servers() -> None:
    rule = script(Say(calls=[Call("f"), Call("f")]))
    seen: set[str] = set()
    for _ in range(2):
        async with ModelServer(rule) as server:
            for dialect in (Dialect.CHAT, Dialect.MESSAGES):
                reply = (await post(server, PATHS[dialect], BODIES[dialect])).json()
                if dialect is Dialect.CHAT:
                    calls = reply["choices"][0]["message"]["tool_calls"]
                else:
                    calls = reply["content"]
                seen.update(call["id"] for call in calls)
    assert len(seen) == 8


def test_the_command_serves_a_rule_from_a_file(tmp_path: Path) -> None:
    source = tmp_path / "rules.py"
    source.write_text("def rule(question):\n    return f'{question.dialect}: {question.turn}'\n")
    command = [sys.executable, "-m", "hud.testing.model_server", "--rule", f"{source}:rule"]
    with subprocess.Popen(
        [*command, "--dies-after", "1", "--api-key", "k", "--latency", "0.001-0.002"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        name, _, port = process.stdout.readline().strip().partition("=")
        assert name == "MODEL_SERVER_PORT"
        url = f"http://127.0.0.1:{port}{PATHS[Dialect.RESPONSES]}"
        body = BODIES[Dialect.RESPONSES]
        assert httpx2.post(url, json=body).status_code == 401
        key = {"x-api-key": "k"}
        assert "responses: 0" in httpx2.post(url, json=body, headers=key).text
        with pytest.raises(httpx2.TransportError):
            httpx2.post(url, json=body, headers=key)
        assert process.wait(30) == 0


@pytest.mark.parametrize("rule", ["nothing", "nowhere.at_all:rule", "json:nothing"])
def test_a_rule_that_cannot_be_loaded_is_said_in_a_sentence(rule: str) -> None:
    command = [sys.executable, "-m", "hud.testing.model_server", "--rule", rule]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert rule.partition(":")[0] in done.stderr and "Traceback" not in done.stderr
