"""The `google-genai` SDK: clients, failures and requests, for generateContent.

It takes a second to import, so agents import this module once per process, before their first
request.
"""

from __future__ import annotations

import re
import ssl
from functools import cache
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
from google import genai
from google.genai import errors, types

from hud.agents.connections import (
    CONNECT_TIMEOUT_S,
    CONNECTIONS_PER_CLIENT,
    REPLY_TIMEOUT_S,
    ClientMaker,
)
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure, excerpt, plain_reason, retry_after

_VERSION = re.compile(r"v\d+(alpha|beta)?\d*")
_CUT = ("ReadError", "WriteError", "CloseError", "RemoteProtocolError", "DecodingError")
_PICTURE_WORDS = ("input image", "image is not valid", "unsupported mime type", "invalid image")
_PLACEHOLDER = "."


def _make(endpoint: Endpoint) -> genai.Client:
    """Make a client with connections of its own, which leaves retries to us."""
    address, version = _split(endpoint.base_url)
    verify = _tls()
    timeout = httpx2.Timeout(REPLY_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    limits = httpx2.Limits(
        max_connections=CONNECTIONS_PER_CLIENT, max_keepalive_connections=CONNECTIONS_PER_CLIENT
    )
    options = types.HttpOptions(
        base_url=address,
        api_version=version,
        # Both are given, or else every client reads the certificates three times over.
        httpx_async_client=_Connections(
            limits=limits, timeout=timeout, verify=verify, follow_redirects=True
        ),
        httpx_client=_unused(),
        async_client_args={"ssl": verify},
    )
    return genai.Client(vertexai=False, api_key=endpoint.api_key, http_options=options)


class _Connections(httpx2.AsyncClient):
    """Keeps its own time limits: the SDK asks for none with every request."""

    def build_request(self, *args: Any, **kwargs: Any) -> httpx2.Request:
        if kwargs.get("timeout") is None:
            kwargs.pop("timeout", None)
        return super().build_request(*args, **kwargs)


async def _close(client: genai.Client) -> None:
    options = cast("Any", client)._api_client._http_options
    await options.httpx_async_client.aclose()
    client.close()


CLIENTS: ClientMaker[genai.Client] = ClientMaker(_make, _close)


def endpoint_behind(client: genai.Client) -> Endpoint:
    """Return where a client somebody else made asks."""
    api = cast("Any", client)._api_client
    address = str(api._http_options.base_url or "").rstrip("/")
    key = api.api_key
    return Endpoint(address, key if isinstance(key, str) else "")


async def generate(
    client: genai.Client, model: str, body: dict[str, Any], headers: dict[str, str]
) -> str:
    """Ask for content and return the reply's body, unread.

    The body goes as the SDK's extra body, which it lays over the one it builds, and neither the
    conversation nor the reply becomes its typed form: that would cost as much CPU time as all the
    rest, and fields it does not know would be lost.

    Raises:
        google.genai.errors.APIError: when the request fails.
    """
    config: Any = {
        "http_options": {"extra_body": body, "headers": headers or None},
        "should_return_http_response": True,
        "automatic_function_calling": {"disable": True},
        "automatic_continuation": False,
    }
    reply = await client.aio.models.generate_content(
        model=model, contents=_PLACEHOLDER, config=config
    )
    held = reply.sdk_http_response
    return (held.body if held is not None else None) or ""


def read_failure(error: BaseException) -> CallFailure | None:
    """Read an exception of the SDK; None for any other."""
    if isinstance(error, errors.APIError):
        return _of_status(error)
    # By name: whoever brings a client may have built it on another HTTP library.
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & set(_CUT):
        return CallFailure("cut", plain_reason(error))
    if names & {"ConnectTimeout", "ConnectError", "PoolTimeout", "ClientConnectorError"}:
        return CallFailure("unreachable", plain_reason(error))
    if "TimeoutException" in names:
        return CallFailure("timeout", "no answer in time")
    if names & {"TransportError", "ClientError", "TooManyRedirects"}:
        return CallFailure("cut", plain_reason(error))
    if isinstance(error, UnicodeDecodeError):
        return CallFailure("other", "the answer is no text")
    return None


def refuses_picture(error: BaseException | None) -> bool:
    """Whether the API could not read a picture of the conversation."""
    if not isinstance(error, errors.APIError) or error.code != 400:
        return False
    said = str(error.message or "").lower()
    return any(words in said for words in _PICTURE_WORDS)


def _of_status(error: Any) -> CallFailure:
    details = _details(error.details)
    headers: Any = getattr(error.response, "headers", None) or {}
    asked_s = retry_after(headers)
    code = error.status if isinstance(error.status, str) else None
    for detail in details:
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "RetryInfo" and asked_s is None:
            asked_s = retry_after({"retry-after": str(detail.get("retryDelay", "")).rstrip("s")})
        elif kind == "ErrorInfo" and detail.get("reason"):
            code = str(detail["reason"])
        elif kind == "QuotaFailure" and _is_of_a_day(detail):
            code = "insufficient_quota"  # which waiting a moment does not bring back
    said: Any = error.message if isinstance(error.message, str) else error.details
    return CallFailure(
        "status",
        excerpt(said if said is not None else ""),
        status=error.code,
        code=code,
        retry_after_s=asked_s,
    )


def _details(body: Any) -> list[dict[str, Any]]:
    """Return the details of an error object (google.rpc.Status)."""
    held = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    inner = held.get("error")
    found: Any = (cast("dict[str, Any]", inner) if isinstance(inner, dict) else held).get("details")
    listed = cast("list[Any]", found) if isinstance(found, list) else []
    return [cast("dict[str, Any]", item) for item in listed if isinstance(item, dict)]


def _is_of_a_day(detail: dict[str, Any]) -> bool:
    violations = detail.get("violations")
    return isinstance(violations, list) and any(
        "PerDay" in str(item) for item in cast("list[Any]", violations)
    )


def _split(base_url: str) -> tuple[str, str]:
    """Return an address without its version, and the version."""
    head, _, last = base_url.rstrip("/").rpartition("/")
    if _VERSION.fullmatch(last) and urlsplit(head).netloc:
        return head, last if last != "v1" else "v1beta"
    return base_url, "v1beta"


@cache
def _tls() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@cache
def _unused() -> httpx2.Client:
    """Return what the SDK would ask without an event loop; nothing is sent through it."""
    return httpx2.Client(verify=_tls())
