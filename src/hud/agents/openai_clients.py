"""Open connections to OpenAI-compatible endpoints, shared by every agent of an event loop.

The only module here that imports the `openai` SDK (a third of a second): agents import this
module once per process, before their first request. What a failed request means is decided here
too, because it takes the SDK's exceptions apart.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from weakref import WeakKeyDictionary

import openai
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from openai.resources.chat.completions import AsyncCompletions

from hud._core.errors import ModelFault
from hud.agents.chat_format import excerpt
from hud.models.endpoint import Endpoint

# The SDK's HTTP library looks at every connection of its pool for every request, so that many
# small pools cost a fraction of a large one: half the CPU time at 1,000 requests in flight.
_CONNECTIONS_PER_CLIENT = 100
_CONNECTIONS_AT_MOST = 4096

# The SDK gives a connection 5 s to open. A process that opens thousands at once needs longer to
# come round to each of them, and must not mistake that for a dead endpoint.
_CONNECT_TIMEOUT_S = 30.0
_REPLY_TIMEOUT_S = 600.0

_KNOWN = frozenset(inspect.signature(AsyncCompletions.create).parameters)
_OVERFLOW_CODES = {"context_length_exceeded", "context_window_exceeded", "prompt_too_long"}
_OVERFLOW_WORDS = (
    "maximum context length",
    "context length exceeded",
    "context window",
    "prompt is too long",
)
# By name: the SDK's HTTP library is one module in older releases and another in newer ones.
_BROKEN_OFF = {"ReadError", "WriteError", "CloseError", "RemoteProtocolError", "DecodingError"}
_HINTS = {
    401: "check the key: OPENAI_API_KEY, or --config api_key=…",
    403: "the key has no right to this model: check OPENAI_API_KEY, or --config api_key=…",
    404: "check the model's name, and the address: base_url usually ends with /v1",
    429: "the rate or quota is used up: run fewer at once (--max-concurrent), or wait",
}


@dataclass(slots=True)
class _Shard:
    client: AsyncOpenAI
    in_flight: int = 0


class ClientPool:
    """The clients of one endpoint on one event loop; closed when the loop shuts down.

    Requests beyond the number of connections wait their turn, first come first served.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.places = asyncio.Semaphore(_connection_limit())
        self._shards = [_Shard(_client(endpoint))]
        self.holder: AsyncGenerator[None] | None = None

    @property
    def first(self) -> AsyncOpenAI:
        return self._shards[0].client

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[AsyncOpenAI]:
        """Lend a client with a free connection."""
        async with self.places:
            shard = self._free_shard()
            shard.in_flight += 1
            try:
                yield shard.client
            finally:
                shard.in_flight -= 1

    def _free_shard(self) -> _Shard:
        for shard in self._shards:
            if shard.in_flight < _CONNECTIONS_PER_CLIENT:
                return shard
        shard = _Shard(_client(self.endpoint))
        self._shards.append(shard)
        return shard

    async def aclose(self) -> None:
        for shard in self._shards:
            await shard.client.close()


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Endpoint, ClientPool]] = (
    WeakKeyDictionary()
)


def shared_pool(endpoint: Endpoint) -> ClientPool:
    """Return the pool of an endpoint on the running event loop, opened at the first call."""
    loop = asyncio.get_running_loop()
    pools = _pools.setdefault(loop, {})
    pool = pools.get(endpoint)
    if pool is None:
        pool = pools[endpoint] = ClientPool(endpoint)
        pool.holder = _until_shutdown(pool, pools)
        # Its first step suspends nowhere but at the yield, so it is taken without awaiting.
        step = pool.holder.asend(None)
        with suppress(StopIteration):
            cast("Any", step).send(None)
    return pool


async def _until_shutdown(
    pool: ClientPool, pools: dict[Endpoint, ClientPool]
) -> AsyncGenerator[None]:
    """Close the pool when the loop shuts down: it then closes its suspended generators."""
    try:
        yield
    finally:
        pools.pop(pool.endpoint, None)
        await pool.aclose()


