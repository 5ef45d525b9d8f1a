"""One call from its question to its answer: refusals, failures, patience, and known answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from hud._core import json
from hud._core.errors import ModelFault
from hud.models.cache import ResponseCache
from hud.models.calling import Answered, ModelCall, ask
from hud.models.endpoint import Endpoint
from hud.models.failure import CallFailure, ContextOverflow, retry_after
from hud.models.shared import limit_concurrency
from hud.models.throttle import Throttle
from hud.testing.chat_server import ChatError, ChatReply, ChatServer
from hud.trace.clock import micros
from tests.manual_clock import ManualClock, settle

CALL = ModelCall(Endpoint("http://127.0.0.1:9/v1", "sk-secret"), "m", "chat", {"messages": ["hi"]})
REPLY = {"id": "r-1"}
DEADLINE_S = 60.0

Outcome = dict[str, Any] | Exception


class Failed(Exception):
    def __init__(self, failure: CallFailure) -> None:
        self.failure = failure


def status(code: int, retry_after_s: float | None = None, name: str | None = None) -> Failed:
    failure = CallFailure("status", "no", status=code, code=name, retry_after_s=retry_after_s)
    return Failed(failure)


UNREACHABLE = Failed(CallFailure("unreachable", "Connection refused"))


def read(error: Exception) -> CallFailure | None:
    return error.failure if isinstance(error, Failed) else None


class Api:
    """Answers what it is told to, one after the other, and the last for ever."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes) or [REPLY]
        self.sent = 0

    async def send(self) -> dict[str, Any]:
        outcome = self.outcomes[min(self.sent, len(self.outcomes) - 1)]
        self.sent += 1
        await asyncio.sleep(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HUD_MODEL_CONCURRENCY", "HUD_MODEL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def throttle(clock: ManualClock) -> Throttle:
    return Throttle(start=64, clock=clock, jitter=lambda: 0.0)


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "replies")


async def test_an_answer_comes_with_how_it_came_to_be() -> None:
    answered = await ask(CALL, Api().send, read)
    assert (answered.body, answered.is_cached, answered.attempts) == (REPLY, False, 1)
    assert micros(answered.started_at) <= micros(answered.ended_at)


async def test_what_may_pass_is_tried_again_so_often(
    clock: ManualClock, throttle: Throttle
) -> None:
    api = Api(UNREACHABLE, status(500), REPLY)
    answered = await clock.run(ask(CALL, api.send, read, retries=2, throttle=throttle))
    assert (answered.body, answered.attempts, answered.waited_s) == (REPLY, 3, 1.5)
    api = Api(UNREACHABLE)
    with pytest.raises(ModelFault, match="cannot be reached"):
        await clock.run(ask(CALL, api.send, read, retries=2, throttle=throttle))
    assert api.sent == 3
    assert throttle.is_idle


@pytest.mark.parametrize("code", [400, 401, 404])
async def test_what_will_not_pass_fails_at_once(code: int) -> None:
    api = Api(status(code))
    with pytest.raises(ModelFault, match=f"answered status {code}"):
        await ask(CALL, api.send, read)
    assert api.sent == 1


async def test_a_quota_that_is_used_up_is_not_waited_for() -> None:
    api = Api(status(429, name="insufficient_quota"))
    with pytest.raises(ModelFault):
        await ask(CALL, api.send, read)
    assert api.sent == 1


async def test_a_conversation_too_long_is_told_as_such() -> None:
    with pytest.raises(ContextOverflow):
        await ask(CALL, Api(status(400, name="context_length_exceeded")).send, read)


async def test_an_exception_that_is_no_failed_call_is_raised_as_it_is(throttle: Throttle) -> None:
    with pytest.raises(ZeroDivisionError):
        await ask(CALL, Api(ZeroDivisionError()).send, read, throttle=throttle)
    assert throttle.is_idle


async def test_being_asked_to_wait_uses_up_no_retries(
    clock: ManualClock, throttle: Throttle
) -> None:
    api = Api(*[status(529) for _ in range(9)], REPLY)
    answered = await clock.run(ask(CALL, api.send, read, retries=1, throttle=throttle))
    assert answered.attempts == 10


