"""The actions of one episode that are still to come: open loop, receding horizon, ensembled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from hud.agents.robot.adapter import ActionArray


class ActionQueue:
    """What a policy has planned, one action at a time.

    Args:
        replan_after: Actions to take out of a chunk before another is due; None takes all of
            them, or one where chunks are averaged.
        ensemble: Average overlapping chunks, weighted `exp(-ensemble * i)` with i = 0 for the
            oldest (ACT, arXiv:2304.13705); None takes the newest chunk alone.
    """

    def __init__(self, *, replan_after: int | None = None, ensemble: float | None = None) -> None:
        self._every = 1 if replan_after is None and ensemble is not None else replan_after
        self._ensemble = ensemble
        self._chunks: list[Any] = []
        self._plan: Any = None
        self._taken = 0

    @property
    def is_due(self) -> bool:
        """Whether a chunk is needed before the next action."""
        return self._plan is None or self._taken >= len(self._plan)

    def put(self, chunk: ActionArray) -> ActionArray:
        """Take in a chunk `[T, D]` that begins now; return the actions `[K, D]` until the next."""
        if self._ensemble is None:
            self._plan = chunk
        else:
            ahead = [rows[self._taken :] for rows in self._chunks]
            self._chunks = [rows for rows in ahead if len(rows)]
            self._chunks.append(chunk)
            self._plan = self._blended(self._ensemble)
        self._taken = 0
        if self._every is not None:
            self._plan = self._plan[: self._every]
        return self._plan

    def pop(self) -> ActionArray:
        """Return the next action `[D]`.

        Raises:
            IndexError: when a chunk is due.
        """
        if self.is_due:
            raise IndexError("no action is left: put a chunk first")
        action = self._plan[self._taken]
        self._taken += 1
        return action

    def _blended(self, coefficient: float) -> Any:
        """Return the weighted mean of what all chunks say of every tick to come `[T, D]`."""
        numpy = load_numpy()
        width = self._chunks[-1].shape[1:]
        horizon = max(len(rows) for rows in self._chunks)
        total = numpy.zeros((horizon, *width))
        weights = numpy.zeros(horizon)
        older = numpy.zeros(horizon)
        for rows in self._chunks:
            count = len(rows)
            weight = numpy.exp(-coefficient * older[:count])
            total[:count] += rows * weight.reshape(count, *(1,) * len(width))
            weights[:count] += weight
            older[:count] += 1
        return total / weights.reshape(horizon, *(1,) * len(width))
