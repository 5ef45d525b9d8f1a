"""The Responses API, as OpenAI speaks it, with the conversations a `previous_response_id` names.

Shapes from `openai.types.responses`. How a turn of the model is spelled is `responses_items`.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from hud.models.provider import Dialect
from hud.testing.model_server.chat import error_object
from hud.testing.model_server.question import (
    Conversation,
    Image,
    Question,
    Tool,
    Turn,
    a_text,
    an_object,
    image_at,
    objects,
)
from hud.testing.model_server.reply import ApiError, Call, Counts, Refused, Say, counts, parsed
from hud.testing.model_server.responses_items import Event, Item, events, items
from hud.testing.model_server.seal import is_seal
from hud.testing.model_server.wire import ModelRequest, Wire, event

_HELD_AT_MOST = 32_768

# How the calls and the results of each native tool are called among the items of a request.
_CALLS = {
    "function_call": "arguments",
    "custom_tool_call": "input",
    "shell_call": "action",
    "local_shell_call": "action",
    "apply_patch_call": "operation",
    "computer_call": "actions",
}


@dataclass(frozen=True, slots=True)
class _Held:
    """A conversation up to one response; turns are shared between the responses of it."""

    turns: tuple[Turn, ...]
    system: str


class ResponsesWire(Wire):
    """The wire of `POST /v1/responses`; the oldest conversations are forgotten."""

    dialect = Dialect.RESPONSES

    def __init__(self) -> None:
        super().__init__()
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def read(self, request: ModelRequest) -> Question:
        body = request.body
        previous = _Held((), "")
        if body.get("previous_response_id") is not None:
            previous = self._previous(body["previous_response_id"])
        conversation = Conversation(previous.turns)
        system = [previous.system] if previous.system else []
        asked = body.get("input")
        if isinstance(asked, str):
            conversation.side("user").texts.append(asked)
        elif isinstance(asked, list):
            for place, item in enumerate(objects(body["input"], "input")):
                _read_item(item, f"input[{place}]", conversation, system)
        elif asked is not None or not previous.turns:
            raise Refused("Missing required parameter: 'input'.", param="input")
        if conversation.open:
            missing = next(iter(conversation.open))
            raise Refused(f"No tool output found for function call {missing}.", param="input")
        instructions = a_text(body.get("instructions"), "instructions")
        return Question(
            self.dialect,
            request.model,
            "\n".join(text for text in [instructions, *system] if text),
            conversation.turns(),
            tuple(_tool(tool) for tool in objects(body.get("tools"), "tools")),
            body,
            request.stream,
        )

    def whole(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        response, made = self._response(say, question, number)
        return {**response, "output": made}

    def frames(self, say: Say, question: Question, number: int) -> list[bytes]:
        response, made = self._response(say, question, number)
        unfinished: dict[str, Any] = {
            **response,
            "status": "in_progress",
            "usage": None,
            "output": [],
        }
        unfinished |= {"incomplete_details": None, "error": None}
        said: list[Event] = [
            {"type": "response.created", "response": unfinished},
            {"type": "response.in_progress", "response": unfinished},
            *events(made),
            {"type": f"response.{response['status']}", "response": {**response, "output": made}},
        ]
        return [
            event({**each, "sequence_number": place}, each["type"])
            for place, each in enumerate(said)
        ]

    def error(self, error: ApiError, number: int) -> dict[str, Any]:
        return error_object(error)

    def error_frame(self, error: ApiError, number: int) -> bytes:
        said = error_object(error)["error"]
        code = said["code"] or said["type"]
        data = {"type": "error", "code": code, "message": said["message"], "param": said["param"]}
        return event({**data, "sequence_number": error.after_events or 0}, "error")

    def _previous(self, response_id: Any) -> _Held:
        held = self._held.get(response_id) if isinstance(response_id, str) else None
        if held is None:
            raise Refused(
                f"Previous response with id '{response_id}' not found.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        return held

    def _response(
        self, say: Say, question: Question, number: int
    ) -> tuple[dict[str, Any], list[Item]]:
        """Return a response without its output, and the output."""
        say = say.with_ids(f"call_{self.run}{number}")
        body = question.body
        response_id = f"resp_{self.run}{number}"
        includes = body.get("include")
        is_sealed = isinstance(includes, list) and "reasoning.encrypted_content" in includes
        kinds = {tool.name: tool.kind for tool in question.tools}
        made = items(say, kinds, f"{self.run}{number}", is_sealed=is_sealed)
        if body.get("store") is not False:
            self._keep(response_id, say, question)
        tokens = counts(say, question.prompt_tokens if say.prompt_tokens is None else 0)
        response: dict[str, Any] = {
            "id": response_id,
            "object": "response",
            "created_at": 0,
            "model": question.model,
            "instructions": body.get("instructions"),
            "previous_response_id": body.get("previous_response_id"),
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "temperature": body.get("temperature"),
            "top_p": body.get("top_p"),
            "metadata": body.get("metadata") or {},
            "store": body.get("store") is not False,
            "usage": _usage(tokens),
            **_ending(say),
        }
        return response, made

    def _keep(self, response_id: str, say: Say, question: Question) -> None:
        turn = Turn(
            "assistant", say.text or say.refusal or "", calls=tuple(say.calls),
            reasoning=say.reasoning or "",
        )  # fmt: skip
        instructions = a_text(question.body.get("instructions"), "instructions")
        system = question.system.removeprefix(instructions).lstrip("\n")
        self._held[response_id] = _Held((*question.turns, turn), system)
        if len(self._held) > _HELD_AT_MOST:
            self._held.popitem(last=False)


def _ending(say: Say) -> dict[str, Any]:
    match say.finish:
        case None | "stop" | "tool_calls":
            return {"status": "completed", "incomplete_details": None, "error": None}
        case "failed":
            error = {"code": "server_error", "message": "the model failed to answer"}
            return {"status": "failed", "incomplete_details": None, "error": error}
        case other:
            reason = "max_output_tokens" if other == "length" else other
            return {
                "status": "incomplete", "incomplete_details": {"reason": reason}, "error": None,
            }  # fmt: skip


def _usage(tokens: Counts) -> dict[str, Any]:
    return {
        "input_tokens": tokens.prompt,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.completion,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt + tokens.completion,
    }


def _read_item(
    item: dict[str, Any], where: str, conversation: Conversation, system: list[str]
) -> None:
    kind = a_text(item.get("type"), f"{where}.type") or ("message" if "role" in item else "")
    if kind == "message":
        _read_message(item, where, conversation, system)
    elif kind in _CALLS:
        conversation.call(_call(item, kind, where))
    elif kind.endswith("_output"):
        _read_output(item, kind, where, conversation)
    elif kind == "reasoning":
        token = item.get("encrypted_content")
        if token is not None and not is_seal(token):
            raise Refused(
                "The encrypted content of a reasoning item could not be verified.",
                code="invalid_encrypted_content",
            )
        summary = objects(item.get("summary"), f"{where}.summary")
        texts = [a_text(part.get("text"), f"{where}.summary") for part in summary]
        conversation.side("assistant").reasoning += texts
    elif kind == "item_reference":
        raise Refused(f"Item with id '{item.get('id')}' not found.", status=404, param="input")
    elif not kind:
        raise Refused(f"Missing required parameter: '{where}.type'.", param=where)


def _read_message(
    item: dict[str, Any], where: str, conversation: Conversation, system: list[str]
) -> None:
    texts, images = _content(item.get("content"), f"{where}.content")
    match item.get("role"):
        case "system" | "developer":
            system.append("\n".join(texts))
        case "user" | "assistant" as role:
            turn = conversation.side(role)
            turn.texts += [text for text in texts if text]
            turn.images += images
        case other:
            raise Refused(f"Invalid value: {other!r} at {where}.role", param=f"{where}.role")


def _call(item: dict[str, Any], kind: str, where: str) -> Call:
    call_id = a_text(item.get("call_id"), f"{where}.call_id")
    held = item.get(_CALLS[kind])
    if kind in ("function_call", "custom_tool_call"):
        text = a_text(held, f"{where}.{_CALLS[kind]}")
        arguments = parsed(text) if kind == "function_call" else None
        name = a_text(item.get("name"), f"{where}.name")
        return Call(name, text if arguments is None else arguments, call_id)
    name = kind.removesuffix("_call")
    if kind == "computer_call":
        single = an_object(item.get("action"), f"{where}.action")
        actions = objects(held, f"{where}.actions")
        return Call(name, {"actions": actions} if actions else single, call_id)
    return Call(name, an_object(held, f"{where}.{_CALLS[kind]}"), call_id)


def _read_output(item: dict[str, Any], kind: str, where: str, conversation: Conversation) -> None:
    call_kind = kind.removesuffix("_output")
    if call_kind not in _CALLS:
        return
    field = "id" if kind == "local_shell_call_output" else "call_id"
    call_id = a_text(item.get(field), f"{where}.{field}")
    output = item.get("output")
    failed = False
    images: list[Image] = []
    match call_kind:
        case "shell_call":
            text, failed = _shell_output(output, f"{where}.output")
        case "computer_call":
            text, shot = "", an_object(output, f"{where}.output")
            if shot.get("type") not in ("computer_screenshot", "input_image"):
                raise Refused(f"Invalid value: {shot.get('type')!r} at {where}.output.type",
                              param=f"{where}.output")  # fmt: skip
            if shot.get("image_url") is not None:
                images.append(image_at(a_text(shot["image_url"], where), f"{where}.output"))
        case "apply_patch_call":
            text, failed = a_text(output, f"{where}.output"), item.get("status") == "failed"
        case _:
            texts, images = _content(output, f"{where}.output")
            text = "\n".join(texts)
    if not conversation.result(call_id, text, images, is_error=failed):
        raise Refused(f"No tool call found for function call output with call_id {call_id}.",
                      param="input")  # fmt: skip


def _shell_output(output: Any, where: str) -> tuple[str, bool]:
    texts: list[str] = []
    failed = False
    for part in objects(output, where):
        texts += [a_text(part.get(name), where) for name in ("stdout", "stderr")]
        outcome = an_object(part.get("outcome"), f"{where}.outcome")
        if outcome.get("type") not in ("exit", "timeout"):
            raise Refused(f"Missing required parameter: '{where}.outcome'.", param=where)
        failed = failed or outcome.get("type") == "timeout" or outcome.get("exit_code") != 0
    return "".join(texts), failed


def _content(content: Any, where: str) -> tuple[list[str], list[Image]]:
    if content is None or isinstance(content, str):
        return [content or ""], []
    texts: list[str] = []
    images: list[Image] = []
    for part in objects(content, where):
        match part.get("type"):
            case "input_text" | "output_text" | "text":
                texts.append(a_text(part.get("text"), where))
            case "refusal":
                texts.append(a_text(part.get("refusal"), where))
            case "input_image" | "computer_screenshot":
                if part.get("image_url") is not None:
                    images.append(image_at(a_text(part["image_url"], where), where))
            case "input_file" | "input_audio":
                pass
            case other:
                raise Refused(f"Invalid value: {other!r} at {where}", param=where)
    return texts, images


def _tool(tool: dict[str, Any]) -> Tool:
    kind = a_text(tool.get("type"), "tools.type")
    if not kind:
        raise Refused("Missing required parameter: 'tools[0].type'.", param="tools")
    return Tool(
        a_text(tool.get("name"), "tools.name") or kind,
        kind,
        an_object(tool.get("parameters"), "tools.parameters"),
        a_text(tool.get("description"), "tools.description"),
    )
