"""One episode in real time: the robot moves on while the policy infers.

Chunks go to the robot whole, with the observation they were inferred from, so that it leaves out
the actions whose time has passed; what is left of the chunk before is replaced.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from hud._core.errors import InputError
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from hud.agents.robot.episode import Ending, Episode, Observation


def is_realtime(obs: Observation) -> bool:
    """Tell whether an observation comes from a robot that moves in real time."""
    return isinstance(_meta(obs).get("obs_index"), int)


class _Pace:
    """When to infer next."""

    def __init__(self, replan_after: int | None) -> None:
        self._every = replan_after
        self._inferred_at: int | None = None
        self._sent_at: int | None = None

    def begin(self, index: int) -> None:
        """Note the observation that an inference is made from."""
        self._inferred_at, self._sent_at = index, None

    def sent(self, newest: int) -> None:
        """Note the newest observation at the time its chunk was sent."""
        self._sent_at = newest

    def is_due(self, obs: Observation) -> bool:
        """Tell whether to infer from this observation."""
        meta = _meta(obs)
        index: int = meta["obs_index"]
        if self._inferred_at is None:
            return True
        if self._sent_at is None or index <= self._sent_at:
            return False  # under way, or seen before the robot had the chunk
        if self._every is not None and index - self._inferred_at >= self._every:
            return True
        return meta.get("queue_remaining", 0) <= meta.get("delay", 0)


async def drive_realtime(episode: Episode, obs: Observation) -> Ending:
    """Act until the episode is over, from its first observation on.

    Raises:
        InputError: when the robot does not move in real time.
    """
    if not is_realtime(obs):
        raise InputError(
            f"robot {episode.robot.capability.name!r} does not move in real time",
            hint="declare it with realtime=True, or leave realtime out of the agent's settings",
        )
    start: int = _meta(obs)["obs_index"]
    newest = start
    pace = _Pace(episode.replan_after)
    thinking: asyncio.Task[None] | None = None

    async def think(seen: Observation) -> None:
        chunk = await episode.infer(seen)
        if episode.adapter is not None:
            rows = [episode.adapter.adapt_action(row, seen) for row in chunk]
            chunk = load_numpy().stack(rows)
        meta = _meta(seen)
        episode.recorder.record_inference(chunk, tick=meta["obs_index"] - start)
        await episode.robot.send_chunk(
            chunk, obs_index=meta["obs_index"], delay_used=int(meta.get("delay", 0))
        )
        pace.sent(newest)

    try:
        while (ending := episode.see(obs, newest - start)) is None:
            if thinking is not None and thinking.done():
                thinking.result()
                thinking = None
            if thinking is None and pace.is_due(obs):
                pace.begin(newest)
                thinking = asyncio.create_task(think(obs))
            obs = await episode.robot.get_observation()
            newest = _meta(obs).get("obs_index", newest)
        return ending
    finally:
        if thinking is not None:
            thinking.cancel()
            await asyncio.wait([thinking])
            if not thinking.cancelled():
                thinking.exception()


def _meta(obs: Observation) -> dict[str, Any]:
    held: Any = obs.get("meta")
    return cast("dict[str, Any]", held) if isinstance(held, dict) else {}
