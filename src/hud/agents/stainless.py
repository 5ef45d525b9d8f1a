"""What the `openai` and `anthropic` SDKs have in common: they are built alike by one generator.

Neither is imported here; each dialect hands its own module over.
"""

from __future__ import annotations

import importlib
import ssl
from functools import cache
from typing import Any, cast

from hud.agents.connections import CONNECT_TIMEOUT_S, CONNECTIONS_PER_CLIENT, REPLY_TIMEOUT_S
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure, excerpt, plain_reason, retry_after

# By name: the SDKs' HTTP library is one module in older releases and another in newer ones.
_CUT = {"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "DecodingError"}
_SLOW = {"ReadTimeout", "WriteTimeout", "ConnectTimeout", "PoolTimeout"}


def read_failure(error: BaseException, sdk: Any) -> CallFailure | None:
    """Read an SDK's exception; None for any other."""
    if isinstance(error, sdk.APITimeoutError) or type(error).__name__ in _SLOW:
        return CallFailure("timeout", "no answer in time")
    if isinstance(error, sdk.APIConnectionError):
        kind = "cut" if type(error.__cause__).__name__ in _CUT else "unreachable"
        return CallFailure(kind, plain_reason(error))
    if isinstance(error, sdk.APIStatusError):
        failed = cast("Any", error)
        body: Any = failed.body
        code = getattr(failed, "code", None)
        return CallFailure(
            "status",
            excerpt(body if body is not None else ""),
            status=failed.status_code,
            code=code if isinstance(code, str) else None,
            retry_after_s=retry_after(failed.response.headers),
        )
    if type(error).__name__ in _CUT:
        return CallFailure("cut", plain_reason(error))
    if isinstance(error, getattr(sdk, "OpenAIError", sdk.APIError)):
        return CallFailure("other", excerpt(str(error)))
    return None


def make_client(cls: Any, endpoint: Endpoint, sdk: Any, **kwargs: Any) -> Any:
    """Make a client that leaves retries to us and has as many connections as a pool gives it."""
    timeout = type(sdk.DEFAULT_TIMEOUT)(REPLY_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    limits = type(sdk.DEFAULT_CONNECTION_LIMITS)(
        max_connections=CONNECTIONS_PER_CLIENT,
        max_keepalive_connections=CONNECTIONS_PER_CLIENT,
    )
    http_client = sdk.DefaultAsyncHttpxClient(limits=limits, verify=_tls(sdk))
    kwargs.setdefault("api_key", endpoint.api_key)
    return cls(
        base_url=endpoint.base_url,
        timeout=timeout,
        max_retries=0,
        http_client=http_client,
        **kwargs,
    )


async def close_client(client: Any) -> None:
    """Close a client and its connections."""
    await client.close()


@cache
def _tls(sdk: Any) -> ssl.SSLContext:
    """Return the TLS settings the SDK's HTTP library would make for every client anew."""
    library = type(sdk.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]
    return importlib.import_module(library).create_ssl_context()