async def test_without_retries_a_call_is_sent_once_whatever_comes() -> None:
    for outcome in (status(429), status(503, 5.0), UNREACHABLE):
        api = Api(outcome)
        with pytest.raises(ModelFault):
            await ask(CALL, api.send, read, retries=0, throttle=Throttle())
        assert api.sent == 1


async def test_the_wait_an_api_asks_for_is_kept(clock: ManualClock, throttle: Throttle) -> None:
    sent_at: list[float] = []
    api = Api(status(429, 7.0), status(429, 20.0), REPLY)

    async def send() -> dict[str, Any]:
        sent_at.append(clock.now())
        return await api.send()

    answered = await clock.run(ask(CALL, send, read, throttle=throttle))
    assert sent_at == [1000, 1007, 1027]
    assert answered.waited_s == pytest.approx(27)


async def test_one_refusal_makes_everyone_wait(clock: ManualClock, throttle: Throttle) -> None:
    refused = Api(status(429, 30.0), REPLY)
    first = asyncio.create_task(ask(CALL, refused.send, read, throttle=throttle))
    await settle()
    other = Api()
    second = asyncio.create_task(ask(CALL, other.send, read, throttle=throttle))
    await clock.advance(29)
    assert (refused.sent, other.sent) == (1, 0)
    await clock.advance(60)
    assert (await first).attempts == 2
    assert (await second).waited_s >= 30


async def test_a_storm_that_outlasts_patience_is_a_fault_that_says_so(
    clock: ManualClock, throttle: Throttle
) -> None:
    began = clock.now()
    api = Api(status(429, 10.0))
    with pytest.raises(ModelFault, match=r"status 429 .*waited \d+ s, attempts: \d+") as caught:
        await clock.run(ask(CALL, api.send, read, throttle=throttle, patience_s=100))
    assert "asks to wait 10 s more" in caught.value.message
    assert 85 <= clock.now() - began <= 101
    assert 9 <= api.sent <= 12
    assert throttle.in_flight == 0


async def test_a_storm_without_a_time_is_backed_off_from(
    clock: ManualClock, throttle: Throttle
) -> None:
    began = clock.now()
    api = Api(status(503))
    with pytest.raises(ModelFault):
        await clock.run(ask(CALL, api.send, read, throttle=throttle))
    assert 200 <= clock.now() - began <= 300
    assert 8 <= api.sent <= 18


async def test_a_wait_longer_than_patience_fails_at_once_and_holds_up_nobody_else(
    clock: ManualClock, throttle: Throttle
) -> None:
    with pytest.raises(ModelFault, match="asks to wait 3600 s more"):
        await ask(CALL, Api(status(429, 3600.0)).send, read, throttle=throttle)
    assert (await ask(CALL, Api().send, read, throttle=throttle)).waited_s == 0
    assert clock.now() == 1000


async def test_a_thousand_calls_outlast_a_storm(clock: ManualClock, throttle: Throttle) -> None:
    sent = 0

    async def send() -> dict[str, Any]:
        nonlocal sent
        sent += 1
        await asyncio.sleep(0)
        if clock.now() < 1120:
            raise status(429, 2.0)
        return REPLY

    async def storm() -> list[Answered]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ask(CALL, send, read, throttle=throttle)) for _ in range(1000)
            ]
        return [task.result() for task in tasks]

    answered = await clock.run(storm())
    assert len(answered) == 1000
    assert sent < 1300, "the API was hardly asked while it refused"
    assert clock.now() < 1000 + 300


async def test_calls_that_never_got_their_turn_in_a_storm_fail_with_its_reason(
    clock: ManualClock,
) -> None:
    narrow = Throttle(start=1, maximum=1, clock=clock, jitter=lambda: 0.0)
    api = Api(status(529, 20.0))

    async def storm() -> list[BaseException | Answered]:
        calls = [ask(CALL, api.send, read, throttle=narrow, patience_s=100) for _ in range(50)]
        return await asyncio.gather(*calls, return_exceptions=True)

    outcomes = await clock.run(storm())
    assert all(isinstance(outcome, ModelFault) for outcome in outcomes)
    assert any("attempts: 0," in str(outcome) for outcome in outcomes)
    assert all("status 529" in str(outcome) for outcome in outcomes)
    assert clock.now() - 1000 < 130
    assert api.sent < 20


