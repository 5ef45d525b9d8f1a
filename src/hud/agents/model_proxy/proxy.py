"""The proxy: whose calls it takes, to which models, until which budget; and what it notes of them.

It is an ASGI app. Connections come to it through `serve`, so that nothing listens on this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self, cast

import httpx

from hud._core import json
from hud._core.errors import InputError, ModelFault, bounded
from hud._core.http_sockets import Receive, Scope, Send, SocketServer
from hud.agents.model_proxy.replies import ReplyReader
from hud.agents.model_proxy.upstream import (
    Upstream,
    passing,
    read_failure,
)
from hud.agents.run import Run
from hud.agents.spending import Spending
from hud.capabilities.ssh_serve import Reader, Writer, splice
from hud.models.asgi import Refusal, part_of, read_body, refuse, start_of
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure
from hud.models.passed_on import Outgoing, RefusedByApi
from hud.models.provider import Dialect
from hud.models.sse import UsageHider
from hud.models.wire import (
    Asked,
    Headers,
    dialect_of,
    keys_of,
    read_target,
    response_headers,
)
from hud.trace.clock import utc_now
from hud.trace.steps import AgentStep, StopReason

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 32 * 1024 * 1024
_SPENT = "budget_exhausted"


@dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one run may ask of its proxy; calls in flight may go beyond a budget by themselves.

    Attributes:
        max_steps: Replies of models; -1 is no limit.
        max_total_tokens: Prompt and completion tokens of all replies.
        max_cost_usd: Money of all replies; those of unknown price count nothing.
        max_concurrent: Calls at once; further ones wait.
        retries: Further attempts at a call that failed before its reply began.
    """

    max_steps: int = -1
    max_total_tokens: int | None = None
    max_cost_usd: float | None = None
    max_concurrent: int = 16
    retries: int = 4


