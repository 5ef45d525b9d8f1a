"""Which screens a run has, and showing one of them to whoever may look.

What is shown is held here: by a lease, or by a rollout of this process. Whoever looks has a
connection of their own, which the rollout does not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

from starlette.websockets import WebSocket, WebSocketDisconnect

from hud._core.errors import HudError, bounded
from hud._core.redact import redact
from hud.clients.client import HudClient
from hud.clients.connect import connect
from hud.platform.errors import ApiError
from hud.platform.leases.lending import Leases
from hud.platform.screens.browser import show_browser
from hud.platform.screens.desktop import show_desktop
from hud.platform.screens.placed import PlacedRuns, Standing
from hud.platform.screens.view_only import Rude
from hud.platform.screens.viewer import Left, Slow, Viewer
from hud.platform.websockets import close
from hud.protocol.capability import Capability
from hud.runtimes.base import Runtime

Kind = Literal["desktop", "browser"]
KINDS: dict[str, Kind] = {"rfb": "desktop", "cdp": "browser"}
"""What can be shown, by the family of its protocol, the best first."""

ENDED, REFUSED, SLOW, UNREACHED = 4410, 1008, 4408, 4404
"""Close codes: the rollout let its environment go; the viewer may not, or said what no viewer says;
the viewer did not keep up; there is nothing to show just now."""

_READY_S = 8.0
_LOOK_S = 30.0


@dataclass(frozen=True, slots=True)
class Screen:
    """A capability that can be looked at."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class ShowingLimits:
    """How many look at a time, at one run and at all of a server's."""

    per_run: int = 6
    on_server: int = 60


class Screens:
    """What one server process shows. For one event loop."""

    def __init__(
        self, placed: PlacedRuns, leases: Leases, limits: ShowingLimits | None = None
    ) -> None:
        self.limits = limits or ShowingLimits()
        self._placed = placed
        self._leases = leases
        self._viewers: Counter[tuple[str, str]] = Counter()
        self._asking = WeakValueDictionary[str, asyncio.Lock]()

    async def find(self, team: str, run_id: str) -> Standing | None:
        """Return where a run of the team stands, None when that is not here or not yet."""
        if (found := self._placed.find(team, run_id)) is not None:
            return found
        lease = self._leases.of_run(team, run_id)
        if lease is None or lease.state != "ready" or lease.over.done():
            return None
        return Standing(await lease.place(), lease.over)

    def is_starting(self, team: str, run_id: str) -> bool:
        """Tell whether an environment is being made for a run of the team."""
        if self._placed.is_starting(team, run_id):
            return True
        lease = self._leases.of_run(team, run_id)
        return lease is not None and lease.state == "starting"

    async def list(self, standing: Standing) -> list[Screen]:
        """Return what can be looked at, the best first.

        However many ask, an environment is asked by one of them at a time.

        Raises:
            RuntimeFault, EnvironmentFault: when the environment does not answer.
        """
        turn = self._asking.setdefault(standing.place.url, asyncio.Lock())
        async with turn, connect(_near(standing.place)) as client:
            return _screens(client)

    @contextlib.contextmanager
    def viewing(self, team: str, run_id: str) -> Generator[None]:
        """Count a viewer while the block runs.

        Raises:
            ApiError: with status 429, when too many look already.
        """
        key, limits = (team, run_id), self.limits
        if self._viewers[key] >= limits.per_run or self._viewers.total() >= limits.on_server:
            raise ApiError(429, "too many look at screens already", kind="too_many")
        self._viewers[key] += 1
        try:
            yield
        finally:
            self._viewers[key] -= 1
            if not self._viewers[key]:
                del self._viewers[key]

    async def show(
        self,
        websocket: WebSocket,
        standing: Standing,
        name: str | None,
        may_look: Callable[[], Awaitable[bool]],
    ) -> None:
        """Show a screen on an accepted WebSocket until somebody is gone, and say who.

        Args:
            name: Of its capability; None for the first screen there is.
            may_look: Asked now and then whether the viewer still may.
        """
        viewer = Viewer(websocket)
        ways = [
            asyncio.create_task(_show(standing, name, viewer)),
            asyncio.create_task(viewer.pump()),
            asyncio.create_task(_until_not(may_look)),
        ]
        try:
            await asyncio.wait([*ways, standing.over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            results = await asyncio.gather(*ways, return_exceptions=True)
        if standing.over.done():
            await close(websocket, ENDED, standing.over.result())
            return
        failures = [one for one in results if isinstance(one, Exception)]
        await close(websocket, *_verdict(failures[0] if failures else None))


def _screens(client: HudClient) -> list[Screen]:
    rows = [] if client.manifest is None else client.manifest.bindings
    found = [Screen(row.name, KINDS[row.family]) for row in rows if row.family in KINDS]
    order = list(KINDS.values())
    return sorted(found, key=lambda screen: order.index(screen.kind))


async def _show(standing: Standing, name: str | None, viewer: Viewer) -> None:
    async with connect(_near(standing.place)) as client:
        if name is None:
            name = next((screen.name for screen in _screens(client)), "screen")
        row: Capability = client.binding(name)
        match KINDS.get(row.family):
            case "desktop":
                await show_desktop(row, viewer)
            case "browser":
                await show_browser(row, viewer)
            case None:
                raise ApiError(404, f"{bounded(name)} is nothing that can be looked at")


def _near(place: Runtime) -> Runtime:
    """Return the place as one that answers soon or not at all: its rollout is under way."""
    return Runtime(place.url, {**place.params, "ready_timeout": _READY_S})


async def _until_not(may_look: Callable[[], Awaitable[bool]]) -> None:
    while True:
        if not await may_look():
            raise Rude("this viewer may not look any more")
        await asyncio.sleep(_LOOK_S)


def _verdict(error: Exception | None) -> tuple[int, str]:
    match error:
        case None:
            return UNREACHED, "the screen is gone"
        case Slow():
            return SLOW, "this viewer did not keep up"
        case Rude():
            return REFUSED, str(error)
        case Left() | WebSocketDisconnect():
            return 1000, ""
        case HudError():
            return UNREACHED, redact(error.message)
        case _:
            raise error
