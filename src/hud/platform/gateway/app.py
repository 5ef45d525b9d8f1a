"""The gateway as an ASGI app: who calls, for which model, and what becomes of the call.

Plain ASGI, so that nothing of a web framework stands between a provider's piece of an answer and
the client's socket. Errors are spelled as the client's dialect has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

from hud._core.errors import HudError, bounded
from hud._core.http_sockets import Receive, Scope, Send
from hud._core.ids import is_id, normal_id
from hud.models.asgi import Refusal, part_of, read_body, refuse, start_of
from hud.models.usage import UsageReader
from hud.models.wire import Asked, Headers, dialect_of, keys_of, read_target
from hud.platform.database import Database
from hud.platform.errors import ApiError
from hud.platform.gateway.answers import HEADER as CACHE_HEADER
from hud.platform.gateway.answers import Answers, KeptAnswer, wants_cache
from hud.platform.gateway.budgets import Amount, Budgets, Spender
from hud.platform.gateway.call_body import CallBody
from hud.platform.gateway.directory import Directory, Extra
from hud.platform.gateway.kept_replies import KeptReplies
from hud.platform.gateway.listing import listing
from hud.platform.gateway.metering import Metered
from hud.platform.gateway.offers import Offers
from hud.platform.gateway.places import Places
from hud.platform.gateway.plan import Plan, plan_call
from hud.platform.gateway.refusals import told
from hud.platform.gateway.relay import Passing, StreamTranslator, WholeTranslator
from hud.platform.gateway.run_jobs import RunJobs
from hud.platform.gateway.served import Route
from hud.platform.gateway.upstream import Outgoing, Refused, Upstream
from hud.platform.gateway.usage_log import UsageLog
from hud.platform.gateway.used import used_at_most, used_by
from hud.platform.identity import Caller, Keyring, check
from hud.platform.secrets import SecretBox

logger = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024 * 1024
HEADER_BYTES = 64 * 1024
BODIES_BYTES = 512 * 1024 * 1024
"""How much all bodies of requests under way may take together."""
CALLS_AT_ONCE = 4_096
_STATE_TIMEOUT_S = 60.0
_Headers = list[tuple[bytes, bytes]]


class Gateway:
    """Serves models while its block is open, on the event loop it was opened on.

        async with Gateway(database, keyring, box) as gateway:
            ...  # an ASGI app, mounted at /inference

    Args:
        answers: The folder of kept answers; None keeps none, whoever asks for it.
        extra: Providers that are in no database, by team.

    Attributes:
        directory: What is served to whom; told when that changes.
        budgets: Who may still spend; told when that changes.
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
        self.budgets = Budgets(database, self.usage.flush)
        self._jobs = RunJobs(database)
        self._answers = Answers(answers) if answers is not None else None
        self._replies = KeptReplies()
        self._places = Places()
        self._body_bytes = 0
        self._calls = 0
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        pairs = cast("list[tuple[bytes, bytes]]", scope["headers"])
        headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in pairs}
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
            if sum(len(name) + len(text) for name, text in pairs) > HEADER_BYTES:
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
            await _send_whole(send, 200, listing(asked, served.models()))
            return
        if self._calls >= CALLS_AT_ONCE:
            message = f"{CALLS_AT_ONCE} calls are under way here"
            raise Refusal(503, "gateway_busy", message, may_pass=True, retry_after_s=1.0)
        self._calls += 1
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
                work = self._call(asked, headers, caller, data, send)
            await _until_gone(work, receive)
        finally:
            self._calls -= 1
            self._body_bytes -= held

    async def _route(self, team: str, name: str) -> Route:
        served = await self.directory.served(team)
        try:
            return served.resolve(name)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
        return (await self.directory.served(team, newest=True)).resolve(name)

    async def _call(
        self, asked: Asked, headers: Headers, caller: Caller, data: bytes, send: Send
    ) -> None:
        """Answer a request that names a model."""
        body = CallBody(data)
        name = asked.model_in({"model": body.get("model")})
        if name is None:
            raise Refusal(400, "invalid_request", "the request names no model")
        route = await self._route(caller.team, name)
        plan = plan_call(asked, body, route)
        outgoing = _outgoing("POST", plan.asked, headers, route, plan.body)
        spender = Spender(caller.team, caller.key_id, None, _run_of(headers))
        metered = Metered(route, spender, asked.dialect, self.usage.add)
        if asked.kind == "count":
            metered.note = _forget  # counting costs nothing
        try:
            key = None
            if self._answers is not None and wants_cache(headers) and asked.kind != "count":
                key = await self._answers.key(caller.team, asked, body, route)
                if (kept := await self._answers.find(key, route)) is not None:
                    await _send_kept(metered, kept, send)
                    return
            if asked.kind != "count":
                await self._reserve(metered, body, asked)
            await self._relay(asked, plan, body, outgoing, metered, key, send)
        except Refused as refused:
            metered.status, metered.error = refused.status, refused.failure.detail
            status, more, said = told(refused, asked, plan, route)
            await _send_whole(send, status, said, more)
        except Refusal as refusal:
            metered.status, metered.error = refusal.status, refusal.message
            raise
        finally:
            metered.end()

    async def _reserve(self, metered: Metered, body: CallBody, asked: Asked) -> None:
        spender = metered.spender
        scopes = await self.budgets.applying(spender.team)
        if not scopes:
            return
        if "job" in scopes and spender.run_id is not None:
            job_id = await self._jobs.job_of(spender.team, spender.run_id)
            spender = metered.spender = replace(spender, job_id=job_id)
        completion = 0 if asked.kind == "embed" else body.completion_tokens(asked.dialect)
        most = used_at_most(metered.route, body.prompt_tokens(), completion)
        cost = await asyncio.to_thread(most.cost_usd)
        amount = Amount(cost or 0.0, most.tokens)
        metered.reservation = await self.budgets.reserve(spender, amount)

    async def _relay(
        self,
        asked: Asked,
        plan: Plan,
        body: CallBody,
        outgoing: Outgoing,
        metered: Metered,
        cache_key: str | None,
        send: Send,
    ) -> None:
        route = metered.route
        throttle = self._places.of(metered.spender.team, route)
        prompt_tokens = body.prompt_tokens()
        metered.is_sent = True
        async with self.upstream.reply(outgoing, route, throttle) as reply:
            kind = reply.headers.get("content-type", "")
            reader = UsageReader(plan.asked.dialect, kind, hides_usage=plan.hides_usage)
            passing = Passing(
                asked.dialect,
                reader,
                route.provider.endpoint.api_key,
                _translator(plan, body),
                keeps=cache_key is not None,
            )
            more = [(CACHE_HEADER.encode(), b"miss")] if cache_key is not None else []
            try:
                await passing.run(reply, send, more)
            finally:
                whole = passing.is_whole
                metered.used = used_by(route, reader, prompt_tokens, is_whole=whole)
                metered.error = passing.failure
                if whole or passing.failure is not None:
                    metered.status = reply.status
                if reader.reply_id is not None:
                    name = route.provider.name
                    self._replies.note(metered.spender.team, reader.reply_id, name)
        is_good = passing.is_whole and passing.failure is None and reply.status == 200
        if cache_key is not None and passing.kept is not None and is_good and self._answers:
            answer = KeptAnswer(kind, b"".join(passing.kept), metered.used)
            await self._answers.keep(cache_key, answer)

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
        for provider in self._replies.keepers(caller.team, reply_id, served):
            route = Route("", "", provider)
            outgoing = _outgoing(method, asked, headers, route, data)
            status, said = await self.upstream.get(outgoing, route, timeout_s=_STATE_TIMEOUT_S)
            if status != 404:
                await _send_whole(send, status, said)
                return
        raise Refusal(404, "not_found", f"no provider here keeps the reply {bounded(reply_id)!r}")


