"""Section 1 of the protocol: what is a frame, and what happens to what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hud.environment import Environment
from tests.wire.harness import LIMIT, Place, Steps


def echo_env() -> Environment:
    env = Environment("echo", version="3")

    @env.template()
    async def say(word: str = "hi") -> Steps:
        answer = yield word
        yield {"score": 1.0 if answer == word else 0.0, "content": str(answer)}

    return env


async def test_a_frame_of_exactly_the_limit_is_served(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    await wire.result("tasks.start", {"id": "say"})
    head, tail = b'{"jsonrpc":"2.0","id":9,"method":"tasks.grade","params":{"answer":"', b'"}}'
    size = LIMIT - len(head) - len(tail)
    wire.send_bytes(head + b"x" * size + tail + b"\n")

    assert (await wire.reply())["result"]["content"] == "x" * size
    assert (await wire.result("hello"))["env"] == {"name": "echo", "version": "3"}


@pytest.mark.parametrize("terminated", [True, False], ids=["terminated", "unterminated"])
async def test_an_over_long_frame_gets_an_error_and_a_clean_close(
    place: Place, terminated: bool
) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    await wire.result("hello")
    wire.send_bytes(b'"' + b"x" * (LIMIT + 1) + (b'"\n' if terminated else b""))

    reply = await wire.reply()

    assert (reply["id"], reply["error"]["code"]) == (None, -32700)
    assert await wire.ended() == b""


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        (b"not json", -32700, None),
        (b"", -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"hello"', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"session_id":"\xff"}}', -32700, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"hello","x":' + b"[" * 100_000, -32700, None),
        (b"[]", -32600, None),
        (b"7", -32600, None),
        (b'{"id":1,"method":"hello"}', -32600, 1),
        (b'{"jsonrpc":"1.0","id":"a","method":"hello"}', -32600, "a"),
        (b'{"jsonrpc":"2.0","id":5}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":5,"method":7}', -32600, 5),
        (b'{"jsonrpc":"2.0","id":{},"method":"hello"}', -32600, None),
    ],
)
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
async def test_a_bad_frame_is_refused_and_closes_only_as_the_first(
    place: Place, frame: bytes, code: int, id: Any, first: bool
) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    if not first:
        await wire.result("hello")
    wire.send_bytes(frame + b"\n")

    reply = await wire.reply()

    assert (reply["id"], reply["error"]["code"]) == (id, code)
    if first:
        assert await wire.ended() == b""
    else:
        assert "result" in await wire.call("hello")


async def test_the_body_of_an_http_request_is_never_read_as_a_frame(place: Place) -> None:
    started: list[str] = []
    env = Environment("web")

    @env.template()
    async def run() -> Steps:
        started.append("run")
        yield "prompt"
        yield 1.0

    wire = await place.connect(await place.serve(env))
    body = b'{"jsonrpc":"2.0","id":1,"method":"tasks.start","params":{"id":"run"}}\n'
    wire.send_bytes(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 71\r\n\r\n" + body * 3)

    reply = await wire.reply()

    assert reply["error"]["code"] == -32700
    assert await wire.ended() == b""
    assert started == []


@pytest.mark.parametrize("chunk", [1, 7, 4096])
async def test_frames_may_arrive_in_pieces_and_several_at_once(place: Place, chunk: int) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    word = "ü" * 3000
    frames: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {}},
        {"jsonrpc": "2.0", "id": 2, "method": "tasks.start", "params": {"id": "say",
                                                                        "args": {"word": word}}},
    ]  # fmt: skip
    data = b"".join(json.dumps(f, ensure_ascii=False).encode() + b"\n" for f in frames)
    for start in range(0, len(data), chunk):
        wire.send_bytes(data[start : start + chunk])
        await wire.writer.drain()

    assert (await wire.reply())["id"] == 1
    assert (await wire.reply())["result"] == {"prompt": word}


async def test_carriage_returns_and_unknown_members_are_ignored(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    wire.send_bytes(
        b'{"jsonrpc":"2.0","id":"x","method":"hello","trace":{"a":[1]},'
        b'"params":{"workspace_routes":[],"connections":[{}]}}\r\n'
    )

    assert (await wire.reply())["id"] == "x"


async def test_what_python_writes_beyond_json_is_understood(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    await wire.result("tasks.start", {"id": "say"})
    wire.send_bytes(
        b'{"jsonrpc":"2.0","id":3,"method":"tasks.grade","params":{"answer":"a\\ud800b"}}\n'
    )

    assert (await wire.reply())["result"] == {"score": 0.0, "content": "a�b"}

    await wire.result("tasks.start", {"id": "say"})
    wire.send_bytes(
        b'{"jsonrpc":"2.0","id":5,"method":"tasks.grade","params":{"answer":[NaN,Infinity]}}\n'
    )

    assert (await wire.reply())["result"]["content"] == "[None, None]"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("hello", [1]),
        ("hello", {"session_id": 4}),
        ("tasks.start", {}),
        ("tasks.start", {"id": 4}),
        ("tasks.start", {"id": "say", "args": [1]}),
        ("tasks.start", {"id": "nobody"}),
        ("tasks.start", {"id": "say", "args": {"wrod": "x"}}),
        ("tasks.start", {"id": "say", "args": {"word": {"a": 1}}}),
        ("tasks.cancel", ["x"]),
        ("bye", 4),
    ],
)
async def test_bad_params_are_named_and_the_session_goes_on(
    place: Place, method: str, params: Any
) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    session = (await wire.result("hello"))["session_id"]

    error = await wire.error(method, params)

    assert error["code"] == -32602
    assert error["message"]
    assert (await wire.result("hello"))["session_id"] == session


async def test_an_unknown_method_is_named(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))

    error = await wire.error("tasks.shuffle")

    assert error["code"] == -32601
    assert "tasks.shuffle" in error["message"]


async def test_a_notification_is_carried_out_and_never_answered(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    await wire.result("hello")
    for method, params in [
        ("hello", {}),
        ("tasks.list", {}),
        ("tasks.shuffle", {}),
        ("tasks.start", {"id": "nobody"}),
        ("tasks.start", {"id": "say", "args": {"word": "quiet"}}),
    ]:
        wire.notify(method, params)
    while "error" in (reply := await wire.call("tasks.grade", {"answer": "quiet"})):
        assert "still running" in reply["error"]["message"]

    assert reply["result"]["score"] == 1.0


async def test_a_large_text_that_is_not_ascii_goes_both_ways(place: Place) -> None:
    wire = await place.connect(await place.serve(echo_env()))
    word = "€" * (10 * 1024 * 1024 // 3)
    frame = {"jsonrpc": "2.0", "id": 1, "method": "tasks.start",
             "params": {"id": "say", "args": {"word": word}}}  # fmt: skip
    wire.send_bytes(json.dumps(frame, ensure_ascii=False).encode() + b"\n")

    assert (await wire.reply())["result"]["prompt"] == word

    frame = {"jsonrpc": "2.0", "id": 2, "method": "tasks.grade", "params": {"answer": word}}
    wire.send_bytes(json.dumps(frame, ensure_ascii=False).encode() + b"\n")
    result = (await wire.reply())["result"]

    assert (result["score"], result["content"]) == (1.0, word)
