"""One question to a model, and what came of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from hud._core import json
from hud.models.endpoint import Endpoint

KEY_VERSION = 1
_canonical = msgspec.json.Encoder(order="sorted")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One question to a model.

    Attributes:
        request: Everything that is sent, as JSON-safe data: what a cache is keyed by.
        repeat: 0-based index among repeats of the same task, which are to differ.
        cache_key: What the cache is keyed by instead, where `request` holds parts that differ
            from run to run for the same question: trace ids, headers, ids of earlier replies. It
            must then hold all that those stand for, such as the conversation behind a
            `previous_response_id`.
    """

    endpoint: Endpoint
    model: str
    dialect: str
    request: dict[str, Any]
    repeat: int = 0
    cache_key: dict[str, Any] | None = None

    def key(self) -> str:
        """Return what names the question in a cache: a SHA-256 in hex, of canonical JSON.

        Neither the key nor user name, password and query of the address are in it.

        Raises:
            TypeError: when something in the request has no JSON form.
        """
        question = {
            "version": KEY_VERSION,
            "dialect": str(self.dialect),
            "address": self.endpoint.shown.rstrip("/"),
            "model": self.model,
            "request": self.request if self.cache_key is None else self.cache_key,
            "repeat": self.repeat,
        }
        try:
            data = _canonical.encode(question)
        except (TypeError, UnicodeEncodeError):
            data = _canonical.encode(json.to_plain(question))
        return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model answered. Times are ISO 8601, as in traces.

    Attributes:
        body: The reply's JSON.
        is_cached: Whether it was known already, so that nothing was paid for it.
        attempts: How often the call was sent; 0 for a known answer.
        waited_s: Seconds spent waiting for a turn, a pause to end or another's answer.
        started_at: When the attempt that was answered was sent.
    """

    body: dict[str, Any]
    is_cached: bool
    attempts: int
    waited_s: float
    started_at: str
    ended_at: str
