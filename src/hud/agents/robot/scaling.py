"""Scale a policy's normalised actions to a robot's own, by the figures in its contract."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from hud._core.errors import InputError, bounded
from hud.agents.robot.adapter import Adapter
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from hud.agents.robot.adapter import ActionArray

Scale = Literal["bounds", "mean_std", "quantiles"]

_FIGURES: dict[Scale, tuple[tuple[str, str], ...]] = {
    "bounds": (("low", "high"), ("min", "max")),
    "mean_std": (("mean", "std"),),
    "quantiles": (("q01", "q99"),),
}


class ScaledAdapter(Adapter):
    """Another adapter, with its actions scaled and kept within the robot's bounds.

    Args:
        inner: Does everything else; its `adapt_chunk` gets the scaled chunk.
        scale: From what the policy's numbers are spread over: `bounds` and `quantiles` from -1..1
            to the contract's `low`..`high` (or `min`..`max`) and `q01`..`q99`, `mean_std` from
            standard deviations around the mean. None leaves them.
        clip: Whether actions are cut to `low`..`high`, where the contract has them.
    """

    def __init__(
        self, inner: Adapter, *, scale: Scale | None = "bounds", clip: bool = True
    ) -> None:
        super().__init__(model_image_keys=inner.model_image_keys, chunk_size=inner.chunk_size)
        self.inner = inner
        self.scale: Scale | None = scale
        self.clip = clip
        self._factor: Any = 1.0
        self._offset: Any = 0.0
        self._bounds: tuple[Any, Any] | None = None

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.inner = copy.copy(self.inner)
        return twin

    def bind(self, action_space: dict[str, Any], observation_space: dict[str, Any]) -> None:
        """Learn the spaces, and the figures to scale by.

        Raises:
            InputError: when the contract does not hold them.
        """
        super().bind(action_space, observation_space)
        self.inner.bind(action_space, observation_space)
        stats: Any = action_space.get("stats")
        held = cast("dict[str, Any]", stats) if isinstance(stats, dict) else {}
        self._bounds = _pair(held, "bounds") if self.clip else None
        if self.scale is None:
            return
        numpy = load_numpy()
        figures = _pair(held, self.scale)
        if figures is None:
            raise InputError(
                f"the robot's contract has no {' and '.join(_FIGURES[self.scale][0])} of its "
                f"actions to scale by, only {bounded(sorted(held))}",
                hint="add them to contract.json, or scale in an adapter of your own",
            )
        first, second = figures
        if self.scale == "mean_std":
            factor, offset = second, first
        else:
            factor, offset = (second - first) / 2, (second + first) / 2
        # A value without bounds is NaN here, and goes through as it is.
        known = numpy.isfinite(factor) & numpy.isfinite(offset)
        self._factor = numpy.where(known, factor, 1.0)
        self._offset = numpy.where(known, offset, 0.0)

    def reset(self) -> None:
        self.inner.reset()

    def adapt_observation(self, obs: dict[str, Any], prompt: str) -> Any:
        return self.inner.adapt_observation(obs, prompt)

    def adapt_chunk(self, chunk: ActionArray, obs: dict[str, Any]) -> ActionArray:
        return self._within(self.inner.adapt_chunk(chunk * self._factor + self._offset, obs))

    def adapt_action(self, action: ActionArray, obs: dict[str, Any]) -> ActionArray:
        return self._within(self.inner.adapt_action(action, obs))

    def _within(self, rows: ActionArray) -> ActionArray:
        if self._bounds is None:
            return rows
        numpy = load_numpy()
        return numpy.fmin(numpy.fmax(rows, self._bounds[0]), self._bounds[1])


def _pair(stats: dict[str, Any], scale: Scale) -> tuple[Any, Any] | None:
    """Return two rows `[D]` of figures, NaN where one is missing; None without them."""
    numpy = load_numpy()
    for names in _FIGURES[scale]:
        if all(stats.get(name) is not None for name in names):
            first, second = (numpy.array(stats[name], numpy.float64) for name in names)
            return first, second
    return None
