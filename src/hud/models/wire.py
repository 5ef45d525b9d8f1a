"""What a request to a model API asks for, in which dialect, and how a dialect says no.

For whoever passes requests on: the proxy of one run, and the platform's gateway. What a reply
holds is `usage`, and the dialects' formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode

from hud._core import json
from hud.models.endpoint import NO_KEY, Endpoint
from hud.models.provider import Dialect

Kind = Literal["model", "count", "list", "embed", "state"]

_POSTED: dict[str, tuple[Dialect, Kind]] = {
    "/messages": (Dialect.MESSAGES, "model"),
    "/messages/count_tokens": (Dialect.MESSAGES, "count"),
    "/responses": (Dialect.RESPONSES, "model"),
    "/responses/compact": (Dialect.RESPONSES, "model"),
    "/responses/input_tokens": (Dialect.RESPONSES, "count"),
    "/chat/completions": (Dialect.CHAT, "model"),
    "/embeddings": (Dialect.CHAT, "embed"),
}
_GEMINI_ACTIONS: dict[str, Kind] = {
    "generateContent": "model",
    "streamGenerateContent": "model",
    "countTokens": "count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}
# What a stateful provider keeps of a reply: read, delete, cancel.
_KEPT_REPLY = re.compile(r"/responses/([A-Za-z0-9_-]{1,256})(/input_items|/cancel)?")
_VERSIONS = ("/v1beta", "/v1alpha", "/v1")
# What else a client sends concerns only itself, or would be a wish to be billed elsewhere.
_PASSED_ON = frozenset(
    (
        *("content-type", "accept", "user-agent", "anthropic-version", "anthropic-beta"),
        *("openai-beta", "x-app", "originator", "session_id", "conversation_id"),
        *("x-goog-api-client", "idempotency-key"),
    )
)
_PASSED_BACK = frozenset(
    (
        *("content-type", "request-id", "x-request-id", "retry-after", "retry-after-ms"),
        *("x-should-retry", "openai-model", "openai-version"),
    )
)
_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_GOOGLE_ERRORS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
}

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose path means something.

    Attributes:
        kind: A reply of a model, a count of tokens, which models there are, an embedding, or a
            reply that the provider has kept.
        route: Path behind the version.
        version: `/v1`, `/v1beta` or what the client wrote; empty without one.
        model: Where the path names it.
        reply_id: Of a reply the provider has kept.
    """

    dialect: Dialect
    kind: Kind
    route: str
    version: str
    query: str
    model: str | None = None
    reply_id: str | None = None

    def url(self, endpoint: Endpoint) -> str:
        """Return where an endpoint is asked for the same."""
        base = endpoint.base_url.rstrip("/")
        if self.dialect in (Dialect.MESSAGES, Dialect.GEMINI):
            default = "/v1" if self.dialect is Dialect.MESSAGES else "/v1beta"
            version = self.version or default
            base = base.removesuffix("/v1").removesuffix(version) + version
        if not self.query:
            return f"{base}{self.route}"
        kept = [pair for pair in parse_qsl(self.query, keep_blank_values=True) if pair[0] != "key"]
        return f"{base}{self.route}" + (f"?{urlencode(kept)}" if kept else "")

    def request_headers(self, sent: Headers, endpoint: Endpoint) -> dict[str, str]:
        """Return what the endpoint is sent: its own key, and of the client's what is harmless."""
        headers = {
            name: value
            for name, value in sent.items()
            if name in _PASSED_ON or name.startswith("x-stainless-")
        }
        headers["accept-encoding"] = "identity"
        if endpoint.api_key and endpoint.api_key != NO_KEY:
            name = {Dialect.MESSAGES: "x-api-key", Dialect.GEMINI: "x-goog-api-key"}
            if (own := name.get(self.dialect)) is not None:
                headers[own] = endpoint.api_key
            else:
                headers["authorization"] = f"Bearer {endpoint.api_key}"
        return headers

    def model_in(self, body: Mapping[str, Any]) -> str | None:
        """Return the model that is asked, None where none is named."""
        named = self.model if self.dialect is Dialect.GEMINI else body.get("model")
        return named if isinstance(named, str) and named else None


def read_target(method: str, path: str, query: str, headers: Headers) -> Asked | None:
    """Return what a request is for; None where no model API has anything."""
    version = next((word for word in _VERSIONS if path.startswith(f"{word}/")), "")
    route = path.removeprefix(version)
    if method == "POST":
        if (known := _POSTED.get(route)) is not None:
            return Asked(*known, route, version, query)
        target, _, action = route.partition("/models/")[2].rpartition(":")
        kind = _GEMINI_ACTIONS.get(action)
        if route.startswith("/models/") and target and kind is not None:
            return Asked(Dialect.GEMINI, kind, route, version, query, unquote(target))
    kept = _KEPT_REPLY.fullmatch(route)
    if kept is not None and method == _method_for(kept.group(2), method):
        return Asked(Dialect.RESPONSES, "state", route, version, query, reply_id=kept.group(1))
    if method == "GET" and (route == "/models" or route.startswith("/models/")):
        dialect = dialect_of(path, headers)
        return Asked(dialect, "list", route, version, query)
    return None


def _method_for(action: str | None, method: str) -> str:
    """Return the method that an action on a kept reply needs; reading one may also be deleting."""
    if action is None:
        return method if method in ("GET", "DELETE") else "GET"
    return "POST" if action == "/cancel" else "GET"


def dialect_of(path: str, headers: Headers) -> Dialect:
    """Return the dialect of a request that no path tells, by who sends it."""
    if "anthropic-version" in headers:
        return Dialect.MESSAGES
    if path.startswith(("/v1beta/", "/v1alpha/")) or "x-goog-api-key" in headers:
        return Dialect.GEMINI
    return Dialect.CHAT


def keys_of(headers: Headers, query: str) -> list[str]:
    """Return the keys that a request shows, from every place an SDK puts one."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    shown = [bearer.strip()] if scheme.lower() == "bearer" else []
    shown += [headers.get("x-api-key", ""), headers.get("x-goog-api-key", "")]
    if "key=" in query:
        shown += [value for name, value in parse_qsl(query) if name == "key"]
    return [key for key in shown if key]


def response_headers(received: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Return of an API's headers those that a client inside may see."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in received
        if name.lower() in _PASSED_BACK
    ]


def error_body(dialect: Dialect, status: int, message: str, code: str) -> bytes:
    """Return an error as the dialect spells one.

    Args:
        code: A short name of what is wrong.
    """
    match dialect:
        case Dialect.MESSAGES:
            kind = _ANTHROPIC_ERRORS.get(status, "api_error")
            body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": message}}
        case Dialect.GEMINI:
            name = _GOOGLE_ERRORS.get(status, "UNAVAILABLE")
            body = {"error": {"code": status, "message": message, "status": name}}
        case Dialect.CHAT | Dialect.RESPONSES:
            error = {"message": message, "type": code, "param": None, "code": code}
            body = {"error": error}
    return json.encode(body)
