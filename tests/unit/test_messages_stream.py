"""A streamed reply is put together as it was sent, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from hud.agents.messages_stream import ReplyDraft

START: dict[str, Any] = {
    "type": "message_start",
    "message": {"id": "m", "content": [], "stop_reason": None, "usage": {"input_tokens": 3}},
}


def begun(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "any", **said}}


def put_together(*events: dict[str, Any]) -> dict[str, Any]:
    draft = ReplyDraft()
    for event in (START, *events):
        draft.add(event)
    return draft.reply()


def test_fields_unknown_here_are_kept() -> None:
    reply = put_together(
        begun(0, type="compaction", content=None, extra=1),
        delta(0, content="short"),
        delta(0, content="er", other={"a": 1}),
        {"type": "something_new"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "container": {"id": "c"}}},
    )
    assert reply["content"] == [
        {"type": "compaction", "content": "shorter", "extra": 1, "other": {"a": 1}}
    ]
    assert (reply["stop_reason"], reply["container"]) == ("end_turn", {"id": "c"})
    assert reply["usage"] == {"input_tokens": 3}


def test_counts_that_come_last_win_and_those_that_do_not_come_stay() -> None:
    usage = {"output_tokens": 9, "input_tokens": None}
    reply = put_together({"type": "message_delta", "delta": {}, "usage": usage})
    assert reply["usage"] == {"input_tokens": 3, "output_tokens": 9}


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        ([], {}),
        (["", " "], {}),
        (['{"a":', " 1}"], {"a": 1}),
        (['{"a": 1, "b'], '{"a": 1, "b'),
        (["[1]"], "[1]"),
        (["oops"], "oops"),
    ],
)
def test_arguments_are_an_object_or_stay_text(pieces: list[str], arguments: Any) -> None:
    events = [delta(0, partial_json=piece) for piece in pieces]
    reply = put_together(begun(0, type="tool_use", id="t", name="n", input={}), *events)
    assert reply["content"][0]["input"] == arguments


def test_blocks_may_come_interleaved() -> None:
    reply = put_together(
        begun(1, type="text", text=""),
        begun(0, type="thinking", thinking="", signature=""),
        delta(1, text="b"),
        delta(0, thinking="a"),
        delta(0, signature="s"),
        delta(1, text="c"),
    )
    assert reply["content"] == [
        {"type": "thinking", "thinking": "a", "signature": "s"},
        {"type": "text", "text": "bc"},
    ]


@pytest.mark.parametrize(
    "event",
    [
        delta(0, text="x"),
        {"type": "content_block_start", "index": 0},
        {"type": "content_block_start", "content_block": {}},
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "message_start"},
        {"type": "message_delta"},
    ],
)
def test_an_event_nobody_can_place_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nobody can place"):
        put_together(event)


def test_nothing_is_whole_before_it_ended() -> None:
    draft = ReplyDraft()
    assert not draft.is_whole
    with pytest.raises(ValueError, match="no event"):
        draft.reply()
    draft.add(START)
    assert not draft.is_whole
    draft.add({"type": "message_stop"})
    assert draft.is_whole