def request_arguments(completion_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `create` call; what it has no argument for goes into the body."""
    extra = {key: value for key, value in completion_kwargs.items() if key not in _KNOWN}
    if not extra:
        return dict(completion_kwargs)
    known = {key: value for key, value in completion_kwargs.items() if key in _KNOWN}
    known["extra_body"] = {**extra, **(known.get("extra_body") or {})}
    return known


async def complete(
    client: AsyncOpenAI, model: str, messages: list[dict[str, Any]], arguments: dict[str, Any]
) -> bytes:
    """Ask for a completion and return the reply's body, unread.

    Leaving the SDK's typed reply unbuilt saves CPU time, and fields it does not know are kept.

    Raises:
        OpenAIError: when the request fails, after the SDK's own retries.
    """
    create = cast("Any", client.chat.completions.with_raw_response.create)
    reply = await create(model=model, messages=messages, **arguments)
    return cast("bytes", reply.http_response.content)


def is_context_overflow(error: openai.OpenAIError) -> bool:
    """Tell whether the API refused a request because it does not fit the model's context."""
    if not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 413, 422):
        return False
    text = excerpt(error.body).lower()
    return error.code in _OVERFLOW_CODES or any(words in text for words in _OVERFLOW_WORDS)


def model_fault(error: openai.OpenAIError, endpoint: Endpoint, model: str) -> ModelFault:
    """Return what a failed request means, in one sentence without the key."""
    fault = _fault(error, f"the model API at {endpoint.shown}", model)
    key = endpoint.api_key
    if len(key) >= 4 and key in fault.message:
        return ModelFault(fault.message.replace(key, "[redacted]"), hint=fault.hint)
    return fault


def _fault(error: openai.OpenAIError, where: str, model: str) -> ModelFault:
    if isinstance(error, openai.APITimeoutError):
        return ModelFault(f"{where} did not answer in time")
    if isinstance(error, openai.APIConnectionError):
        if type(error.__cause__).__name__ in _BROKEN_OFF:
            return ModelFault(f"{where} broke off before its answer was whole: {_reason(error)}")
        return ModelFault(
            f"{where} cannot be reached: {_reason(error)}",
            hint="is it running? the address is base_url, or OPENAI_BASE_URL",
        )
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        detail = excerpt(error.body if error.body is not None else "")
        return ModelFault(
            f"{where} answered status {status} for model {model!r}: {detail}",
            hint=_HINTS.get(status),
        )
    return ModelFault(f"{where} failed for model {model!r}: {excerpt(str(error))}")


def _reason(error: BaseException) -> str:
    """Return the innermost plain cause of a connection error."""
    reason = ""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BaseExceptionGroup):
            seen = cast("BaseExceptionGroup[BaseException]", seen).exceptions[0]
            continue
        if isinstance(seen, OSError) and seen.errno:
            reason = os.strerror(seen.errno) if seen.errno > 0 else str(seen.strerror)
        elif seen is not error and str(seen):
            reason = reason or str(seen)
        seen = seen.__cause__ or seen.__context__
    return excerpt(reason or "the connection broke")


def _client(endpoint: Endpoint) -> AsyncOpenAI:
    timeout = type(openai.DEFAULT_TIMEOUT)(_REPLY_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=_CONNECTIONS_PER_CLIENT,
        max_keepalive_connections=_CONNECTIONS_PER_CLIENT,
    )
    return AsyncOpenAI(
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        timeout=timeout,
        http_client=DefaultAsyncHttpxClient(limits=limits, verify=_tls()),
    )


@cache
def _tls() -> ssl.SSLContext:
    """Return the TLS settings the SDK's HTTP library would make for every client anew."""
    library = type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0]
    return importlib.import_module(library).create_ssl_context()


def _connection_limit() -> int:
    """Return how many connections this process may open: half of its file descriptors."""
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    except (ImportError, OSError):
        return _CONNECTIONS_PER_CLIENT
    return max(32, min(_CONNECTIONS_AT_MOST, soft // 2)) if soft > 0 else _CONNECTIONS_AT_MOST
