"""How many calls a model gets at once, who is next, and what a pause means; time is made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from hud.models.failure import CallFailure
from hud.models.throttle import Cap, Throttle, backoff
from tests.manual_clock import ManualClock, settle

PATIENCE_S = 300.0
DEADLINE_S = 10.0
REFUSAL = CallFailure("status", "slow down", status=429)

Turn = asyncio.Task[int | None]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def throttle_of(
    clock: ManualClock, start: int = 1, maximum: int = 4096, caps: Sequence[Cap] = ()
) -> Throttle:
    return Throttle(start=start, maximum=maximum, caps=caps, clock=clock, jitter=lambda: 0.0)


def come(throttle: Throttle, patience_s: float = PATIENCE_S, ticket: int | None = None) -> Turn:
    number = throttle.draw_ticket() if ticket is None else ticket
    return asyncio.create_task(throttle.enter(number, patience_s))


async def turn_of(turn: Turn) -> int | None:
    """Return what a call waited for, or fail if it is not told soon."""
    return await asyncio.wait_for(turn, DEADLINE_S)


async def come_in(throttle: Throttle, count: int = 1) -> list[int]:
    """Return the slots of `count` calls that enter at once."""
    slots: list[int] = []
    for _ in range(count):
        slot = await turn_of(come(throttle))
        assert slot is not None
        slots.append(slot)
    return slots


async def drop(*turns: Turn) -> None:
    for turn in turns:
        turn.cancel()
    await asyncio.gather(*turns, return_exceptions=True)


async def test_beyond_the_limit_the_first_to_come_is_the_next_to_enter(clock: ManualClock) -> None:
    throttle = throttle_of(clock)
    await come_in(throttle)
    order: list[int] = []

    async def call(number: int) -> None:
        await throttle.enter(throttle.draw_ticket(), PATIENCE_S)
        order.append(number)
        throttle.leave()

    calls = [asyncio.create_task(call(number)) for number in range(5)]
    await settle()
    assert (order, throttle.in_flight, throttle.waiting) == ([], 1, 5)
    throttle.leave()
    await asyncio.wait_for(asyncio.gather(*calls), DEADLINE_S)
    assert order == [0, 1, 2, 3, 4]
    assert throttle.is_idle


async def test_a_call_that_is_sent_again_keeps_its_place_before_newer_ones(
    clock: ManualClock,
) -> None:
    throttle = throttle_of(clock)
    old = throttle.draw_ticket()
    await throttle.enter(old, PATIENCE_S)
    newer = come(throttle)
    await settle()
    again = come(throttle, ticket=old)
    await settle()
    throttle.leave()
    await settle()
    assert again.done() and not newer.done()
    await drop(newer)


async def test_a_cancelled_waiter_is_passed_over(clock: ManualClock) -> None:
    throttle = throttle_of(clock)
    await come_in(throttle)
    first, second = come(throttle), come(throttle)
    await settle()
    await drop(first)
    throttle.leave()
    assert await turn_of(second) is not None
    assert throttle.in_flight == 1


async def test_a_waiter_cancelled_in_the_moment_of_its_turn_passes_it_on(
    clock: ManualClock,
) -> None:
    throttle = throttle_of(clock)
    await come_in(throttle)
    first, second = come(throttle), come(throttle)
    await settle()
    throttle.leave()
    first.cancel()
    assert await turn_of(second) is not None
    assert first.cancelled() and throttle.in_flight == 1
    throttle.leave()
    assert throttle.is_idle


async def test_until_the_first_refusal_the_limit_doubles_per_round_trip(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=4, maximum=100)
    limits: list[float] = []
    for _ in range(6):
        slots = await come_in(throttle, int(throttle.limit))
        for slot in slots:
            throttle.succeeded(slot)
        for _ in slots:
            throttle.leave()
        limits.append(throttle.limit)
    assert limits == [8, 16, 32, 64, 100, 100]


async def test_a_limit_that_is_not_used_does_not_grow(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=10)
    for _ in range(50):
        (slot,) = await come_in(throttle)
        throttle.succeeded(slot)
        throttle.leave()
    assert throttle.limit == 10


async def test_the_refusals_of_one_round_trip_count_once(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=100)
    slots = await come_in(throttle, 100)
    for slot in slots:
        throttle.refused(slot, REFUSAL)
        throttle.leave()
    assert throttle.limit == 70


async def test_after_a_refusal_the_limit_grows_by_a_step_per_round_trip(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=40)
    slots = await come_in(throttle, 40)
    throttle.refused(slots[0], REFUSAL)
    for slot in slots[1:]:
        throttle.succeeded(slot)
    for _ in slots:
        throttle.leave()
    assert throttle.limit == 28, "what was sent before the refusal says nothing about now"
    slots = await come_in(throttle, 28)
    for slot in slots:
        throttle.succeeded(slot)
    assert 29 <= throttle.limit <= 30


async def test_what_was_in_flight_shrinks_not_a_limit_never_reached(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=4096)
    slots = await come_in(throttle, 10)
    throttle.refused(slots[0], REFUSAL)
    assert throttle.limit == 7


async def test_an_api_that_has_come_to_take_twice_as_many_is_tried_quickly_again(
    clock: ManualClock,
) -> None:
    throttle = throttle_of(clock)
    (slot,) = await come_in(throttle)
    throttle.refused(slot, REFUSAL)
    throttle.leave()
    for _ in range(8):
        slots = await come_in(throttle, int(throttle.limit))
        for slot in slots:
            throttle.succeeded(slot)
        for _ in slots:
            throttle.leave()
    assert throttle.limit == 256


async def test_nobody_enters_while_the_api_asks_to_wait(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=4)
    slots = await come_in(throttle, 2)
    throttle.refused(slots[0], REFUSAL, 30.0)
    for _ in slots:
        throttle.leave()
    turn = come(throttle)
    await clock.advance(29.9)
    assert not turn.done()
    await clock.advance(0.2)
    assert turn.done()


async def test_a_longer_pause_goes_before_a_shorter_one(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=4)
    slots = await come_in(throttle, 3)
    for slot, pause_s in zip(slots, (10.0, 20.0, 5.0), strict=True):
        throttle.refused(slot, REFUSAL, pause_s)
        throttle.leave()
    turn = come(throttle)
    await clock.advance(19.9)
    assert not turn.done()
    await clock.advance(0.2)
    assert turn.done()


async def test_after_a_pause_they_come_back_one_after_the_other(clock: ManualClock) -> None:
    throttle = Throttle(start=10, clock=clock, jitter=lambda: 0.5)
    slots = await come_in(throttle, 10)
    throttle.refused(slots[0], REFUSAL, 8.0)
    for _ in slots:
        throttle.leave()
    turns = [come(throttle) for _ in range(7)]
    await clock.advance(8.0)
    assert not any(turn.done() for turn in turns), "the pause itself is jittered, too"
    entered: list[int] = []
    while throttle.waiting:
        assert len(entered) < 100
        await clock.advance(0.15)
        entered.append(sum(turn.done() for turn in turns))
    assert entered[-1] == 7 and len(set(entered)) > 4
    await clock.advance(60)
    assert clock.armed == 0


async def test_a_pause_that_is_long_over_holds_up_nobody(clock: ManualClock) -> None:
    throttle = Throttle(start=10, clock=clock, jitter=lambda: 0.5)
    slots = await come_in(throttle, 10)
    throttle.refused(slots[0], REFUSAL, 8.0)
    for _ in slots:
        throttle.leave()
    await clock.advance(60)
    await come_in(throttle, 7)


async def test_a_pause_longer_than_anyone_is_patient_sends_all_away_at_once(
    clock: ManualClock,
) -> None:
    throttle = throttle_of(clock, start=1)
    (slot,) = await come_in(throttle)
    patient, hasty = come(throttle, 500.0), come(throttle, 100.0)
    await settle()
    throttle.refused(slot, REFUSAL, 200.0)
    throttle.leave()
    await settle()
    assert hasty.done() and hasty.result() is None
    late = come(throttle, 100.0)
    await settle()
    assert late.result() is None
    assert not patient.done()
    await clock.advance(210.0)
    assert patient.result() is not None
    assert throttle.in_flight == 1


async def test_an_api_that_refuses_everyone_is_waited_for_no_longer_than_patience(
    clock: ManualClock,
) -> None:
    throttle = throttle_of(clock, start=1)
    (slot,) = await come_in(throttle)
    waiter = come(throttle, 100.0, ticket=1000)
    for _ in range(20):
        await settle()
        throttle.refused(slot, REFUSAL, 30.0)
        throttle.leave()
        prober = come(throttle)
        await clock.advance(31.0)
        if waiter.done():
            break
        slot = await turn_of(prober)
        assert slot is not None
    assert waiter.result() is None
    assert clock.now() - 1000 < 140


async def test_waiting_for_calls_that_are_answered_has_no_limit(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=1, maximum=1)
    (slot,) = await come_in(throttle)
    waiter = come(throttle, 100.0)
    await clock.advance(500.0)
    throttle.succeeded(slot)
    throttle.leave()
    assert await turn_of(waiter) is not None


async def test_pauses_grow_while_nothing_gets_through(clock: ManualClock) -> None:
    throttle = throttle_of(clock, start=8)
    pauses: list[float] = []
    for _ in range(7):
        began = clock.now()
        turn = come(throttle)
        await settle()
        while not turn.done():
            assert clock.now() - began < 60
            await clock.advance(0.25)
        pauses.append(clock.now() - began)
        slot = await turn_of(turn)
        assert slot is not None
        throttle.refused(slot, REFUSAL)
        throttle.leave()
    assert pauses[:2] == [0, 0]
    assert pauses[2:] == [0.5, 1, 2, 4, 8]
    assert throttle.limit == 1


async def test_throttles_under_one_cap_take_turns(clock: ManualClock) -> None:
    cap = Cap(2)
    one, two = (throttle_of(clock, start=10, caps=[cap]) for _ in range(2))
    await come_in(one)
    await come_in(two)
    order: list[str] = []

    async def call(throttle: Throttle, name: str) -> None:
        await throttle.enter(throttle.draw_ticket(), PATIENCE_S)
        order.append(name)
        throttle.leave()

    calls = [asyncio.create_task(call(one, "one")) for _ in range(3)]
    calls += [asyncio.create_task(call(two, "two")) for _ in range(3)]
    await settle()
    assert order == []
    one.leave()
    await asyncio.wait_for(asyncio.gather(*calls), DEADLINE_S)
    assert order == ["one", "two", "one", "two", "one", "two"]
    two.leave()
    assert cap.in_flight == 0


async def test_a_paused_throttle_does_not_hold_up_another_under_the_same_cap(
    clock: ManualClock,
) -> None:
    cap = Cap(1)
    one, two = (throttle_of(clock, start=10, caps=[cap]) for _ in range(2))
    (slot,) = await come_in(one)
    paused, free = come(one), come(two)
    await settle()
    one.refused(slot, REFUSAL, 60.0)
    one.leave()
    await settle()
    assert free.done() and not paused.done()
    two.leave()
    await clock.advance(61)
    assert paused.done()


def test_backoff_doubles_up_to_half_a_minute_and_jitter_takes_away_up_to_half() -> None:
    assert [backoff(n, 0.0) for n in (1, 2, 3, 7, 8, 5000)] == [0.5, 1, 2, 30, 30, 30]
    assert backoff(3, 1.0) == 1


def test_an_api_that_says_when_to_come_back_is_kept_waiting_a_second_more_at_most() -> None:
    assert backoff(1, 0.0, is_told=True) == 0.05
    assert backoff(50, 0.0, is_told=True) == 1


class Traffic(RuleBasedStateMachine):
    """Two throttles under one cap, whatever happens to their calls in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.cap = Cap(6)
        self.throttles = [throttle_of(self.clock, start=4, caps=[self.cap]) for _ in range(2)]
        self.turns: list[list[Turn]] = [[], []]
        self.slots: list[list[int]] = [[], []]

    def teardown(self) -> None:
        self.loop.run_until_complete(drop(*self.turns[0], *self.turns[1]))
        self.loop.close()

    def step(self, cancelled: Turn | None = None) -> None:
        """Let all run, and note whose turn has come."""

        async def run() -> None:
            if cancelled is not None:
                cancelled.cancel()
            await settle()

        self.loop.run_until_complete(run())
        for turns, slots in zip(self.turns, self.slots, strict=True):
            for turn in [turn for turn in turns if turn.done()]:
                turns.remove(turn)
                slot = None if turn.cancelled() else turn.result()
                if slot is not None:
                    slots.append(slot)

    @rule(which=st.integers(0, 1), patience_s=st.sampled_from([5.0, PATIENCE_S]))
    def a_call_comes(self, which: int, patience_s: float) -> None:
        async def start() -> Turn:
            return come(self.throttles[which], patience_s)

        self.turns[which].append(self.loop.run_until_complete(start()))
        self.step()

    @rule(which=st.integers(0, 1), at=st.integers(0, 100))
    def a_waiter_is_cancelled(self, which: int, at: int) -> None:
        if self.turns[which]:
            self.step(self.turns[which][at % len(self.turns[which])])

    @precondition(lambda self: any(self.slots))
    @rule(
        which=st.integers(0, 1),
        at=st.integers(0, 100),
        ending=st.sampled_from(["succeeded", "refused", "failed", "cancels the next"]),
        pause_s=st.sampled_from([None, 0.0, 0.5, 8.0]),
    )
    def a_call_ends(self, which: int, at: int, ending: str, pause_s: float | None) -> None:
        which = which if self.slots[which] else 1 - which
        throttle, slots = self.throttles[which], self.slots[which]
        slot = slots.pop(at % len(slots))

        async def end() -> None:
            if ending == "succeeded":
                throttle.succeeded(slot)
            elif ending == "refused":
                throttle.refused(slot, REFUSAL, pause_s)
            throttle.leave()
            if ending == "cancels the next" and self.turns[which]:
                self.turns[which][0].cancel()

        self.loop.run_until_complete(end())
        self.step()

    @rule(seconds=st.sampled_from([0.3, 2.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))
        self.step()

    @invariant()
    def every_place_is_accounted_for(self) -> None:
        for throttle, slots in zip(self.throttles, self.slots, strict=True):
            assert throttle.in_flight == len(slots)
            assert 1 <= throttle.limit <= throttle.maximum
        assert self.cap.in_flight == sum(map(len, self.slots)) <= self.cap.size

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        for throttle, turns in zip(self.throttles, self.turns, strict=True):
            assert throttle.waiting == len(turns)
            if turns and not self.clock.armed:
                assert throttle.in_flight >= int(throttle.limit) or self.cap.is_full


Traffic.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
test_whatever_happens_no_place_is_lost_and_nobody_is_forgotten = Traffic.TestCase