@pytest.mark.parametrize("moment", ["sending", "pausing", "waiting"])
async def test_a_cancelled_call_leaves_its_place(clock: ManualClock, moment: str) -> None:
    narrow = Throttle(start=1, maximum=1, clock=clock, jitter=lambda: 0.0)
    hold = asyncio.Event()

    async def hang() -> dict[str, Any]:
        await hold.wait()
        return REPLY

    sends: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "sending": hang,
        "pausing": Api(status(500)).send,
        "waiting": Api().send,
    }
    holder = None
    if moment == "waiting":
        holder = asyncio.create_task(ask(CALL, hang, read, throttle=narrow))
        await settle()
    task = asyncio.create_task(ask(CALL, sends[moment], read, throttle=narrow))
    await settle()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hold.set()
    if holder is not None:
        await holder
    assert narrow.is_idle
    assert (await ask(CALL, Api().send, read, throttle=narrow)).body == REPLY


async def test_a_limit_of_the_whole_job_is_kept() -> None:
    limit_concurrency(3)
    in_flight, most = 0, 0

    async def send() -> dict[str, Any]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return REPLY

    calls = [replace(CALL, model=f"m{number % 5}") for number in range(60)]
    await asyncio.gather(*[ask(call, send, read) for call in calls])
    assert most == 3


async def test_a_known_answer_makes_no_call(cache: ResponseCache) -> None:
    first = await ask(CALL, Api().send, read, cache=cache)
    api = Api({"id": "another"})
    again = await ask(CALL, api.send, read, cache=ResponseCache(cache.folder))
    assert (first.is_cached, again.is_cached) == (False, True)
    assert (again.body, again.attempts, api.sent) == (first.body, 0, 0)
    assert micros(again.started_at) <= micros(again.ended_at)
    repeat = await ask(replace(CALL, repeat=1), api.send, read, cache=cache)
    assert repeat.body == {"id": "another"}


async def test_the_variable_turns_the_cache_on_and_an_argument_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_MODEL_CACHE", "1")
    api = Api()
    assert [(await ask(CALL, api.send, read)).is_cached for _ in range(3)] == [False, True, True]
    assert not (await ask(CALL, api.send, read, cache=False)).is_cached
    assert api.sent == 2
    assert len(list((tmp_path / "home" / "cache" / "models").rglob("*.json"))) == 1


@pytest.mark.parametrize(
    "reply",
    [{"error": {"message": "no"}}, {"status": "failed"}, {"type": "error"}, {"choices": []}],
)
async def test_a_reply_that_is_no_answer_is_given_but_not_kept(
    cache: ResponseCache, reply: dict[str, Any]
) -> None:
    api = Api(reply, REPLY)
    assert (await ask(CALL, api.send, read, cache=cache)).body == reply
    assert (await ask(CALL, api.send, read, cache=cache)).body == REPLY


async def test_a_reply_that_cannot_be_read_is_not_kept(cache: ResponseCache) -> None:
    def check(body: dict[str, Any]) -> None:
        if "id" not in body:
            raise ModelFault("no id")

    api = Api({"html": "<p>"}, REPLY)
    with pytest.raises(ModelFault, match="no id"):
        await ask(CALL, api.send, read, cache=cache, check=check)
    assert (await ask(CALL, api.send, read, cache=cache, check=check)).body == REPLY
    assert (await ask(CALL, api.send, read, cache=cache, check=check)).is_cached


async def test_a_failure_is_not_kept(cache: ResponseCache) -> None:
    api = Api(status(401), REPLY)
    with pytest.raises(ModelFault):
        await ask(CALL, api.send, read, cache=cache)
    assert (await ask(CALL, api.send, read, cache=cache)).body == REPLY


