"""One call of a model, from its body to its account: routed, let in, passed on, noted.

Who calls is `app`'s part, how a provider is asked is `plan` and `upstream`, how its answer comes
through is `relay`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

from hud._core.http_sockets import Send
from hud._core.ids import is_id, normal_id
from hud.models.asgi import Refusal, part_of, start_of
from hud.models.passed_on import Outgoing, RefusedByApi
from hud.models.usage import UsageReader
from hud.models.wire import Asked, Headers
from hud.platform.database import Database
from hud.platform.gateway.answers import HEADER as CACHE_HEADER
from hud.platform.gateway.answers import Answers, KeptAnswer, wants_cache
from hud.platform.gateway.budgets import Amount, Budgets, Spender
from hud.platform.gateway.call_body import CallBody
from hud.platform.gateway.directory import Directory
from hud.platform.gateway.kept_replies import KeptReplies
from hud.platform.gateway.metering import Metered
from hud.platform.gateway.places import Places
from hud.platform.gateway.plan import Plan, plan_call
from hud.platform.gateway.refusals import told
from hud.platform.gateway.relay import Passing, StreamTranslator, WholeTranslator
from hud.platform.gateway.run_jobs import RunJobs
from hud.platform.gateway.served import Route
from hud.platform.gateway.upstream import Upstream
from hud.platform.gateway.usage_log import UsageLog
from hud.platform.gateway.used import used_at_most, used_by, used_unanswered
from hud.platform.identity import Caller


class ModelCalls:
    """Makes the calls of one process. Belongs to one event loop.

    Attributes:
        budgets: Who may still spend.
        replies: Which provider keeps which reply.
    """

    def __init__(
        self,
        database: Database,
        directory: Directory,
        upstream: Upstream,
        usage: UsageLog,
        answers: Answers | None,
    ) -> None:
        self.budgets = Budgets(database, usage.flush)
        self.replies = KeptReplies()
        self._directory = directory
        self._upstream = upstream
        self._usage = usage
        self._answers = answers
        self._jobs = RunJobs(database)
        self._places = Places()
        # The first look at a price loads them all, which takes a tenth of a second.
        self._has_prices = False

    async def route(self, team: str, name: str) -> Route:
        """Return where a team's calls to a model go.

        Raises:
            Refusal: as `Served.resolve`.
        """
        served = await self._directory.served(team)
        try:
            return served.resolve(name)
        except Refusal as refusal:
            if refusal.status != 404:
                raise
        return (await self._directory.served(team, newest=True)).resolve(name)

    async def answer(
        self, asked: Asked, headers: Headers, caller: Caller, data: bytes, send: Send
    ) -> None:
        """Answer a request that names a model."""
        body = CallBody(data)
        name = asked.model_in({"model": body.get("model")})
        if name is None:
            raise Refusal(400, "invalid_request", "the request names no model")
        route = await self.route(caller.team, name)
        plan = plan_call(asked, body, route)
        outgoing = outgoing_for("POST", plan.asked, headers, route, plan.body)
        spender = Spender(caller.team, caller.key_id, None, _run_of(headers))
        metered = Metered(route, spender, asked.dialect, self._usage.add)
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
        except RefusedByApi as refused:
            metered.status, metered.error = refused.status, refused.failure.detail
            metered.used = None
            status, more, said = told(refused, asked, plan, route)
            await send_whole(send, status, said, more)
        except Refusal as refusal:
            metered.status, metered.error, metered.used = refusal.status, refusal.message, None
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
        if self._has_prices:
            cost = most.cost_usd()
        else:
            cost = await asyncio.to_thread(most.cost_usd)
            self._has_prices = True
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

        def asked_now() -> None:
            metered.used = used_unanswered(route, prompt_tokens)

        async with self._upstream.reply(outgoing, route, throttle, asked_now) as reply:
            kind = reply.headers.get("content-type", "")
            reader = UsageReader(plan.asked.dialect, kind, hides_usage=plan.hides_usage)

            async def keep(body: bytes) -> None:
                if cache_key is not None and self._answers is not None:
                    used = used_by(
                        route,
                        reader,
                        prompt_tokens,
                        is_whole=True,
                        has_answer=asked.kind != "embed",
                    )
                    await self._answers.keep(cache_key, KeptAnswer(kind, body, used))

            passing = Passing(
                asked.dialect,
                reader,
                route.provider.endpoint.api_key,
                _translator(plan, body),
                keep if cache_key is not None and reply.status == 200 else None,
            )
            more = [(CACHE_HEADER.encode(), b"miss")] if cache_key is not None else []
            try:
                await passing.run(reply, send, more)
            finally:
                whole = passing.is_whole
                metered.used = used_by(
                    route,
                    reader,
                    prompt_tokens,
                    is_whole=whole,
                    has_answer=asked.kind != "embed",
                )
                metered.error = passing.failure
                if whole or passing.failure is not None:
                    metered.status = reply.status
                if reader.reply_id is not None:
                    name = route.provider.name
                    self.replies.note(metered.spender.team, reader.reply_id, name)


def outgoing_for(
    method: str, asked: Asked, headers: Headers, route: Route, body: bytes
) -> Outgoing:
    """Return a request to a provider, with its own key and the client's harmless headers."""
    endpoint = route.provider.endpoint
    sent = asked.request_headers(headers, endpoint)
    if body:
        sent.setdefault("content-type", "application/json")
    url = asked.url(endpoint)
    return Outgoing(method, url, sent, body)


async def send_whole(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Send a response whose size is known; JSON unless the headers say otherwise."""
    known = list(headers or [(b"content-type", b"application/json")])
    known.append((b"content-length", str(len(body)).encode()))
    await send(start_of(status, known))
    await send(part_of(body, more=False))


async def _send_kept(metered: Metered, kept: KeptAnswer, send: Send) -> None:
    metered.is_sent = metered.is_cached = True
    metered.used, metered.status = kept.used, 200
    headers = [(b"content-type", kept.content_type.encode("latin-1", "replace"))]
    headers.append((CACHE_HEADER.encode(), b"hit"))
    await send_whole(send, 200, kept.body, headers)


def _run_of(headers: Headers) -> str | None:
    """Return the run that a call says it belongs to, None where it says nothing of the kind."""
    found = normal_id(headers.get("trace-id", "")[:64])
    return found if is_id(found) else None


def _translator(plan: Plan, body: CallBody) -> StreamTranslator | WholeTranslator | None:
    if not plan.is_translated:
        return None
    if not body.is_stream:
        return WholeTranslator()
    held: Any = body.get("stream_options")
    options = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
    return StreamTranslator(tells_usage=bool(options.get("include_usage")))


def _forget(row: object) -> None:
    """Note nothing."""
