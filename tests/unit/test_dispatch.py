"""What a received line means, decided without any stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud.protocol import Call, Refuse, ServerSession, methods


def request(method: str, params: Any = None, **more: Any) -> bytes:
    frame: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
    if params is not None:
        frame["params"] = params
    return json.dumps(frame).encode()


def refusal(action: Any) -> tuple[int, Any, bool]:
    assert isinstance(action, Refuse)
    assert action.frame is not None
    reply = json.loads(action.frame)
    assert action.frame.endswith(b"\n")
    return reply["error"]["code"], reply["id"], action.close


@pytest.mark.parametrize(
    ("method", "params", "read"),
    [
        ("hello", None, methods.HelloParams()),
        ("hello", {"session_id": "a", "x": 1}, methods.HelloParams("a")),
        ("hello", {"session_id": None}, methods.HelloParams()),
        ("tasks.list", {}, methods.ListParams()),
        ("tasks.start", {"id": "t"}, methods.StartParams("t", {})),
        ("tasks.start", {"id": "t", "args": {"a": [1]}}, methods.StartParams("t", {"a": [1]})),
        ("tasks.grade", {"answer": {"a": 1}, "y": 2}, methods.GradeParams({"a": 1})),
        ("tasks.grade", {}, methods.GradeParams(None)),
        ("tasks.cancel", None, methods.CancelParams()),
        ("bye", None, methods.ByeParams()),
        ("tunnel.open", {"capability": "c"}, methods.TunnelParams("c")),
    ],
)
def test_a_request_is_read_into_its_type(method: str, params: Any, read: Any) -> None:
    assert ServerSession().receive(request(method, params)) == Call(1, method, read)


def test_a_notification_has_no_id_and_is_refused_without_a_frame() -> None:
    session = ServerSession()

    assert session.receive(b'{"jsonrpc":"2.0","method":"hello"}') == Call(
        None, "hello", methods.HelloParams()
    )
    for line in (b'{"jsonrpc":"2.0","method":"no"}', b'{"jsonrpc":"2.0","method":"tasks.start"}'):
        assert session.receive(line) == Refuse(None)


def test_only_the_first_frame_closes_the_connection() -> None:
    session = ServerSession()
    assert refusal(session.receive(b"x")) == (-32700, None, True)
    assert refusal(session.receive(b"x")) == (-32700, None, False)
    assert refusal(session.receive(b"[]")) == (-32600, None, False)
    assert refusal(ServerSession().receive(b'{"id":3}')) == (-32600, 3, True)


@pytest.mark.parametrize("method", ["tasks.list", "tasks.start", "tasks.grade"])
def test_a_busy_session_lets_nothing_new_begin(method: str) -> None:
    session = ServerSession()
    session.busy = True
    params = {"id": "t"} if method == "tasks.start" else {}

    assert refusal(session.receive(request(method, params))) == (-32600, 1, False)
    for allowed in ("tasks.cancel", "bye", "hello"):
        assert isinstance(session.receive(request(allowed, {})), Call)
    session.busy = False
    assert isinstance(session.receive(request(method, params)), Call)


def test_a_stream_can_only_be_asked_for_first() -> None:
    session = ServerSession()
    session.receive(request("hello"))

    assert refusal(session.receive(request("tunnel.open", {"capability": "c"})))[0] == -32600


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0") | json_values,
        "id": st.integers() | st.text() | json_values,
        "method": st.sampled_from(sorted(methods.PARAMS)) | json_values,
        "params": st.dictionaries(st.sampled_from(["id", "args", "session_id"]), json_values)
        | json_values,
    },
)


@given(line=st.binary() | st.one_of(members, json_values).map(lambda v: json.dumps(v).encode()))
def test_no_line_ever_breaks_a_session(line: bytes) -> None:
    session = ServerSession()
    for _ in range(2):
        action = session.receive(line.replace(b"\n", b" "))
        if isinstance(action, Refuse) and action.frame is not None:
            assert json.loads(action.frame)["error"]["code"] in {-32700, -32600, -32601, -32602}
