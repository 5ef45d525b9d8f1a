"""What the module of a dialect gives to the server: reading a request, spelling an answer."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from hud._core import json
from hud.models.provider import Dialect
from hud.testing.model_server.question import Question
from hud.testing.model_server.reply import ApiError, Say


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request as it came in; header names are lower case.

    Attributes:
        model: The model it asks for, from the body or the path.
        stream: Whether it asks for a stream.
    """

    dialect: Dialect
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    model: str = ""
    stream: bool = False


class Wire(ABC):
    """One dialect. Ids it makes are unique across servers: they start with `run`."""

    dialect: Dialect

    def __init__(self) -> None:
        self.run = os.urandom(4).hex()

    @abstractmethod
    def read(self, request: ModelRequest) -> Question:
        """Return what is asked.

        Raises:
            Refused: when the provider would refuse the request.
        """

    @abstractmethod
    def whole(self, say: Say, question: Question, number: int) -> dict[str, Any]:
        """Return the body of an answer; `number` counts the server's answers from 1."""

    @abstractmethod
    def frames(self, say: Say, question: Question, number: int) -> list[bytes]:
        """Return the events of a streamed answer, each with its blank line."""

    @abstractmethod
    def error(self, error: ApiError, number: int) -> dict[str, Any]:
        """Return the body of a refusal."""

    @abstractmethod
    def error_frame(self, error: ApiError, number: int) -> bytes:
        """Return the event by which a stream that has begun fails."""

    def wrong_key(self, is_missing: bool) -> ApiError:
        """Return what a request without the right key gets."""
        said = "You didn't provide an API key" if is_missing else "Incorrect API key provided"
        return ApiError(401, said, None if is_missing else "invalid_api_key")

    def headers(self, number: int) -> dict[str, str]:
        """Return the headers that every answer of the provider has."""
        return {"x-request-id": f"req_{self.run}{number}"}


def event(data: dict[str, Any], name: str | None = None, end: bytes = b"\n\n") -> bytes:
    """Spell one server-sent event."""
    line = b"data: " + json.encode(data) + end
    return line if name is None else f"event: {name}\n".encode() + line
