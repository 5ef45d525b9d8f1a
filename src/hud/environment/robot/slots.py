"""Slots: the places of one simulation, each claimed by one episode and driven by one agent."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

from hud._core.errors import HudError, bounded


class Peer(Protocol):
    """The agent's connection, as a slot needs it."""

    def send(self, message: bytes | str) -> None: ...

    def close(self, code: int = 1000, reason: str = "") -> None: ...

    @property
    def is_congested(self) -> bool: ...


class NoSlot(HudError):
    """No slot can be had, or a token names none."""

    code = "no_slot"


@dataclass(slots=True, eq=False)
class Slot:
    """One place.

    Attributes:
        token: Names the episode that holds it; None while free.
        peer: The agent's connection, or None while none is bound.
        queue: Actions `[D]` still to be carried out.
        is_over: Whether its episode has ended (terminated or truncated).
        has_drifted: Whether the simulation moved on with others before this slot's first action.
        ticks: Steps since its reset: the index of the newest observation.
        owed: Whether the agent awaits an observation.
        last: The action carried out last.
        delay: Ticks that had passed when the last chunk came (realtime).
        arguments: What its episode was reset with.
    """

    index: int
    token: str | None = None
    peer: Peer | None = None
    queue: deque[Any] = field(default_factory=deque[Any])
    is_over: bool = False
    is_frozen: bool = False
    has_drifted: bool = False
    ticks: int = 0
    owed: bool = False
    delay: int = 0
    last: Any = None
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def is_live(self) -> bool:
        """Whether an agent is there that may act: what a tick waits for."""
        return self.peer is not None and not self.is_over and not self.is_frozen

    @property
    def is_ready(self) -> bool:
        return self.is_live and bool(self.queue)

    def take(self, arguments: dict[str, Any]) -> str:
        """Claim it for a new episode and return the token."""
        self.token = f"slot-{self.index}-{secrets.token_urlsafe(16)}"
        self.arguments = arguments
        self.restart()
        return self.token

    def restart(self) -> None:
        """Forget what the episode before did."""
        self.queue.clear()
        self.is_over = self.is_frozen = self.has_drifted = self.owed = False
        self.ticks = self.delay = 0
        self.last = None

    def cut(self, reason: str) -> None:
        """End the agent's connection and forget what it still wanted done."""
        peer, self.peer = self.peer, None
        self.queue.clear()
        self.owed = False
        if peer is not None:
            peer.close(1000, reason)


class SlotTable:
    """All slots of one simulation."""

    def __init__(self, count: int) -> None:
        self.slots = [Slot(index) for index in range(count)]

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def claimed(self) -> list[Slot]:
        return [slot for slot in self.slots if slot.token is not None]

    def free(self) -> Slot | None:
        """Return a slot nobody holds."""
        return next((slot for slot in self.slots if slot.token is None), None)

    def find(self, token: object) -> Slot:
        """Return the slot of a token; None names the only claimed one.

        Raises:
            NoSlot: when there is none, or None could mean several.
        """
        held = self.claimed
        if token is None:
            if len(held) == 1:
                return held[0]
            if not held:
                raise NoSlot("no slot is claimed", hint="an episode begins with reset()")
            raise NoSlot(
                f"{len(held)} slots are claimed, so a token is needed",
                hint="pass the token that reset() returned, from the task's bindings",
            )
        if isinstance(token, str):
            for slot in held:
                assert slot.token is not None
                if secrets.compare_digest(slot.token.encode(), token.encode()):
                    return slot
        raise NoSlot(f"no slot has the token {bounded(token, 40)}")
