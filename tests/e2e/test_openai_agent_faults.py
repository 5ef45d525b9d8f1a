"""What becomes of a run of the Responses agent when its model API fails."""

from __future__ import annotations

from typing import Any

import pytest

from hud._core.errors import AgentFault, Fault, InputError, ModelFault
from hud.agents import OpenAIAgent
from hud.testing.model_server import (
    ApiError,
    HangUp,
    ModelServer,
    RawReply,
    Say,
    after_failures,
    letter_count,
)
from tests.e2e.asking_models import KEY, asked, bare
from tests.e2e.openai_responses import MakeAgent, agent_for, reply

__all__ = ["agent_for", "bare"]


async def fault_of(agent_for: MakeAgent, answer: Any) -> Fault:
    async with ModelServer(lambda _: answer) as server:
        agent = agent_for(server, model="m", model_retries=0)
        with pytest.raises(Fault) as caught:
            await agent(asked())
    assert KEY not in caught.value.message + str(caught.value.hint)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (ApiError(401, f"Incorrect API key provided: {KEY}"), "status 401", "OPENAI_API_KEY"),
        (ApiError(404, "The model `m` does not exist"), "status 404 .*does not exist", "/v1"),
        (ApiError(400, "bad temperature"), "status 400 .*bad temperature", None),
        (ApiError(429, "slow down"), "status 429 .*slow down", "--max-concurrent"),
        (ApiError(529, "overloaded"), "status 529 .*overloaded", None),
        (RawReply(b"<html>oops</html>", 502, "text/html"), "status 502 .*an HTML page", None),
        (HangUp(), "broke off before its answer was whole: ", None),
        (HangUp(after_bytes=150), "broke off before its answer was whole: ", None),
        (Say("x", finish="failed"), "broke off .*: the model failed to answer", None),
        (reply(status="failed", error={"code": "rate_limit_exceeded", "message": "wait"}),
         "status 429 .*: wait", "--max-concurrent"),
        (RawReply(b"<!doctype html><p>hi"), "no response, not JSON: an HTML page", "/v1"),
        (RawReply(b'{"output": ['), "not JSON", "/v1"),
        (RawReply(b""), "not JSON: an empty body", "/v1"),
        (RawReply(b"[]"), r"no response, \[\]", "/v1"),
        (RawReply(b'{"choices": []}'), "no output", "openai_compatible"),
        (RawReply(b'{"output": ["x"]}'), "no items", "/v1"),
        (RawReply(b'{"error": {"message": "upstream is down"}}'), "error: upstream is down", None),
    ],
)  # fmt: skip
async def test_a_failing_api_is_a_model_fault_in_one_sentence(
    agent_for: MakeAgent, answer: Any, said: str, hint: str | None
) -> None:
    fault = await fault_of(agent_for, answer)
    assert isinstance(fault, ModelFault)
    assert fault.message.startswith("the model API at http://127.0.0.1:")
    with pytest.raises(ModelFault, match=said):
        raise fault
    assert "\n" not in fault.message
    assert hint is None or hint in (fault.hint or "")


async def test_a_passing_failure_is_retried(agent_for: MakeAgent) -> None:
    soon = {"Retry-After-Ms": "1"}
    busy, cut = ApiError(503, headers=soon), Say("x", finish="failed")
    rule = after_failures(letter_count, busy, cut, ApiError(429, headers=soon))
    async with ModelServer(rule) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, server.received) == ("3", 4)


async def test_what_is_no_json_in_the_settings_is_the_agents_fault(agent_for: MakeAgent) -> None:
    async with ModelServer(letter_count) as server:
        with pytest.raises(AgentFault, match="setting reasoning is no JSON"):
            await agent_for(server, reasoning={"effort": object()})(asked())


def test_without_a_key_openai_itself_cannot_be_asked(bare: None) -> None:
    with pytest.raises(InputError, match="no key for the OpenAI API"):
        OpenAIAgent().check_ready()


async def test_a_missing_key_met_only_in_a_run_is_the_agents_fault() -> None:
    with pytest.raises(AgentFault, match="no key for the OpenAI API"):
        await OpenAIAgent()(asked())