async def _until_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work of a request; its client going away cancels it."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.wait({working, watching})
    if not working.cancelled():
        working.result()


def _path_of(scope: Scope) -> str:
    """Return the path under the gateway's place; a version that a base URL repeats counts once."""
    raw: bytes = scope.get("raw_path") or str(scope["path"]).encode()
    path = raw.decode("latin-1").removeprefix(str(scope.get("root_path", "")))
    while path.startswith("/v1/v1"):
        path = path.removeprefix("/v1")
    return path


def _run_of(headers: Headers) -> str | None:
    """Return the run that a call says it belongs to, None where it says nothing of the kind."""
    found = normal_id(headers.get("trace-id", "")[:64])
    return found if is_id(found) else None


def _outgoing(method: str, asked: Asked, headers: Headers, route: Route, body: bytes) -> Outgoing:
    endpoint = route.provider.endpoint
    sent = asked.request_headers(headers, endpoint)
    if body:
        sent.setdefault("content-type", "application/json")
    url = asked.url(endpoint)
    return Outgoing(method, url, sent, body)


def _translator(plan: Plan, body: CallBody) -> StreamTranslator | WholeTranslator | None:
    if not plan.is_translated:
        return None
    if not body.is_stream:
        return WholeTranslator()
    held: Any = body.get("stream_options")
    options = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
    return StreamTranslator(tells_usage=bool(options.get("include_usage")))


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


async def _send_kept(metered: Metered, kept: KeptAnswer, send: Send) -> None:
    metered.is_sent = metered.is_cached = True
    metered.used, metered.status = kept.used, 200
    headers = [(b"content-type", kept.content_type.encode("latin-1", "replace"))]
    headers.append((CACHE_HEADER.encode(), b"hit"))
    await _send_whole(send, 200, kept.body, headers)


async def _send_whole(
    send: Send, status: int, body: bytes, headers: _Headers | None = None
) -> None:
    known = list(headers or [(b"content-type", b"application/json")])
    known.append((b"content-length", str(len(body)).encode()))
    await send(start_of(status, known))
    await send(part_of(body, more=False))


def _forget(row: object) -> None:
    """Note nothing."""
