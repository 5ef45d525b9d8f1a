"""How many calls one model gets at once: as many as its API takes, and none while it asks to wait.

Slow start and additive increase, multiplicative decrease (RFC 5681's idea, with calls for
segments): every answered call makes room for one more until the API refuses one for the first
time; from then on the limit grows by a step per round trip. Who waits is woken by what happens,
first come first served. Which throttle a call goes through is `shared`; what is done about a
refused call is `calling`.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hud.models.clock import Clock, LoopClock, Timer
from hud.models.failure import CallFailure

START = 64
MAXIMUM = 4096

# The first backoff and the longest.
_WHEN_TOLD_S = (0.05, 1.0)
_WHEN_NOT_TOLD_S = (0.5, 30.0)
_KEPT_WHEN_REFUSED = 0.7
_KEPT_WHEN_NONE_PASSED = 0.5
_STEP = 0.05
# An API that takes so many times what it refused last has changed: what was learnt is forgotten.
_OUTGROWN = 2.0
_PAUSE_JITTER = 0.1
_SPREAD = 0.25
_LONGEST_SPREAD_S = 5.0
_SHORTEST_SPREAD_S = 0.02


def backoff(attempt: int, jitter: float, *, is_told: bool = False) -> float:
    """Return how long to wait after a failure, in seconds.

    Args:
        attempt: 1 for the first failure; every further one doubles the time.
        jitter: A random number of [0, 1), which takes away up to half.
        is_told: Whether the API said when to come back. It is not kept waiting much longer than
            that, but one that says "at once" over and over is not asked in a tight loop either.
    """
    first_s, longest_s = _WHEN_TOLD_S if is_told else _WHEN_NOT_TOLD_S
    return min(longest_s, first_s * 2 ** min(attempt - 1, 32)) * (1.0 - jitter / 2)


class Cap:
    """How many calls may be in flight at once over several throttles, which take turns.

    Attributes:
        size: Calls at most.
        in_flight: Calls now.
    """

    __slots__ = ("_blocked", "in_flight", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_flight = 0
        self._blocked: dict[Throttle, None] = {}

    @property
    def is_full(self) -> bool:
        """Whether another call has to wait."""
        return self.in_flight >= self.size

    def block(self, throttle: Throttle) -> None:
        """Let `throttle` serve who waits there as soon as there is room."""
        self._blocked[throttle] = None

    def take(self) -> None:
        """Count a call that starts."""
        self.in_flight += 1

    def give_back(self) -> None:
        """Count a call that ended, and pass its room on to the throttle that waits longest."""
        self.in_flight -= 1
        while self._blocked and not self.is_full:
            throttle = next(iter(self._blocked))
            del self._blocked[throttle]
            throttle.serve()


@dataclass(slots=True, order=True)
class _Waiter:
    ticket: int
    arrived: float = field(compare=False)
    patience_s: float = field(compare=False)
    turn: asyncio.Future[int | None] = field(compare=False)


class Throttle:
    """The limit of one model behind one address, on one event loop.

    A call enters, is sent, reports `succeeded` or `refused`, and leaves:

        slot = await throttle.enter(throttle.draw_ticket(), patience_s=300)
        try:
            …
            throttle.succeeded(slot)
        finally:
            throttle.leave()

    Args:
        start: The limit to begin with.
        maximum: The limit at most.
        caps: Shared with other throttles; a call needs room in each.
        jitter: Gives random numbers of [0, 1).

    Attributes:
        limit: Calls at once as of now; grows by fractions.
        in_flight: Calls that entered and have not left.
        refusal: The latest one.
    """

    def __init__(
        self,
        *,
        start: int = START,
        maximum: int = MAXIMUM,
        caps: Sequence[Cap] = (),
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.maximum = maximum
        self.limit: float = min(start, maximum)
        self.in_flight = 0
        self.clock: Clock = clock or LoopClock()
        self.jitter = jitter
        self.refusal: CallFailure | None = None
        self._caps = tuple(caps)
        self._queue: list[_Waiter] = []
        self._tickets = 0
        # A slot is the number of decreases before its call was sent: what was sent before the
        # latest decrease says nothing about the limit since then.
        self._decreases = 0
        self._peak = 0
        self._slow_start_until = float("inf")
        self._in_vain = 0
        self._refusing_since: float | None = None
        # Nobody enters before this moment: the end of a pause, then the next turn after it.
        self._next_turn = 0.0
        self._spread_turns = 0
        self._spread_s = 0.0
        self._swept_until = 0.0
        self._timer: Timer | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return sum(not waiter.turn.done() for waiter in self._queue)

    @property
    def is_idle(self) -> bool:
        """Whether no call is in flight or waits, and no pause is on."""
        return not self.in_flight and not self._queue and self._pause_left() <= 0

    def draw_ticket(self) -> int:
        """Return a place in the order of turns; a call keeps its own when it is sent again."""
        self._tickets += 1
        return self._tickets

    async def enter(self, ticket: int, patience_s: float) -> int | None:
        """Wait until the call may be sent and return its slot, to be given back by `leave`.

        A cancelled call gives its turn to the next one.

        Args:
            patience_s: How long to wait for an API that refuses everyone. Waiting for calls that
                are answered has no limit.

        Returns:
            None when the API asks for more patience than that: the call has not entered.
        """
        if not self._queue and self._may_enter():
            self._take()
            return self._decreases
        if self._pause_left() > patience_s:
            return None
        turn: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, _Waiter(ticket, self.clock.now(), patience_s, turn))
        self.serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result() is not None:
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place of one call that entered to the next."""
        self.in_flight -= 1
        for cap in self._caps:
            cap.give_back()
        self.serve()

    def succeeded(self, slot: int) -> None:
        """Take note that the call in `slot`, still in flight, was answered."""
        self._refusing_since = None
        if slot != self._decreases:
            return
        self._in_vain = 0
        is_used = self._queue or self.in_flight * 2 >= self.limit
        if not is_used or self.limit >= self.maximum:
            return
        if self.limit >= self._slow_start_until * _OUTGROWN:
            self._slow_start_until = float("inf")
        if self.limit < self._slow_start_until:
            self.limit += 1
        else:
            self.limit += max(1.0, self._slow_start_until * _STEP) / self.limit
        self.limit = min(self.limit, self.maximum)

    def answered(self) -> None:
        """Take note that a call failed for a reason of its own: the API does answer."""
        self._refusing_since = None

    def refused(self, slot: int, failure: CallFailure, pause_s: float | None = None) -> None:
        """Take note that the call in `slot`, still in flight, was one too many.

        The limit shrinks once per round trip. When nothing gets through at all, the pauses grow.

        Args:
            pause_s: How long the API asks everyone to wait, in seconds.
        """
        now = self.clock.now()
        self.refusal = failure
        if self._refusing_since is None:
            self._refusing_since = now
        pause = pause_s or 0.0
        if slot == self._decreases:
            self._shrink()
            if self._in_vain > 1:
                is_told = pause_s is not None
                own = backoff(self._in_vain - 1, self.jitter(), is_told=is_told)
                pause = max(pause, own)
        if pause > 0:
            self._pause(now, pause)

    def serve(self) -> None:
        """Let in as many as may enter now, first come first served."""
        while self._queue:
            if self._queue[0].turn.done():
                heapq.heappop(self._queue)
                continue
            if not self._may_enter():
                return
            waiter = heapq.heappop(self._queue)
            self._take()
            waiter.turn.set_result(self._decreases)

    def _may_enter(self) -> bool:
        """Tell whether one more may enter; if not, make sure that `serve` is called when it may."""
        if self.in_flight >= int(self.limit):
            return False
        if self._next_turn:
            left = self._pause_left()
            if left > 0:
                if self._timer is None:
                    self._timer = self.clock.call_later(left, self._timer_fired)
                return False
            self._next_turn = 0.0
            if left < -_LONGEST_SPREAD_S:
                self._spread_turns = 0
        for cap in self._caps:
            if cap.is_full:
                cap.block(self)
                return False
        return True

    def _take(self) -> None:
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)
        for cap in self._caps:
            cap.take()
        if self._spread_turns:
            self._spread_turns -= 1
            self._next_turn = self.clock.now() + self._spread_s * 2 * self.jitter()

    def _timer_fired(self) -> None:
        self._timer = None
        self.serve()

    def _shrink(self) -> None:
        self._decreases += 1
        self._in_vain += 1
        # What was never used up says nothing about what the API takes.
        used = min(self.limit, self._peak)
        self._peak = self.in_flight
        if self._in_vain == 1:
            self.limit = self._slow_start_until = max(1.0, used * _KEPT_WHEN_REFUSED)
        else:
            self.limit = max(1.0, used * _KEPT_WHEN_NONE_PASSED)

    def _pause(self, now: float, pause_s: float) -> None:
        until = now + pause_s * (1.0 + _PAUSE_JITTER * self.jitter())
        if until <= self._next_turn:
            return
        self._next_turn = until
        spread_s = min(_LONGEST_SPREAD_S, pause_s * _SPREAD)
        self._spread_turns = int(self.limit) if spread_s >= _SHORTEST_SPREAD_S else 0
        self._spread_s = spread_s / self.limit
        self._dismiss(until)

    def _dismiss(self, until: float) -> None:
        """Send away who has not the patience to wait for an API that takes nobody before then."""
        since = self._refusing_since
        if since is None or until < self._swept_until + 1.0:
            return
        self._swept_until = until
        for waiter in self._queue:
            patient_until = max(waiter.arrived, since) + waiter.patience_s
            if patient_until < until and not waiter.turn.done():
                waiter.turn.set_result(None)

    def _pause_left(self) -> float:
        return self._next_turn - self.clock.now() if self._next_turn else 0.0
