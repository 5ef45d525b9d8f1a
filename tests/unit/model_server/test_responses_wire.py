"""The Responses API as the official SDK sees it."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from openai import (
    APIConnectionError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
)
from openai.types.responses import ResponseStreamEvent

from hud.models.provider import Dialect
from hud.testing.model_server import (
    ApiError,
    Call,
    Citation,
    HangUp,
    ModelServer,
    Question,
    Say,
    script,
)

ASK = "How many 'r's are in 'strawberry'?"
TOOLS: Any = [
    {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False},
    {"type": "shell", "environment": {"type": "local"}},
    {"type": "apply_patch"},
    {"type": "computer"},
]
SHOT = "data:image/png;base64,iVBORw0KGgo="


async def test_a_text_and_its_tokens_arrive(openai: AsyncOpenAI, server: ModelServer) -> None:
    cited = [Citation("https://a.example", "A", start_index=0, end_index=1)]
    server.rule = lambda question: Say("3", citations=cited, cached_tokens=4)
    reply = await openai.responses.create(model="m", input=ASK)
    assert (reply.output_text, reply.status) == ("3", "completed")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (6, 1)
    assert reply.usage.input_tokens_details.cached_tokens == 4
    (item,) = reply.output
    assert item.type == "message" and item.content[0].type == "output_text"
    (annotation,) = item.content[0].annotations
    assert annotation.type == "url_citation" and annotation.url == "https://a.example"
    assert server.requests[0].dialect is Dialect.RESPONSES


async def test_a_response_goes_on_from_the_one_before(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("5")

    calls = [Call("add", {"a": 2}), Call("add", "{not json")]
    server.rule = script(Say(calls=calls, reasoning="hm"), end)
    first = await openai.responses.create(model="m", input=ASK, instructions="Add.", tools=TOOLS)
    thought, one, two = first.output
    assert thought.type == "reasoning" and thought.summary[0].text == "hm"
    assert thought.encrypted_content is None
    assert one.type == "function_call" and two.type == "function_call"
    assert (one.arguments, two.arguments) == ('{"a":2}', "{not json")
    image: Any = {"type": "input_image", "image_url": SHOT, "detail": "auto"}
    output: Any = [{"type": "input_text", "text": "bad"}, image]
    second = await openai.responses.create(
        model="m",
        previous_response_id=first.id,
        input=[
            {"type": "function_call_output", "call_id": one.call_id, "output": "5"},
            {"type": "function_call_output", "call_id": two.call_id, "output": output},
        ],
        tools=TOOLS,
    )
    assert second.output_text == "5"
    (question,) = seen
    assert (question.turn, question.system, question.prompt_text) == (1, "", ASK)
    assert question.turns[1].reasoning == "hm"
    assert question.turns[1].calls[0].arguments == {"a": 2}
    assert [(each.name, each.text) for each in question.last_results] == [
        ("add", "5"),
        ("add", "bad"),
    ]
    assert question.last_results[1].images[0].data.startswith(b"\x89PNG")


async def test_a_whole_conversation_may_be_sent_instead(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("5")

    server.rule = script(Say("so:", [Call("add", {"a": 2})], "hm"), end)
    first = await openai.responses.create(
        model="m", input=ASK, store=False, include=["reasoning.encrypted_content"], tools=TOOLS
    )
    thought = first.output[0]
    assert thought.type == "reasoning" and thought.encrypted_content
    asked: list[Any] = [{"role": "developer", "content": "Be brief."}]
    asked += [{"role": "user", "content": ASK}, *(item.to_dict() for item in first.output)]
    call_id = asked[-1]["call_id"]
    asked.append({"type": "function_call_output", "call_id": call_id, "output": "5"})
    await openai.responses.create(model="m", input=asked, store=False, tools=TOOLS)
    (question,) = seen
    assert (question.turn, question.system) == (1, "Be brief.")
    assert (question.turns[1].text, question.turns[1].reasoning) == ("so:", "hm")
    asked[2]["encrypted_content"] = "forged"
    with pytest.raises(BadRequestError) as caught:
        await openai.responses.create(model="m", input=asked)
    assert caught.value.code == "invalid_encrypted_content"
    with pytest.raises(BadRequestError) as caught:
        await openai.responses.create(model="m", input="x", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"


async def test_native_tools_are_called_in_their_own_form(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    seen: list[Question] = []

    def end(question: Question) -> Say:
        seen.append(question)
        return Say("done")

    operation = {"type": "update_file", "path": "a.py", "diff": "@@\n-a\n+b\n"}
    clicks = [{"type": "click", "x": 1, "y": 2, "button": "left"}, {"type": "screenshot"}]
    calls = [
        Call("shell", {"commands": ["ls", "false"], "timeout_ms": 5}),
        Call("apply_patch", {"operation": operation}),
        Call("computer", {"actions": clicks}),
        Call("shell", {"command": "pwd"}),
    ]
    server.rule = script(Say(calls=calls), end)
    for stream in (False, True):
        if stream:
            async with openai.responses.stream(model="m", input=ASK, tools=TOOLS) as held:
                first = await held.get_final_response()
        else:
            first = await openai.responses.create(model="m", input=ASK, tools=TOOLS)
        shell, patch, computer, bare = first.output
        assert shell.type == "shell_call" and bare.type == "shell_call"
        assert (shell.action.commands, shell.action.timeout_ms) == (["ls", "false"], 5)
        assert bare.action.commands == ["pwd"]
        assert patch.type == "apply_patch_call" and patch.operation.type == "update_file"
        assert patch.operation.diff == "@@\n-a\n+b\n"
        assert computer.type == "computer_call" and computer.actions is not None
        assert [action.type for action in computer.actions] == ["click", "screenshot"]
        assert computer.pending_safety_checks == []
        ok: Any = {"stdout": "a\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
        bad: Any = {"stdout": "", "stderr": "no", "outcome": {"type": "exit", "exit_code": 1}}
        screen: Any = {"type": "computer_screenshot", "image_url": SHOT}
        await openai.responses.create(
            model="m",
            previous_response_id=first.id,
            tools=TOOLS,
            input=[
                {"type": "shell_call_output", "call_id": shell.call_id, "output": [ok, bad]},
                {
                    "type": "apply_patch_call_output",
                    "call_id": patch.call_id,
                    "status": "failed",
                    "output": "no such file",
                },
                {"type": "computer_call_output", "call_id": computer.call_id, "output": screen},
                {"type": "shell_call_output", "call_id": bare.call_id, "output": [ok]},
            ],
        )
        results = seen[-1].last_results
        assert [each.name for each in results] == ["shell", "apply_patch", "computer", "shell"]
        assert [each.text for each in results] == ["a\nno", "no such file", "", "a\n"]
        assert [each.is_error for each in results] == [True, True, False, False]
        assert results[2].images[0].media_type == "image/png"


async def test_the_preview_of_computer_use_takes_one_action(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    tools: Any = [
        {
            "type": "computer_use_preview",
            "display_width": 8,
            "display_height": 6,
            "environment": "linux",
        }
    ]
    server.rule = lambda question: Say(calls=[Call("computer_use_preview", {"type": "wait"})])
    reply = await openai.responses.create(model="m", input=ASK, tools=tools)
    (call,) = reply.output
    assert call.type == "computer_call" and call.action is not None
    assert (call.action.type, call.actions) == ("wait", None)


async def test_the_sdk_puts_a_streamed_turn_together(
    openai: AsyncOpenAI, server: ModelServer
) -> None:
    calls = [Call("add", {"text": "a longer text than fits into one piece"}), Call("add", "[1,")]
    cited = [Citation("https://a.example", "A")]
    server.rule = lambda question: Say("three  of\nthem", calls, "thinking of it", citations=cited)
    whole = await openai.responses.create(model="m", input=ASK)
    kinds: list[str] = []
    texts: list[str] = []
    async with openai.responses.stream(model="m", input=ASK) as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                texts.append(event.delta)
        reply = await stream.get_final_response()
    assert "".join(texts) == reply.output_text == "three  of\nthem"
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.output_text.annotation.added" in kinds
    assert [item.type for item in reply.output] == [item.type for item in whole.output]
    last = reply.output[-1]
    assert last.type == "function_call" and last.arguments == "[1,"


async def streamed(openai: AsyncOpenAI) -> list[ResponseStreamEvent]:
    stream = await openai.responses.create(model="m", input=ASK, stream=True)
    return [event async for event in stream]


async def test_a_cut_answer_says_why(openai: AsyncOpenAI, server: ModelServer) -> None:
    server.rule = lambda question: Say("It is th", finish="length")
    reply = await openai.responses.create(model="m", input=ASK)
    assert reply.status == "incomplete" and reply.incomplete_details is not None
    assert reply.incomplete_details.reason == "max_output_tokens"
    events = await streamed(openai)
    assert events[-1].type == "response.incomplete"
    server.rule = lambda question: Say(None, refusal="I will not")
    (item,) = (await openai.responses.create(model="m", input=ASK)).output
    assert item.type == "message" and item.content[0].type == "refusal"
    assert item.content[0].refusal == "I will not"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ApiError(401, "no", "invalid_api_key"), AuthenticationError),
        (ApiError(429, "slow down"), RateLimitError),
        (ApiError(529, "too busy"), InternalServerError),
    ],
)
async def test_errors_are_the_sdks_own(
    openai: AsyncOpenAI, server: ModelServer, error: ApiError, raised: type[Exception]
) -> None:
    server.rule = lambda question: error
    with pytest.raises(raised, match=error.message):
        await openai.responses.create(model="m", input=ASK)


async def test_a_stream_may_break_or_fail(openai: AsyncOpenAI, server: ModelServer) -> None:
    server.rule = lambda question: HangUp(after_events=4)
    with pytest.raises((APIConnectionError, httpx2.RemoteProtocolError)):
        await streamed(openai)
    server.rule = lambda question: ApiError(500, "went away", after_events=4)
    events = await streamed(openai)
    assert (events[-1].type, len(events)) == ("error", 5)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"input": "x", "previous_response_id": "resp_none"}, "'resp_none' not found"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]}, "No tool c"),
        (
            {"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}]},
            "No tool output found for function call c",
        ),
        ({"input": [{"role": "robot", "content": "x"}]}, "robot"),
    ],
)
async def test_what_the_provider_refuses_is_refused(
    openai: AsyncOpenAI, asked: Any, said: str
) -> None:
    with pytest.raises(BadRequestError, match=said):
        await openai.responses.create(model="m", **asked)
