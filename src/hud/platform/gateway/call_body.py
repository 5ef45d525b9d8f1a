"""The body of a request, of which only what the gateway must know is read.

Values stay the bytes they came as: a body that names the model as its provider does is passed on
untouched, and of any other one only the fields that change are written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from hud._core import json
from hud.models.asgi import Refusal
from hud.models.provider import Dialect

_DEFAULT_COMPLETION = 8_192
_BYTES_PER_TOKEN = 3
_LONGEST_PROMPT = 1_000_000

_fields: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


class CallBody:
    """A JSON object, its values not decoded.

    Attributes:
        data: As it came.
    """

    def __init__(self, data: bytes) -> None:
        """Look at a body.

        Raises:
            Refusal: when it is no JSON object.
        """
        self.data = data
        try:
            self._fields = _fields.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refusal(400, "invalid_request", "the body is no JSON object") from None

    def get(self, name: str) -> Any:
        """Return a field decoded, None where it is missing or spells nothing."""
        raw = self._fields.get(name)
        if raw is None:
            return None
        try:
            return json.decode(bytes(raw))
        except ValueError:
            return None

    @property
    def is_stream(self) -> bool:
        """Whether a stream is asked for; Gemini says so in the path."""
        return self.get("stream") is True

    def text(self, name: str) -> str | None:
        """Return a field that is a text with something in it."""
        value = self.get(name)
        return value if isinstance(value, str) and value else None

    def whole(self) -> dict[str, Any]:
        """Return everything decoded.

        Raises:
            Refusal: when a value is malformed.
        """
        try:
            return cast("dict[str, Any]", json.decode(self.data))
        except ValueError:
            raise Refusal(400, "invalid_request", "the body is no JSON object") from None

    def with_changes(self, changes: Mapping[str, Any]) -> bytes:
        """Return the body with other values for some fields, itself where nothing differs."""
        if not changes:
            return self.data
        raws = {name: msgspec.Raw(json.encode(value)) for name, value in changes.items()}
        return msgspec.json.encode({**self._fields, **raws})

    def prompt_tokens(self) -> int:
        """Return about how many tokens the prompt has, rather too many than too few."""
        return min(len(self.data) // _BYTES_PER_TOKEN + 1, _LONGEST_PROMPT)

    def completion_tokens(self, dialect: Dialect) -> int:
        """Return how many tokens the answer may have, by the request's own limit."""
        wanted: Any = None
        match dialect:
            case Dialect.CHAT:
                wanted = self.get("max_completion_tokens") or self.get("max_tokens")
            case Dialect.RESPONSES:
                wanted = self.get("max_output_tokens")
            case Dialect.MESSAGES:
                wanted = self.get("max_tokens")
            case Dialect.GEMINI:
                for name in ("generationConfig", "generation_config"):
                    held = self.get(name)
                    if isinstance(held, dict):
                        limits = cast("dict[str, Any]", held)
                        wanted = limits.get("maxOutputTokens") or limits.get("max_output_tokens")
        is_count = isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0
        return min(wanted, _LONGEST_PROMPT) if is_count else _DEFAULT_COMPLETION