class Held(Api):
    """Holds every answer back until told."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__(*outcomes)
        self.arrived = asyncio.Event()
        self.go = asyncio.Event()
        self.asker: asyncio.Task[Any] | None = None

    async def send(self) -> dict[str, Any]:
        self.asker = self.asker or asyncio.current_task()
        self.arrived.set()
        await self.go.wait()
        return await super().send()


async def together(api: Held, cache: ResponseCache, count: int = 5) -> list[asyncio.Task[Answered]]:
    """Ask the same so often; return when the first call is out and the others wait for it."""
    tasks = [asyncio.create_task(ask(CALL, api.send, read, cache=cache)) for _ in range(count)]
    await asyncio.wait_for(api.arrived.wait(), DEADLINE_S)
    # Their keys are made in threads; one of them being through says nothing about the others.
    await asyncio.gather(*[asyncio.to_thread(CALL.key) for _ in range(64)])
    return tasks


async def test_the_same_question_asked_at_once_is_one_call(cache: ResponseCache) -> None:
    api = Held()
    tasks = await together(api, cache)
    api.go.set()
    answers = await asyncio.gather(*tasks)
    assert api.sent == 1
    assert Counter(answer.is_cached for answer in answers) == {False: 1, True: 4}
    bodies = [answer.body for answer in answers]
    assert bodies == [REPLY] * 5
    assert len({id(body) for body in bodies}) == 5, "each may change its own"


async def test_when_the_first_fails_the_others_ask_themselves(cache: ResponseCache) -> None:
    api = Held(status(401), REPLY)
    tasks = await together(api, cache)
    api.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, ModelFault) for outcome in outcomes) == 1
    assert api.sent == 5
    assert cache.size().entries == 1


async def test_when_the_first_is_cancelled_one_other_takes_its_place(cache: ResponseCache) -> None:
    api = Held()
    tasks = await together(api, cache)
    assert api.asker is not None
    api.asker.cancel()
    api.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 1
    assert api.sent == 1


async def test_a_cancelled_follower_takes_nobody_along(cache: ResponseCache) -> None:
    api = Held()
    tasks = await together(api, cache)
    next(task for task in tasks if task is not api.asker).cancel()
    api.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, Answered) for outcome in outcomes) == 4
    assert api.sent == 1


class QuickClock:
    """Real time, a hundred times as fast."""

    def now(self) -> float:
        return asyncio.get_running_loop().time() * 100

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay_s / 100, callback)


def read_openai(error: Exception) -> CallFailure | None:
    if isinstance(error, openai.APIStatusError):
        told = retry_after(error.response.headers)
        return CallFailure(
            "status", error.message, error.status_code, error.code, retry_after_s=told
        )
    return None


@pytest.mark.parametrize(
    ("code", "headers"),
    [(429, {"Retry-After": "0"}), (429, {"Retry-After": "1"}), (503, {}), (529, {})],
)
async def test_a_storm_of_refusals_on_the_wire_ends_in_answers(
    code: int, headers: dict[str, str]
) -> None:
    refusals_left = 80

    def rule(request: dict[str, Any]) -> ChatReply | ChatError:
        nonlocal refusals_left
        if refusals_left:
            refusals_left -= 1
            return ChatError(code, "slow down", "rate_limit_exceeded", headers)
        return ChatReply(request["messages"][0]["content"])

    throttle = Throttle(clock=QuickClock())
    async with (
        ChatServer(rule) as server,
        AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0) as client,
    ):

        async def question(number: int) -> str:
            async def send() -> dict[str, Any]:
                reply = await client.chat.completions.with_raw_response.create(
                    model="m", messages=[{"role": "user", "content": str(number)}]
                )
                return json.decode(reply.http_response.content)

            call = ModelCall(Endpoint(server.base_url, "any"), "m", "chat", {"number": number})
            answered = await ask(call, send, read_openai, throttle=throttle, patience_s=3000)
            return answered.body["choices"][0]["message"]["content"]

        async with asyncio.timeout(DEADLINE_S):
            answers = await asyncio.gather(*[question(number) for number in range(50)])
    assert answers == [str(number) for number in range(50)]
    assert throttle.in_flight == 0
