"""The gateway as an ASGI app: who calls, for which model, and what becomes of the call.

Plain ASGI, so that nothing of a web framework stands between a provider's piece of an answer and
the client's socket. Errors are spelled as the client's dialect has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, cast

from hud._core.errors import HudError, bounded
from hud._core.http_sockets import Receive, Scope, Send
from hud.models.asgi import Refusal, read_body, refuse
from hud.models.wire import Asked, Headers, dialect_of, keys_of, read_target
from hud.platform.database import Database
from hud.platform.errors import ApiError
from hud.platform.gateway.answers import Answers
from hud.platform.gateway.calls import ModelCalls, outgoing_for, send_whole
from hud.platform.gateway.directory import Directory, Extra
from hud.platform.gateway.listing import listing
from hud.platform.gateway.offers import Offers
from hud.platform.gateway.served import Route
from hud.platform.gateway.upstream import Upstream
from hud.platform.gateway.usage_log import UsageLog
from hud.platform.identity import Caller, Keyring, check
from hud.platform.secrets import SecretBox

logger = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024 * 1024
HEADER_BYTES = 64 * 1024
BODIES_BYTES = 512 * 1024 * 1024
"""How much all bodies of requests under way may take together."""
CALLS_AT_ONCE = 4_096
_STATE_TIMEOUT_S = 60.0


class Gateway:
    """Serves models while its block is open, on the event loop it was opened on.

        async with Gateway(database, keyring, box) as gateway:
            ...  # an ASGI app, mounted at /inference

    Args:
        answers: The folder of kept answers; None keeps none, whoever asks for it.
        extra: Providers that are in no database, by team.

    Attributes:
        directory: What is served to whom; told when that changes.
        calls: What is under way; its budgets are told when they change.
        usage: What calls took.
        upstream: The connections to providers.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        box: SecretBox,
        *,
        answers: Path | None = None,
        extra: Extra = lambda team: (),
    ) -> None:
        self._keyring = keyring
        self.upstream = Upstream()
        self._offers = Offers(self.upstream)
        self.directory = Directory(database, box, extra=extra, offers=self._offers.of)
        self.usage = UsageLog(database)
        self.calls = ModelCalls(
            database,
            self.directory,
            self.upstream,
            self.usage,
            Answers(answers) if answers is not None else None,
        )
        self._body_bytes = 0
        self._under_way = 0
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.usage)
            await stack.enter_async_context(self.upstream)
            stack.push_async_callback(self.directory.aclose)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def check_model(self, team: str, name: str) -> None:
        """Find who serves a model to a team.

        Raises:
            Refusal: with status 404 when nobody does, with 503 when who does cannot be asked.
        """
        await self.calls.route(team, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[str, str] = {}
        size = 0
        for name, text in cast("list[tuple[bytes, bytes]]", scope["headers"]):
            size += len(name) + len(text)
            headers[name.decode("latin-1").lower()] = text.decode("latin-1")
        path = _path_of(scope)
        query = cast("bytes", scope["query_string"]).decode("latin-1")
        method = str(scope["method"])
        asked = read_target(method, path, query, headers)
        has_begun = False

        async def begin(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            if size > HEADER_BYTES:
                raise Refusal(431, "headers_too_large", "the headers are longer than 64 KiB")
            caller = await self._caller(headers, query)
            if asked is None:
                where = bounded(f"{method} {path}")
                raise Refusal(404, "not_found", f"the gateway has nothing at {where}")
            await self._answer(method, asked, headers, caller, receive, begin)
        except Exception as error:
            refusal = _refusal_for(error)
            if has_begun:
                return  # the missing end of the body says that it failed
            await refuse(send, asked.dialect if asked else dialect_of(path, headers), refusal)

    async def _caller(self, headers: Headers, query: str) -> Caller:
        """Return who calls; only a key counts, so that no page can make a browser call."""
        keys = keys_of(headers, query)
        if not keys:
            message = "this request carries no key; hud keys create NAME makes one"
            raise Refusal(401, "invalid_api_key", message)
        known = self._keyring.remembered("key", keys[0])
        if known is None:
            known = await asyncio.to_thread(self._keyring.by_key, keys[0])
        check(known, "inference")
        return known

    async def _answer(
        self,
        method: str,
        asked: Asked,
        headers: Headers,
        caller: Caller,
        receive: Receive,
        send: Send,
    ) -> None:
        if asked.kind == "list":
            served = await self.directory.served(caller.team)
            await send_whole(send, 200, listing(asked, served.models()))
            return
        if self._under_way >= CALLS_AT_ONCE:
            message = f"{CALLS_AT_ONCE} calls are under way here"
            raise Refusal(503, "gateway_busy", message, may_pass=True, retry_after_s=1.0)
        self._under_way += 1
        held = 0

        def grow(size: int) -> None:
            nonlocal held
            if self._body_bytes + size > BODIES_BYTES:
                message = "requests under way take all the room there is"
                raise Refusal(503, "gateway_busy", message, may_pass=True, retry_after_s=1.0)
            self._body_bytes += size
            held += size

        try:
            data = await read_body(headers, receive, limit_bytes=BODY_BYTES, grow=grow)
            if data is None:
                return
            if asked.kind == "state":
                work = self._pass_state(method, asked, headers, caller, data, send)
            else:
                work = self.calls.answer(asked, headers, caller, data, send)
            await _until_gone(work, receive)
        finally:
            self._under_way -= 1
            self._body_bytes -= held

    async def _pass_state(
        self,
        method: str,
        asked: Asked,
        headers: Headers,
        caller: Caller,
        data: bytes,
        send: Send,
    ) -> None:
        """Answer a request about a reply that its provider has kept."""
        served = await self.directory.served(caller.team)
        reply_id = asked.reply_id or ""
        for provider in self.calls.replies.keepers(caller.team, reply_id, served):
            route = Route("", "", provider)
            outgoing = outgoing_for(method, asked, headers, route, data)
            status, said = await self.upstream.get(
                outgoing, route, timeout_s=_STATE_TIMEOUT_S, limit_bytes=BODY_BYTES
            )
            if status != 404:
                await send_whole(send, status, said)
                return
        raise Refusal(404, "not_found", f"no provider here keeps the reply {bounded(reply_id)!r}")


async def _until_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work of a request; its client going away cancels it.

    The work runs in the request's own task, and only the watching in another: a task more is a
    turn of the event loop more before the provider is asked.
    """
    mine = asyncio.current_task()
    assert mine is not None
    is_gone = False

    async def watch() -> None:
        nonlocal is_gone
        await receive()  # the next thing to come is that the client has gone
        is_gone = True
        mine.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        await work
    except asyncio.CancelledError:
        if not is_gone or mine.uncancel():
            raise
    finally:
        watching.cancel()


def _path_of(scope: Scope) -> str:
    """Return the path under the gateway's place; a version that a base URL repeats counts once."""
    raw: bytes = scope.get("raw_path") or str(scope["path"]).encode()
    path = raw.decode("latin-1").removeprefix(str(scope.get("root_path", "")))
    while path.startswith("/v1/v1"):
        path = path.removeprefix("/v1")
    return path


def _refusal_for(error: Exception) -> Refusal:
    match error:
        case Refusal():
            return error
        case ApiError():
            code = "invalid_api_key" if error.status == 401 else error.kind
            hint = f"; {error.hint}" if error.hint else ""
            return Refusal(error.status, code, f"{error.message}{hint}")
        case HudError():
            logger.error("%s", error)
            return Refusal(503, error.code, error.message, may_pass=True, retry_after_s=1.0)
        case _:
            logger.error("a call of a model failed here", exc_info=error)
            return Refusal(500, "internal", "the gateway failed at this call; its log says more")
