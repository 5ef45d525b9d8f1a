"""The floor under a harness: each provider's SDK in the shortest loop that calls a tool.

Whatever interpreter it runs in: nothing but the SDK is imported, and that late.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

MODEL = "test-model"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"place": {"type": "integer"}},
    "required": ["place"],
}
ABOUT = "Say what there is at a place."
SEEN = "There is a table with a lamp, two books and a letter on it. " * 6

Tool = Callable[[dict[str, Any]], Awaitable[str]]
Conversation = Callable[[str, Tool], Awaitable[str]]


async def look(place: int) -> str:
    """Say what there is at a place."""
    return f"Place {place}: {SEEN}"


async def call_look(arguments: dict[str, Any]) -> str:
    return await look(**arguments)


def conversation(dialect: str, server: str) -> Conversation:
    """Return what holds a conversation with the model, on a client of its own.

    `chat, unwalked` hands messages and tools to the SDK as extra fields of the body, which keeps it
    from walking them by its types, and leaves the reply's typed form unbuilt.
    """
    match dialect:
        case "chat":
            return _chat(server)
        case "chat, unwalked":
            return _chat(server, unwalked=True)
        case "responses":
            return _responses(server)
        case "messages":
            return _messages(server)
        case _:
            return _gemini(server)


def _chat(server: str, *, unwalked: bool = False) -> Conversation:
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0)
    function = {"name": "look", "description": ABOUT, "parameters": SCHEMA}
    tools = [{"type": "function", "function": function}]

    async def ask(messages: list[Any]) -> Any:
        if not unwalked:
            create = client.chat.completions.create
            return (await create(model=MODEL, messages=messages, tools=tools)).choices[0].message
        create = client.chat.completions.with_raw_response.create
        body = {"messages": messages, "tools": tools}
        reply = await create(model=MODEL, messages=(), extra_body=body)
        said = json.loads(reply.http_response.content)["choices"][0]["message"]
        calls = [
            SimpleNamespace(id=each["id"], function=SimpleNamespace(**each["function"]))
            for each in said.get("tool_calls", ())
        ]
        return SimpleNamespace(content=said["content"], tool_calls=calls)

    async def hold(prompt: str, call: Tool) -> str:
        messages: list[Any] = [{"role": "user", "content": prompt}]
        while True:
            said = await ask(messages)
            if not said.tool_calls:
                return said.content
            calls = [
                {
                    "id": each.id,
                    "type": "function",
                    "function": {
                        "name": each.function.name,
                        "arguments": each.function.arguments,
                    },
                }
                for each in said.tool_calls
            ]
            messages.append({"role": "assistant", "content": said.content, "tool_calls": calls})
            for each in said.tool_calls:
                seen = await call(json.loads(each.function.arguments))
                messages.append({"role": "tool", "tool_call_id": each.id, "content": seen})

    return hold


def _responses(server: str) -> Conversation:
    from openai import AsyncOpenAI

    client: Any = AsyncOpenAI(base_url=f"{server}/v1", api_key="any", max_retries=0)
    tools = [{"type": "function", "name": "look", "description": ABOUT, "parameters": SCHEMA}]

    async def hold(prompt: str, call: Tool) -> str:
        news: list[Any] = [{"role": "user", "content": prompt}]
        before: dict[str, Any] = {}
        while True:
            reply = await client.responses.create(model=MODEL, input=news, tools=tools, **before)
            before = {"previous_response_id": reply.id}
            calls = [item for item in reply.output if item.type == "function_call"]
            if not calls:
                return reply.output_text
            news = []
            for each in calls:
                seen = await call(json.loads(each.arguments))
                output = {"type": "function_call_output", "call_id": each.call_id}
                news.append({**output, "output": seen})

    return hold


def _messages(server: str) -> Conversation:
    from anthropic import AsyncAnthropic

    client: Any = AsyncAnthropic(base_url=server, api_key="any", max_retries=0)
    tools = [{"name": "look", "description": ABOUT, "input_schema": SCHEMA}]

    async def hold(prompt: str, call: Tool) -> str:
        messages: list[Any] = [{"role": "user", "content": prompt}]
        while True:
            streamed = client.messages.stream(
                model=MODEL, max_tokens=1024, messages=messages, tools=tools
            )
            async with streamed as events:
                reply = await events.get_final_message()
            said: list[Any] = []
            results: list[Any] = []
            for block in reply.content:
                if block.type == "text":
                    said.append({"type": "text", "text": block.text})
                elif block.type == "tool_use":
                    use = {"type": "tool_use", "id": block.id, "name": block.name}
                    said.append({**use, "input": block.input})
                    seen = await call(block.input)
                    result = {"type": "tool_result", "tool_use_id": block.id}
                    results.append({**result, "content": seen})
            if not results:
                return "".join(block["text"] for block in said)
            messages.append({"role": "assistant", "content": said})
            messages.append({"role": "user", "content": results})

    return hold


def _gemini(server: str) -> Conversation:
    from google import genai
    from google.genai import types

    options = types.HttpOptions(base_url=server)
    client: Any = genai.Client(vertexai=False, api_key="any", http_options=options)
    declared = types.FunctionDeclaration(
        name="look", description=ABOUT, parameters_json_schema=SCHEMA
    )
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )

    async def hold(prompt: str, call: Tool) -> str:
        contents: list[Any] = [types.Content(role="user", parts=[types.Part(text=prompt)])]
        while True:
            reply = await client.aio.models.generate_content(
                model=MODEL, contents=contents, config=config
            )
            said = reply.candidates[0].content
            calls = [part.function_call for part in said.parts if part.function_call]
            if not calls:
                return "".join(part.text or "" for part in said.parts)
            contents.append(said)
            parts: list[Any] = []
            for each in calls:
                seen = {"output": await call(dict(each.args))}
                response = types.FunctionResponse(id=each.id, name=each.name, response=seen)
                parts.append(types.Part(function_response=response))
            contents.append(types.Content(role="user", parts=parts))

    return hold