class ModelProxy:
    """Passes one run's calls on to an endpoint while its block is open.

        async with ModelProxy(run, endpoint, {"claude-sonnet-4-6"}) as proxy:
            async with ssh.serve(proxy.serve) as at:
                ...  # http://{at} is the API, proxy.token its key

    Whatever the dialect, a reply's bytes pass unchanged; every reply is a step on the run's trace.
    Usage that Chat Completions would not tell is asked for, and taken out of the stream again.

    Attributes:
        token: The key inside, good for this run alone.
        calls: How many replies were asked for.
        failure: What the latest call failed with, None when it did not.
        spent: The limit that a call was refused for, as a stop reason.
        is_spent: Set when `spent` is.
    """

    def __init__(
        self,
        run: Run,
        endpoint: Endpoint,
        models: Collection[str],
        limits: ProxyLimits | None = None,
    ) -> None:
        """Make a proxy of one run.

        Args:
            models: The names that may be asked for.
        """
        self.token = f"hud-run-{secrets.token_urlsafe(32)}"
        self.calls = 0
        self.failure: ModelFault | None = None
        self.spent: StopReason | None = None
        self.is_spent = asyncio.Event()
        self._run = run
        self._endpoint = endpoint
        self._models = frozenset(models)
        self._limits = limits or ProxyLimits()
        self._spending = Spending(self._limits)
        self._places = asyncio.Semaphore(self._limits.max_concurrent)
        self._sockets = SocketServer(self)
        self._upstream: Upstream | None = None

    async def __aenter__(self) -> Self:
        self._upstream = Upstream(self._endpoint)
        return self

    async def __aexit__(self, *_: object) -> None:
        upstream, self._upstream = self._upstream, None
        try:
            await self._sockets.cut("the run is over")
        finally:
            if upstream is not None:
                await upstream.aclose()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Serve one connection, as `SSHClient.serve` hands it over."""
        far = await self._sockets.connect()
        far_reader, far_writer = await asyncio.open_connection(sock=far)
        try:
            await splice(reader, writer, far_reader, far_writer)
        finally:
            far_writer.close()
            with contextlib.suppress(OSError):
                await far_writer.wait_closed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
        headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in pairs}
        path = cast("bytes", scope["raw_path"]).decode("latin-1")
        query = cast("bytes", scope["query_string"]).decode("latin-1")
        method = str(scope["method"])
        asked = read_target(method, path, query, headers)
        try:
            if not _has_token(headers, query, self.token):
                raise Refusal(401, "invalid_api_key", "this is not the token of this run")
            if asked is None or asked.kind not in ("model", "count", "list"):
                where = bounded(f"{method} {path}")
                raise Refusal(404, "not_found", f"the proxy of this run has no {where}")
            async with self._places:
                await self._answer(asked, headers, receive, send)
        except Refusal as refusal:
            dialect = asked.dialect if asked is not None else dialect_of(path, headers)
            await refuse(send, dialect, refusal)

    async def _answer(
        self, asked: Asked, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        body = await read_body(headers, receive, limit_bytes=MAX_BODY_BYTES)
        if body is None:
            return
        if asked.kind == "list":
            model, outgoing, adds_usage = "", self._outgoing(asked, headers, b""), False
        else:
            model, body, adds_usage = self._checked(asked, body)
            outgoing = self._outgoing(asked, headers, body)
        if asked.kind == "model":
            self._charge()
        relaying = asyncio.ensure_future(self._relay(asked, model, outgoing, adds_usage, send))
        # The next thing to come is that the client has gone.
        watching = asyncio.ensure_future(receive())
        try:
            await asyncio.wait({relaying, watching}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (relaying, watching):
                task.cancel()
            await asyncio.wait({relaying, watching})
        if not relaying.cancelled():
            relaying.result()

    def _checked(self, asked: Asked, body: bytes) -> tuple[str, bytes, bool]:
        """Return the model, the body to send, and whether it asks for usage on our account."""
        try:
            read: Any = json.decode(body)
        except ValueError:
            read = None
        if not isinstance(read, dict):
            raise Refusal(400, "invalid_request", "the body is no JSON object")
        held = cast("dict[str, Any]", read)
        model = asked.model_in(held)
        if model is None:
            raise Refusal(400, "invalid_request", "the request names no model")
        if model not in self._models:
            allowed = ", ".join(sorted(self._models))
            raise Refusal(
                403,
                "model_not_allowed",
                f"this run may not use the model {bounded(model)!r}, only {allowed}",
            )
        if asked.dialect is Dialect.CHAT and held.get("stream") is True:
            options = held.get("stream_options")
            options = cast("dict[str, Any]", options) if isinstance(options, dict) else {}
            if not options.get("include_usage"):
                held["stream_options"] = {**options, "include_usage": True}
                return model, json.encode(held), True
        return model, body, False

    def _charge(self) -> None:
        """Count a call, unless the budget is used up."""
        limits = self._limits
        spent: StopReason | None = self._spending.limit
        if spent is None and 0 <= limits.max_steps <= self.calls:
            spent = "max_steps"
        if spent is None:
            self.calls += 1
            return
        self.spent = spent
        self.is_spent.set()
        said = {
            "max_steps": f"{limits.max_steps} model calls",
            "max_tokens": f"{limits.max_total_tokens} tokens",
            "max_cost": f"{limits.max_cost_usd} USD",
        }
        raise Refusal(429, _SPENT, f"the budget of this run is used up: {said[spent]} ({spent})")

    def _outgoing(self, asked: Asked, headers: dict[str, str], body: bytes) -> Outgoing:
        sent = asked.request_headers(headers, self._endpoint)
        if self._endpoint.is_gateway and self._run.trace_id is not None:
            sent["trace-id"] = self._run.trace_id
        method = "GET" if asked.kind == "list" else "POST"
        return Outgoing(method, asked.url(self._endpoint), sent, body)

    async def _relay(
        self, asked: Asked, model: str, outgoing: Outgoing, adds_usage: bool, send: Send
    ) -> None:
        assert self._upstream is not None
        started_at = utc_now()
        replying = self._upstream.reply(
            outgoing, model, asked.dialect.value, retries=self._limits.retries
        )
        try:
            async with replying as reply:
                await self._pass_on(asked, model, reply, adds_usage, send, started_at)
        except ModelFault as fault:
            if asked.kind == "model":
                self._note(AgentStep(extra={"failed": fault.message}), asked, model, started_at)
                self.failure = fault
            if not isinstance(fault.__cause__, RefusedByApi):
                raise Refusal(502, "model_unavailable", fault.message, may_pass=True) from fault
            await _pass_refusal(send, fault.__cause__)

    async def _pass_on(
        self,
        asked: Asked,
        model: str,
        reply: httpx.Response,
        adds_usage: bool,
        send: Send,
        started_at: str,
    ) -> None:
        reader = ReplyReader(asked.dialect, reply.headers.get("content-type", ""))
        hiding = UsageHider() if adds_usage else None
        headers = response_headers(reply.headers.items())
        failure: CallFailure | None = None
        is_cut = True
        try:
            await send(start_of(reply.status_code, headers))
            async for data in passing(reply):
                reader.feed(data)
                shown = data if hiding is None else hiding.shown(data)
                if shown:
                    await send(part_of(shown, more=True))
            rest = b"" if hiding is None else hiding.rest()
            failure = CallFailure("cut", reader.error) if reader.error else None
            is_cut = False
            await send(part_of(rest, more=False))
        except httpx.TransportError as error:
            # Ending without the last piece of the body has the connection cut.
            failure = read_failure(error)
        finally:
            if asked.kind == "model":
                step = reader.step(f"the model API at {self._endpoint.shown}")
                if is_cut:
                    step.extra["cut"] = True
                if failure is not None:
                    self.failure = failure.fault(self._endpoint, model)
                    step.extra["failed"] = self.failure.message
                elif not is_cut:
                    self.failure = None
                self._note(step, asked, model, started_at)

    def _note(self, step: AgentStep, asked: Asked, model: str, started_at: str) -> None:
        """Put a call on the run's trace, and on its bill."""
        step.started_at, step.ended_at = started_at, utc_now()
        step.model = step.model or model
        step.extra["api"] = asked.dialect.value
        usage = step.usage
        if usage is not None and usage.cost_usd is None:
            from hud.models.prices import cost_usd  # read when first needed

            with contextlib.suppress(InputError):
                usage.cost_usd = cost_usd(
                    self._endpoint.provider,
                    step.model,
                    prompt_tokens=usage.prompt_tokens,
                    cached_tokens=usage.cached_tokens,
                    cache_write_tokens=usage.cache_write_tokens,
                    completion_tokens=usage.completion_tokens,
                )
        self._spending.add(usage)
        self._run.record(step)


def _has_token(headers: Headers, query: str, token: str) -> bool:
    """Tell whether a request shows the token, in whichever place its SDK puts a key."""
    shown = keys_of(headers, query)
    return any(hmac.compare_digest(key.encode(), token.encode()) for key in shown)


async def _pass_refusal(send: Send, refused: RefusedByApi) -> None:
    headers = response_headers(refused.headers.items())
    headers.append((b"content-length", str(len(refused.body)).encode()))
    await send(start_of(refused.status, headers))
    await send(part_of(refused.body, more=False))
