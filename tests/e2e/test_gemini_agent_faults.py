"""The Gemini agent when the API fails, refuses or mumbles: the real SDK, a real server."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from google import genai

from hud._core.errors import AgentFault, Fault, InputError, ModelFault
from hud.agents import GeminiAgent, google_sdk
from hud.testing.model_server import (
    ApiError,
    HangUp,
    ModelServer,
    Question,
    RawReply,
    Say,
    after_failures,
    letter_count,
)
from tests.e2e.asking_models import KEY, asked, bare, turns
from tests.e2e.gemini_agents import MakeAgent, agent_for, reply, whole

__all__ = ["agent_for", "bare"]


async def fault_of(answer: Any, agent_for: MakeAgent, **config: Any) -> Fault:
    """Return the fault that an answer of the server ends a run with."""
    async with ModelServer(lambda _: answer) as server:
        with pytest.raises(Fault) as caught:
            await agent_for(server, model_retries=0, **config)(asked())
    assert KEY not in caught.value.message + str(caught.value.hint)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (
            whole({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}),
            "the API blocked the prompt: PROHIBITED_CONTENT",
        ),
        (reply(finish="SAFETY"), "the API withheld the answer: SAFETY"),
        (reply(finish="RECITATION", finishMessage="too alike"), "too alike"),
        (Say(None, refusal="not this"), "not this"),
    ],
)
async def test_a_refusal_is_an_answer(answer: Any, refusal: str, agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: answer) as server:
        run = asked()
        await agent_for(server)(run)
    (step,) = turns(run)
    assert (step.refusal, step.finish_reason) == (refusal, "content_filter")
    assert (run.trace.content, run.trace.stop_reason) == ("", "done")


@pytest.mark.parametrize(
    "said",
    [
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Request payload size exceeds the limit: 20971520 bytes.",
    ],
)
async def test_a_prompt_the_model_cannot_hold_is_graded(said: str, agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: ApiError(400, said)) as server:
        run = asked()
        await agent_for(server)(run)
    assert (run.trace.content, run.trace.stop_reason) == (None, "context_overflow")


@pytest.mark.parametrize(
    ("answer", "said", "hint"),
    [
        (
            ApiError(400, "API key not valid. Please pass a valid API key.", "API_KEY_INVALID"),
            "status 400 .*API key not valid",
            "GEMINI_API_KEY",
        ),
        (ApiError(401, f"wrong key {KEY}"), "status 401", "GEMINI_API_KEY"),
        (ApiError(403, "no"), "status 403 .*: no", "GEMINI_API_KEY"),
        (ApiError(404, "models/m is not found"), "status 404 .*is not found", "model's name"),
        (ApiError(400, "bad temperature"), "status 400 .*bad temperature", None),
        (ApiError(429, "slow down"), "status 429 .*slow down", "--max-concurrent"),
        (ApiError(503, "The model is overloaded."), "status 503 .*overloaded", None),
        (ApiError(529, "busy"), "status 529 .*busy", None),
        (RawReply(b"<html>oops</html>", 502, "text/html"), "status 502 .*an HTML page", None),
        (RawReply(b"", 500), "status 500 .*an empty body", None),
        (RawReply(b'["odd"]', 400), "status 400 .*odd", None),
        (RawReply(b'\xff\xfe{"', 400), "for model 'm'", None),
        (HangUp(), "broke off before its answer was whole: ", None),
        (HangUp(after_bytes=150), "broke off before its answer was whole: ", None),
    ],
)
async def test_a_failing_api_is_a_model_fault_in_one_sentence(
    answer: Any, said: str, hint: str | None, agent_for: MakeAgent
) -> None:
    fault = await fault_of(answer, agent_for, model="m")
    assert isinstance(fault, ModelFault)
    assert fault.message.startswith("the model API at http://127.0.0.1:")
    with pytest.raises(ModelFault, match=said):
        raise fault
    assert "\n" not in fault.message
    assert hint is None or hint in (fault.hint or "")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!doctype html><p>hi", "no reply of generateContent, not JSON: an HTML page"),
        (b'{"candidates": [', "not JSON"),
        (b"", "not JSON: an empty body"),
        (b"[]", r"no reply of generateContent, \[\]"),
        (b"{}", "no candidates"),
        (b'{"candidates": []}', "no candidates"),
        (b'{"candidates": ["x"]}', "no candidates"),
        (b'{"error": {"message": "upstream is down", "code": 502}}', "error: upstream is down"),
        (b'{"candidates": [{"finishReason": "PUP_LIMITED_DISABLED"}]}', "disabled this account"),
    ],
)
async def test_a_reply_that_is_no_answer_is_a_model_fault(
    body: bytes, said: str, agent_for: MakeAgent
) -> None:
    fault = await fault_of(RawReply(body), agent_for)
    assert isinstance(fault, ModelFault)
    with pytest.raises(ModelFault, match=said):
        raise fault


async def test_a_lost_signature_is_not_the_models_fault(agent_for: MakeAgent) -> None:
    fault = await fault_of(reply(finish="MISSING_THOUGHT_SIGNATURE"), agent_for)
    assert isinstance(fault, AgentFault)


@pytest.mark.parametrize(
    "body",
    [
        {"candidates": [{"content": {"parts": [{"text": "3"}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "3"}, "x", {"text": 4}]},
         "finishReason": 1}], "usageMetadata": [], "modelVersion": 5},
        {"candidates": [{"content": {"parts": [{"text": "3"}]}, "groundingMetadata": "x"}],
         "usageMetadata": {"promptTokenCount": "many"}},
    ],
)  # fmt: skip
async def test_a_careless_server_is_understood(body: Any, agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: whole(body)) as server:
        run = asked()
        await agent_for(server, citations_enabled=True)(run)
    assert (run.trace.content, run.trace.stop_reason) == ("3", "done")
    assert turns(run)[0].model == "gemini-3.1-pro-preview"


async def test_nobody_listening_is_a_model_fault(agent_for: MakeAgent) -> None:
    async with ModelServer(lambda _: "x") as server:
        agent = agent_for(server, model_retries=0)
    with pytest.raises(ModelFault, match="cannot be reached: Connection refused"):
        await agent(asked())


def quota(**detail: Any) -> dict[str, Any]:
    kind = f"type.googleapis.com/google.rpc.{detail.pop('kind')}"
    said = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "no"}
    return {"error": {**said, "details": [{"@type": kind, **detail}]}}


async def test_what_may_pass_is_asked_again(agent_for: MakeAgent) -> None:
    storm = RawReply(json.dumps(quota(kind="RetryInfo", retryDelay="0s")).encode(), 429)
    async with ModelServer(after_failures(letter_count, storm, HangUp())) as server:
        run = asked()
        await agent_for(server)(run)
    assert run.trace.content == "3"
    assert len(server.requests) == 3


def test_how_long_the_api_asks_to_wait_is_read_from_its_error() -> None:
    error = genai.errors.ClientError(429, quota(kind="RetryInfo", retryDelay="1.25s"))
    failure = google_sdk.read_failure(error)
    assert failure is not None and failure.is_overload
    assert (failure.status, failure.code, failure.retry_after_s) == (
        429, "RESOURCE_EXHAUSTED", 1.25,
    )  # fmt: skip


async def test_a_quota_that_is_gone_for_today_is_not_asked_again(agent_for: MakeAgent) -> None:
    violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}
    gone = json.dumps(quota(kind="QuotaFailure", violations=[violation])).encode()
    async with ModelServer(lambda _: RawReply(gone, 429)) as server:
        with pytest.raises(ModelFault, match="status 429"):
            await agent_for(server)(asked())
    assert len(server.requests) == 1


async def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="GEMINI_API_KEY or GOOGLE_API_KEY is not set"):
        GeminiAgent().check_ready()


def test_a_loop_that_ends_leaves_no_connection(agent_for: MakeAgent) -> None:
    async def work() -> None:
        async with ModelServer(letter_count) as server:
            run = asked()
            await agent_for(server)(run)
            assert run.trace.content == "3"

    for _ in range(2):
        asyncio.run(work())
    gc.collect()  # what was left open would warn now


async def test_a_run_can_be_cancelled_in_the_middle(agent_for: MakeAgent) -> None:
    reached = asyncio.Event()
    never = asyncio.Event()

    async def rule(question: Question) -> str:
        reached.set()
        if "wait" in question.prompt_text:
            await never.wait()
        return "x"

    async with ModelServer(rule) as server:
        agent = agent_for(server)
        work = asyncio.create_task(agent(asked("wait")))
        await reached.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        run = asked("go on")
        await agent(run)
    assert run.trace.content == "x"
