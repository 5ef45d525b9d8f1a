"""What goes wrong in front of the gateway, inside it and behind it, and what everyone is told."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any

import anthropic
import httpx
import openai
import pytest
from openai import AsyncOpenAI

from hud.models.provider import Dialect
from hud.platform.gateway import app as gateway_app
from hud.testing.model_server import ApiError, HangUp, ModelServer, RawReply, Reply, Say
from hud.testing.model_server.script import after_failures
from tests.platform.gateway.asking import PROMPT, add_all, ask, model_for
from tests.platform.gateway.gatewayed import PROVIDER_KEY, Gatewayed
from tests.platform.gateway.raw_provider import STREAM, RawProvider, Request, chunk, says, whole

DIALECTS = list(Dialect)
BODY: dict[str, Any] = {"model": "m", "messages": PROMPT}


def message_of(reply: httpx.Response) -> str:
    """Return the sentence of an error, in whichever dialect."""
    return reply.json()["error"]["message"]


PATHS: dict[Dialect, tuple[str, dict[str, Any]]] = {
    Dialect.CHAT: ("/chat/completions", {"messages": PROMPT}),
    Dialect.RESPONSES: ("/responses", {"input": "x"}),
    Dialect.MESSAGES: ("/v1/messages", {"messages": PROMPT, "max_tokens": 9}),
    Dialect.GEMINI: ("/v1beta/models/MODEL:generateContent", {"contents": []}),
}


async def post(client: httpx.AsyncClient, dialect: Dialect, model: str) -> httpx.Response:
    path, body = PATHS[dialect]
    if dialect is Dialect.GEMINI:
        return await client.post(path.replace("MODEL", model), json=body)
    return await client.post(path, json={**body, "model": model})


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_an_unknown_model_is_answered_in_the_words_of_the_dialect_with_names_like_it(
    platform: Gatewayed, dialect: Dialect
) -> None:
    async with ModelServer(lambda question: "x") as server:
        add_all(platform, server)
        async with platform.http() as client:
            reply = await post(client, dialect, model_for(dialect) + "r")
        assert server.requests == []
    assert reply.status_code == 404
    assert f"did you mean {model_for(dialect)}" in message_of(reply)
    error = reply.json()["error"]
    match dialect:
        case Dialect.MESSAGES:
            assert error["type"] == "not_found_error"
        case Dialect.GEMINI:
            assert (error["code"], error["status"]) == (404, "NOT_FOUND")
        case _:
            assert error["code"] == "model_not_found"


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_key_that_is_not_known_reaches_nobody(
    platform: Gatewayed, dialect: Dialect
) -> None:
    async with ModelServer(lambda question: "x") as server:
        add_all(platform, server)
        async with platform.http(authorization="Bearer hud_not-a-key") as client:
            reply = await post(client, dialect, model_for(dialect))
        assert server.requests == []
    assert reply.status_code == 401
    assert "hud_not-a-key" not in reply.text


async def test_a_key_without_the_scope_is_refused(platform: Gatewayed) -> None:
    key = platform.make_key(scopes=("read", "write"))
    async with platform.http(authorization=f"Bearer {key}") as client:
        reply = await client.post("/chat/completions", json=BODY)
    assert reply.status_code == 403
    assert "inference" in message_of(reply)


async def test_a_model_is_asked_in_the_dialects_its_provider_has(platform: Gatewayed) -> None:
    async with ModelServer(lambda question: "x") as server:
        add_all(platform, server)
        async with platform.http() as client:
            wrong = await post(client, Dialect.MESSAGES, model_for(Dialect.CHAT))
            other = await post(client, Dialect.RESPONSES, model_for(Dialect.MESSAGES))
    assert (wrong.status_code, other.status_code) == (400, 400)
    assert "/chat/completions or /responses" in message_of(wrong)
    assert "/v1/messages or /chat/completions" in message_of(other)


async def test_a_server_without_the_responses_api_is_told_from_one_without_the_model(
    platform: Gatewayed,
) -> None:
    plain = says(b'{"detail":"Not Found"}', "404 Not Found")
    unknown = b'{"error":{"message":"The model m does not exist","code":"model_not_found"}}'
    async with (
        RawProvider(plain) as old,
        RawProvider(says(unknown, "404 Not Found")) as new,
        platform.http() as client,
    ):
        platform.add("old", "openai", f"{old.url}/v1", ["m"])
        platform.add("new", "openai", f"{new.url}/v1", ["n=m"])
        lacking = await client.post("/responses", json={"model": "m", "input": "x"})
        missing = await client.post("/responses", json={"model": "n", "input": "x"})
    assert lacking.status_code == 400
    assert "has no Responses API" in message_of(lacking)
    assert (missing.status_code, message_of(missing)) == (404, "The model m does not exist")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_refusal_that_cannot_be_billed_is_tried_again(
    platform: Gatewayed, dialect: Dialect, status: int
) -> None:
    refusal = ApiError(status, "slow down", headers={"retry-after-ms": "1"})
    rule = after_failures(lambda question: "done", refusal)
    async with ModelServer(rule, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        text = await ask(dialect, platform.url, platform.key, model_for(dialect), stream=False)
        assert server.received == 2
        [row] = await platform.rows()
    assert text == "done"
    assert row["status"] == 200


@pytest.mark.parametrize(
    "failure",
    [ApiError(500, "oops"), ApiError(502, "bad gateway"), ApiError(504, "late"), HangUp()],
    ids=["500", "502", "504", "hung up"],
)
async def test_what_may_have_been_billed_is_not_tried_again(
    platform: Gatewayed, failure: Reply
) -> None:
    async with ModelServer(lambda question: failure, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            reply = await post(client, Dialect.CHAT, model_for(Dialect.CHAT))
        assert server.received == 1
        [row] = await platform.rows()
    assert reply.status_code in (500, 502, 504)
    assert row["status"] == reply.status_code
    assert row["error"]


async def test_asked_to_wait_for_long_the_client_is_told_and_decides(platform: Gatewayed) -> None:
    refusal = ApiError(429, "the quota is used up", headers={"Retry-After": "120"})
    async with ModelServer(lambda question: refusal, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            reply = await post(client, Dialect.CHAT, model_for(Dialect.CHAT))
        assert server.received == 1
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "120")
    assert message_of(reply) == "the quota is used up"


async def test_a_provider_that_is_not_there_is_tried_again_and_then_told(
    platform: Gatewayed,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    platform.add("gone", "openai", f"http://127.0.0.1:{port}/v1", ["m"])
    async with platform.http() as client:
        reply = await client.post("/chat/completions", json=BODY)
    [row] = await platform.rows()
    assert reply.status_code == 502
    assert "'gone'" in message_of(reply)
    assert "cannot be reached" in message_of(reply)
    assert (row["status"], row["prompt_tokens"]) == (502, 0)


async def test_an_idempotency_key_is_passed_on(platform: Gatewayed) -> None:
    async with RawProvider(says(b"{}")) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        headers = {"Idempotency-Key": "once", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4"}
        await client.post("/chat/completions", json=BODY, headers=headers)
    [request] = provider.requests
    assert request.headers["idempotency-key"] == "once"
    assert not {"cookie", "x-forwarded-for"} & request.headers.keys()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_stream_that_breaks_off_is_an_error_for_every_sdk(
    platform: Gatewayed, dialect: Dialect
) -> None:
    cut = HangUp(after_events=2, says=Say("one two three four five six seven"))
    async with ModelServer(lambda question: cut, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        with pytest.raises(Exception) as caught:  # noqa: PT011 -- each SDK has its own
            await ask(dialect, platform.url, platform.key, model_for(dialect), stream=True)
        assert server.received == 1
        [row] = await platform.rows()
    assert not isinstance(caught.value, AssertionError)
    assert "broke off" in row["error"]
    assert row["completion_tokens"] > 0, "what was written until then is billed"


async def test_a_whole_answer_that_breaks_off_is_not_whole_for_the_client(
    platform: Gatewayed,
) -> None:
    cut = HangUp(after_bytes=200, says=Say("x" * 1000))
    async with ModelServer(lambda question: cut, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with platform.http() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await post(client, Dialect.CHAT, model_for(Dialect.CHAT))


async def test_a_page_of_html_is_told_in_one_sentence(platform: Gatewayed) -> None:
    page = RawReply(b"<html>" + b"x" * 10_000, status=502, content_type="text/html")
    async with ModelServer(lambda question: page, api_key=PROVIDER_KEY) as server:
        add_all(platform, server)
        async with AsyncOpenAI(
            base_url=platform.url, api_key=platform.key, max_retries=0
        ) as client:
            with pytest.raises(openai.InternalServerError, match="an HTML page"):
                await client.chat.completions.create(model=model_for(Dialect.CHAT), messages=PROMPT)


async def test_a_redirect_is_not_followed(platform: Gatewayed) -> None:
    async with RawProvider(says(b"{}")) as inner:
        there = f"location: {inner.url}/v1/chat/completions"
        async with RawProvider(says(b"", "307 Temporary Redirect", there)) as provider:
            platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
            async with platform.http() as client:
                reply = await client.post("/chat/completions", json=BODY)
        assert inner.requests == []
    assert reply.status_code == 502
    assert "redirect" in message_of(reply)


async def test_a_provider_that_refuses_the_platforms_key_does_not_look_like_a_wrong_client_key(
    platform: Gatewayed,
) -> None:
    async with ModelServer(lambda question: "x", api_key="another key") as server:
        add_all(platform, server)
        for dialect in (Dialect.CHAT, Dialect.MESSAGES, Dialect.GEMINI):
            async with platform.http() as client:
                reply = await post(client, dialect, model_for(dialect))
            assert reply.status_code == 502
            assert reply.headers["x-should-retry"] == "false"
            assert "refuses the key this platform has" in message_of(reply)


async def test_a_provider_that_repeats_its_key_does_not_give_it_away(
    platform: Gatewayed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
        said = json.dumps({"error": {"message": f"you sent {request.headers['authorization']}"}})
        if b'"fail"' in request.body:
            writer.write(whole(said.encode(), "400 Bad Request"))
        else:
            writer.write(STREAM + chunk(b"data: " + said.encode() + b"\n\n") + chunk(b""))
        await writer.drain()

    async with RawProvider(echo) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        failed = await client.post("/chat/completions", json={**BODY, "user": "fail"})
        streamed = await client.post("/chat/completions", json={**BODY, "stream": True})
        rows = await platform.rows()
    for seen in (failed.text, streamed.text, str(rows), caplog.text):
        assert PROVIDER_KEY not in seen
    assert "[redacted]" in failed.text
    assert "[redacted]" in streamed.text
    assert len(rows) == 2


async def test_the_key_lies_encrypted_in_the_database(platform: Gatewayed) -> None:
    platform.add("raw", "openai", "http://127.0.0.1:9/v1")
    home = platform.services.config.home
    for path in home.glob("*.db*"):
        assert PROVIDER_KEY.encode() not in path.read_bytes()
    assert list(home.glob("*.db*"))


async def test_a_client_that_goes_away_stops_the_provider(platform: Gatewayed) -> None:
    piece = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece) * 3)
        await writer.drain()
        await asyncio.Event().wait()

    async with RawProvider(endless) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        body = {**BODY, "stream": True}
        async with client.stream("POST", "/chat/completions", json=body) as reply:
            async for data in reply.aiter_raw():
                assert b"content" in data
                break
        async with asyncio.timeout(30):
            await provider.gone.wait()
        row = await platform.next_row()
    assert row["status"] == 499
    assert row["completion_tokens"] == 3, "what was written until then is billed"
    assert row["prompt_tokens"] > 0


async def test_a_client_that_goes_away_before_the_answer_is_billed_its_prompt(
    platform: Gatewayed,
) -> None:
    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with RawProvider(silent) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        asking = asyncio.ensure_future(client.post("/chat/completions", json=BODY))
        async with asyncio.timeout(30):
            await provider.asked.wait()
        asking.cancel()
        row = await platform.next_row()
    assert (row["status"], row["completion_tokens"]) == (499, 0)
    assert row["prompt_tokens"] > 0
    assert row["error"] == "the client went away before the end; the tokens are estimated"


async def test_a_provider_that_tells_no_usage_is_estimated(platform: Gatewayed) -> None:
    piece = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'

    async def mute(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + chunk(piece * 5) + chunk(b"data: [DONE]\n\n") + chunk(b""))

    async with RawProvider(mute) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        await client.post("/chat/completions", json={**BODY, "stream": True})
        row = await platform.next_row()
    assert row["status"] == 200
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] == 6
    assert row["error"] == "the provider told no usage; the tokens are estimated"


async def test_a_long_conversation_with_pictures_goes_through(platform: Gatewayed) -> None:
    url = "data:image/png;base64," + "A" * 20_000_000
    picture = {"type": "image_url", "image_url": {"url": url}}
    messages = [{"role": "user", "content": [picture]}]
    async with RawProvider(says(b'{"choices":[]}')) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m", "other=m"])
        same = await client.post("/chat/completions", json={"model": "m", "messages": messages})
        other = await client.post(
            "/chat/completions", json={"model": "other", "messages": messages}
        )
    assert (same.status_code, other.status_code) == (200, 200)
    for request in provider.requests:
        assert json.loads(request.body) == {"model": "m", "messages": messages}


async def test_a_client_that_reads_slowly_holds_the_provider_back(platform: Gatewayed) -> None:
    written = 0
    piece = b"data: " + b"x" * 65_000 + b"\n\n"

    async def flood(request: Request, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(STREAM)
        for _ in range(2_000):
            writer.write(chunk(piece))
            written += len(piece)
            await writer.drain()
        writer.write(chunk(b""))

    async with RawProvider(flood) as provider, platform.http() as client:
        platform.add("raw", "openai", f"{provider.url}/v1", ["m"])
        body = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", "/chat/completions", json=body) as reply:
            before, still = -1, 0
            while still < 200:  # until nothing moves any more
                still = still + 1 if written == before else 0
                before = written
                await asyncio.sleep(0)
            assert written < 32 * 1024 * 1024, "everything was taken in"
            size = sum([len(data) async for data in reply.aiter_raw()])
    assert size == 2_000 * len(piece)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"model":',
        b'{"model":3}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model":""}',
    ],
    ids=["empty", "list", "null", "cut", "number", "no text", "deep", "no name"],
)
@pytest.mark.parametrize("path", ["/chat/completions", "/v1/messages", "/responses"])
async def test_a_body_that_is_no_request_is_refused(
    platform: Gatewayed, path: str, body: bytes
) -> None:
    async with platform.http() as client:
        reply = await client.post(path, content=body)
    assert reply.status_code == 400
    assert message_of(reply)


async def test_bodies_and_headers_have_limits(
    platform: Gatewayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_app, "BODY_BYTES", 100_000)
    async with platform.http() as client:
        long = await client.post("/chat/completions", content=b" " * 200_000)
        headers = {"x-a": "b" * 40_000, "x-c": "d" * 40_000}
        heavy = await client.post("/chat/completions", json=BODY, headers=headers)
        monkeypatch.setattr(gateway_app, "BODIES_BYTES", 50_000)
        crowded = await client.post("/chat/completions", content=b" " * 90_000)
        after = await client.post("/chat/completions", json=BODY)
    assert long.status_code == 413
    assert heavy.status_code in (400, 431)
    assert (crowded.status_code, crowded.headers["retry-after"]) == (503, "1")
    assert after.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/chat/completions"),
        ("POST", "/nothing"),
        ("POST", "/v1beta/models/x:doSomething"),
        ("DELETE", "/models/x"),
        ("GET", "/responses/%2e%2e%2fmodels"),
        ("PUT", "/responses/resp_1"),
    ],
)
async def test_what_the_gateway_has_not_is_said(
    platform: Gatewayed, method: str, path: str
) -> None:
    async with platform.http() as client:
        reply = await client.request(method, path)
    assert reply.status_code == 404
    assert "the gateway has nothing at" in message_of(reply)


async def test_a_link_local_address_behind_a_name_is_never_dialled(
    platform: Gatewayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def lead_astray(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host == "models.example.org":
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", port))]
        return real(host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lead_astray)
    platform.add("far", "openai", "http://models.example.org/v1", ["m"])
    async with platform.http() as client:
        reply = await client.post("/chat/completions", json=BODY)
    assert reply.status_code == 502
    assert "never asked" in message_of(reply)


async def test_sdks_read_the_gateways_own_errors(platform: Gatewayed) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=platform.url, api_key=platform.key, max_retries=0
    ) as client:
        with pytest.raises(anthropic.NotFoundError, match="no provider yet"):
            await client.messages.create(model="claude-x", max_tokens=9, messages=PROMPT)
