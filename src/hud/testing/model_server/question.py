"""What a model double was asked, in one vocabulary for every dialect.

Reading a request into it belongs to the module of each dialect.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from hud._core.errors import bounded
from hud.models.provider import Dialect
from hud.testing.model_server.reply import Call, Refused

IMAGE_TOKENS = 1000

Side = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture sent to the model, in base64 or by its address."""

    media_type: str
    base64: str = field(default="", repr=False)
    url: str | None = None

    @property
    def data(self) -> bytes:
        """The bytes of the picture; empty for one that is only an address.

        Raises:
            ValueError: when it is no base64.
        """
        return base64.b64decode(self.base64, altchars=b"-_" if _is_url_safe(self.base64) else None)


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool gave back; `is_error` where the dialect has a word for it."""

    call_id: str
    name: str
    text: str = ""
    images: tuple[Image, ...] = ()
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said before the other spoke again."""

    role: Side
    text: str = ""
    images: tuple[Image, ...] = ()
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of the request; `kind` is `function`, or the native type as the provider writes it."""

    name: str
    kind: str = "function"
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    description: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a model.

    Attributes:
        turns: The whole conversation, oldest first; both sides alternate.
        body: The request's own JSON.
        stream: Whether the answer is to be streamed.
    """

    dialect: Dialect
    model: str
    system: str
    turns: tuple[Turn, ...]
    tools: tuple[Tool, ...]
    body: dict[str, Any] = field(repr=False)
    stream: bool = False

    @property
    def turn(self) -> int:
        """How many turns the model has had."""
        return sum(turn.role == "assistant" for turn in self.turns)

    @property
    def last_results(self) -> tuple[Result, ...]:
        """What the tools of the model's last turn gave back."""
        return self.turns[-1].results if self.turns and self.turns[-1].role == "user" else ()

    @property
    def prompt_text(self) -> str:
        """Everything the user said, oldest first."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "user" and turn.text)

    @property
    def prompt_tokens(self) -> int:
        """The words of the whole conversation, and a fixed number per image."""
        texts = [self.system]
        images = 0
        for turn in self.turns:
            texts.append(turn.text)
            texts += [call.arguments_text for call in turn.calls]
            texts += [result.text for result in turn.results]
            images += len(turn.images) + sum(len(result.images) for result in turn.results)
        return sum(len(text.split()) for text in texts) + images * IMAGE_TOKENS

    def tool(self, name: str) -> Tool | None:
        """Return the tool of the request with this name."""
        return next((tool for tool in self.tools if tool.name == name), None)


class TurnDraft:
    """A turn while it is read."""

    def __init__(self, role: Side) -> None:
        self.role: Side = role
        self.texts: list[str] = []
        self.images: list[Image] = []
        self.calls: list[Call] = []
        self.results: list[Result] = []
        self.reasoning: list[str] = []

    def freeze(self) -> Turn:
        return Turn(
            self.role,
            "\n".join(self.texts),
            tuple(self.images),
            tuple(self.calls),
            tuple(self.results),
            "\n".join(self.reasoning),
        )


class Conversation:
    """A conversation while it is read; goes on from `turns` where there are some.

    Attributes:
        open: The calls without a result so far, by id.
    """

    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        self._turns = list(turns)
        self._drafts: list[TurnDraft] = []
        self.open: dict[str, Call] = {}
        self._names: dict[str, str] = {}
        for turn in self._turns:
            self._take_in(turn)

    def _take_in(self, turn: Turn) -> None:
        for result in turn.results:
            self.open.pop(result.call_id, None)
        for call in turn.calls:
            self._names[call.id or ""] = call.name
            self.open[call.id or ""] = call

    def side(self, role: Side) -> TurnDraft:
        """Return the turn that is being read, a new one where the other side spoke last."""
        if not self._drafts or self._drafts[-1].role != role:
            self._drafts.append(TurnDraft(role))
        return self._drafts[-1]

    def call(self, call: Call) -> None:
        """Add a call that the model made."""
        self.side("assistant").calls.append(call)
        self._names[call.id or ""] = call.name
        self.open[call.id or ""] = call

    def result(self, call_id: str, text: str, images: Iterable[Image] = (), *,
               is_error: bool = False, name: str | None = None) -> bool:  # fmt: skip
        """Add what a tool gave back, and tell whether its call is known and was still open."""
        named = name or self._names.get(call_id, "")
        result = Result(call_id, named, text, tuple(images), is_error)
        self.side("user").results.append(result)
        return self.open.pop(call_id, None) is not None

    def turns(self) -> tuple[Turn, ...]:
        return (*self._turns, *(draft.freeze() for draft in self._drafts))


def objects(value: Any, where: str) -> list[dict[str, Any]]:
    """Return a list of objects; none for null.

    Raises:
        Refused: when it is anything else.
    """
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(f"{where}: Input should be a valid list", param=where)
    for place, item in enumerate(cast("list[Any]", value)):
        if not isinstance(item, dict):
            raise Refused(f"{where}.{place}: Input should be an object", param=where)
    return cast("list[dict[str, Any]]", value)


def an_object(value: Any, where: str) -> dict[str, Any]:
    """Return an object; an empty one for null.

    Raises:
        Refused: when it is anything else.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(f"{where}: Input should be an object", param=where)
    return cast("dict[str, Any]", value)


def a_text(value: Any, where: str) -> str:
    """Return a text; an empty one for null.

    Raises:
        Refused: when it is anything else.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(f"{where}: Input should be a valid string", param=where)
    return value


def image_at(url: str, where: str) -> Image:
    """Return the picture behind an address, `data:` ones with their bytes.

    Raises:
        Refused: when the address is neither.
    """
    if url.startswith(("http://", "https://")):
        return Image("", url=url)
    found = re.match(r"data:([\w.+-]+/[\w.+-]+);base64,", url)
    if found is None:
        raise Refused(f"{where}: {bounded(url, 60)!r} is no image URL", param=where)
    return Image(found.group(1), url[found.end() :])


def _is_url_safe(text: str) -> bool:
    return "-" in text or "_" in text
