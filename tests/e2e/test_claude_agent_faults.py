"""What breaks between the Messages API agent and its API is told in one sentence."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hud._core.errors import ModelFault
from hud.testing.model_server import (
    ApiError,
    Call,
    HangUp,
    ModelServer,
    Question,
    RawReply,
    Say,
    after_failures,
    letter_count,
    script,
)
from tests.e2e.asking_models import KEY, asked, bare, turns
from tests.e2e.claude_agents import add, agent_for, fault_of, part, streamed

__all__ = ["bare"]


@pytest.mark.parametrize(
    ("reply", "said", "hint"),
    [
        (ApiError(401, f"invalid x-api-key {KEY}"), "status 401", "ANTHROPIC_API_KEY"),
        (ApiError(404, "model: claude-x"), "status 404 .*claude-x", "model's name"),
        (ApiError(400, "credit balance is too low"), "status 400 .*credit balance", None),
        (ApiError(429, "slow down"), "status 429 .*slow down", "--max-concurrent"),
        (ApiError(529, "Overloaded"), "status 529 .*Overloaded", None),
        (ApiError(529, "Overloaded", after_events=3), "status 529 .*Overloaded", None),
        (ApiError(500, "oops", after_events=2), "status 500 .*oops", None),
        (RawReply(b"<html>oops</html>", 502, "text/html"), "status 502 .*an HTML page", None),
        (RawReply(b"<!doctype html>", 200, "text/html"), "no reply of .*an HTML page", "speak"),
        (RawReply(b'{"content": ['), "no reply of .*not JSON", "speak"),
        (RawReply(b"[]"), r"no reply of .*\[\]", "speak"),
        (RawReply(b"{}"), "no reply of", "speak"),
        (RawReply(b'{"content": ["x"]}'), "no reply of", "speak"),
        (RawReply(b'{"error": {"message": "upstream is down"}}'), "upstream is down", None),
        (RawReply(b"", content_type="text/event-stream"), "broke off before", None),
        (RawReply(b"data: {oops\n\n", content_type="text/event-stream"), "not JSON", "speak"),
        (
            streamed({"type": "content_block_delta", "index": 4, "delta": {}}),
            "nobody can place",
            "s",
        ),
        (HangUp(), "broke off before its answer was whole", None),
        (HangUp(after_events=3), "broke off before its answer was whole", None),
        (streamed(*part(0, {"type": "text", "text": "x"})), "broke off before", None),
    ],
)
async def test_a_failing_api_is_a_model_fault_in_one_sentence(
    reply: Any, said: str, hint: str | None
) -> None:
    fault = await fault_of(reply)
    assert isinstance(fault, ModelFault)
    assert fault.message.startswith("the model API at http://127.0.0.1:")
    with pytest.raises(ModelFault, match=said):
        raise fault
    assert "\n" not in fault.message
    assert hint is None or hint in (fault.hint or "")


async def test_a_passing_failure_is_tried_again() -> None:
    now = {"Retry-After-Ms": "1"}
    failures = (ApiError(500, after_events=2), ApiError(529, headers=now))
    async with ModelServer(after_failures(letter_count, *failures)) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, server.received) == ("3", 3)


async def test_a_server_that_does_not_stream_is_understood() -> None:
    whole = {"content": [{"type": "text", "text": "3"}], "stop_reason": "end_turn", "usage": None}
    async with ModelServer(lambda question: RawReply(json.dumps(whole).encode())) as server:
        run = asked()
        await agent_for(server, model="m")(run)
    assert (run.trace.content, turns(run)[0].model) == ("3", "m")


async def test_cancelled_in_the_middle_of_a_reply_it_ends_at_once() -> None:
    begun, never = asyncio.Event(), asyncio.Event()

    async def rule(question: Question) -> Say:
        begun.set()
        await never.wait()
        return Say("late")

    async with ModelServer(rule) as server:
        task = asyncio.ensure_future(agent_for(server)(asked()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        never.set()


async def test_a_hundred_runs_at_once_are_all_answered() -> None:
    rule = script(
        lambda question: Say(calls=[Call("add", {"one": int(question.prompt_text), "two": 1})]),
        lambda question: Say(question.last_results[0].text),
    )
    async with ModelServer(rule) as server:
        agent = agent_for(server, tools=[add])
        runs = [asked(str(number)) for number in range(100)]
        async with asyncio.timeout(120):
            await asyncio.gather(*(agent(run) for run in runs))
    assert [run.trace.content for run in runs] == [str(number + 1) for number in range(100)]
