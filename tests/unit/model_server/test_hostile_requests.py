"""Bytes no SDK would send: an error every time, and a server that goes on."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx2
import pytest

from hud._core import json
from hud.testing.model_server import ModelServer

CHAT = b"/v1/chat/completions"
ODD: list[Any] = [None, True, 0, -1.5, "", "x", [], [1], [[]], {}, {"type": 3}, {"type": "x"}]


async def exchange(server: ModelServer, sent: bytes) -> bytes:
    """Return everything the server says to these bytes, up to the connection's end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(30):
        received = await reader.read()
    writer.close()
    await writer.wait_closed()
    return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"no request at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"POST " + CHAT + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx", 400),
        (b"POST " + CHAT + b" HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
        (b"POST " + CHAT + b" HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
async def test_what_is_no_http_is_refused_and_hung_up(
    server: ModelServer, sent: bytes, status: int
) -> None:
    received = await exchange(server, sent)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.decode(body)["error"]["message"]


async def test_a_body_may_come_in_chunks(server: ModelServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"model": "m", "messages": [{"role": "user", '
        yield b"\"content\": \"How many 'r's are in 'strawberry'?\"}]}"

    async with httpx2.AsyncClient() as client:
        reply = await client.post(f"{server.base_url('chat')}/chat/completions", content=body())
    assert reply.json()["choices"][0]["message"]["content"] == "3"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/chat/completions", b"", 405),
        ("PUT", "/v1/messages", b"{}", 405),
        ("POST", "/v1/embeddings", b"{}", 404),
        ("POST", "/v1beta/models/m:embedContent", b"{}", 404),
        ("DELETE", "/", b"", 404),
        ("POST", "/v1/chat/completions", b"{]}", 400),
        ("POST", "/v1/responses", b"[" * 100_000, 400),
        ("POST", "/v1/messages", b"[]", 400),
        ("POST", "/v1/messages", b'{"max_tokens": 1, "messages": []}', 400),
        ("POST", "/v1beta/models/m:generateContent", b"\xff\xfe", 400),
        ("POST", "/v1beta/models/m:streamGenerateContent", b"{}", 400),
    ],
)
async def test_what_no_provider_serves_is_an_error_object(
    server: ModelServer, method: str, path: str, body: bytes, status: int
) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        reply = await client.request(method, path, content=body)
        assert (reply.status_code, bool(reply.json()["error"]["message"])) == (status, True)
        assert (await client.get("/v1/models")).status_code == 200
    assert server.answered == 0


def spoilt(value: Any, whole: Any) -> Iterator[Any]:
    """Yield `whole` once for each of its parts and each odd value in the part's place."""
    places: Any = ()
    if isinstance(value, dict):
        places = list(cast("dict[Any, Any]", value))
    elif isinstance(value, list):
        places = range(len(cast("list[Any]", value)))
    parts = cast("Any", value)
    for key in places:
        held = parts[key]
        for odd in ODD:
            parts[key] = odd
            yield copy.deepcopy(whole)
        parts[key] = held
        yield from spoilt(held, whole)


IMAGE = "data:image/png;base64,AAAA"
BODIES: dict[str, Any] = {
    "/v1/chat/completions": {
        "model": "m",
        "stream": False,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "r",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "t"}]},
        ],
    },
    "/v1/responses": {
        "model": "m",
        "instructions": "i",
        "store": True,
        "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "shell"}],
        "input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]},
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "s"}]},
            {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}},
            {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}"},
            {
                "type": "shell_call_output",
                "call_id": "c",
                "output": [
                    {"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
                ],
            },
            {"type": "function_call_output", "call_id": "d", "output": "o"},
            {"type": "computer_call", "call_id": "e", "actions": [{"type": "wait"}]},
            {
                "type": "computer_call_output",
                "call_id": "e",
                "output": {"type": "computer_screenshot", "image_url": IMAGE},
            },
        ],
    },
    "/v1/messages": {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "s"}],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "f", "input_schema": {}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "t"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "content": [
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": "AAAA",
                                },
                            }
                        ],
                    }
                ],
            },
        ],
    },
    "/v1beta/models/m:generateContent": {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": {}}]}],
        "contents": [
            {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
            {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "f", "args": {}}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"id": "c", "name": "f", "response": {}}}],
            },
        ],
    },
}


@pytest.mark.parametrize("path", list(BODIES))
async def test_a_body_with_anything_anywhere_is_answered_or_refused(
    server: ModelServer, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = BODIES[path]
    statuses: set[int] = set()
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
        assert (await client.post(path, json=body)).status_code == 200
        with caplog.at_level(logging.WARNING, "asyncio"):
            for wrong in spoilt(body, body):
                statuses.add((await client.post(path, content=json.encode(wrong))).status_code)
    assert statuses <= {200, 400, 404}
    assert 400 in statuses
    assert not caplog.records
