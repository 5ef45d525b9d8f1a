"""A bridge for anything with gymnasium's interface, alone or vectorised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hud._core.errors import CapabilityFault, InputError
from hud.environment.robot.bridge import RobotBridge
from hud.environment.robot.contract import Actions, Leaf, derive, image_leaf, merge, observed
from hud.environment.robot.sims import Place, Sims, build, build_arguments, is_simulator
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_RATE = 10
MAX_INFO = 64

__all__ = ["GymBridge", "is_simulator"]


class GymBridge(RobotBridge):
    """Serve a simulation with gymnasium's interface.

    A task's arguments go three ways: those the simulation is built with (a factory's parameters;
    the keyword arguments given here) build it anew when they change, `seed` and `options` go to
    its `reset`, as does everything else, as options. `prompt` is the episode's prompt.

    Args:
        target: A gymnasium id, a factory, `module:factory`, or an environment.
        fps: The control rate; else the environment's own (`render_fps`), else 10.
        contract: A file that adds to the derived contract when it exists; None looks for none.
        realtime: Whether time passes by the control rate, whoever acts.
        render: Whether rendered frames are an observation too, `render`.
        hold: What a slot does that was told nothing: the action zero, or its last one again, which
            is right where actions are places to be at.
        defaults: Arguments to build with, `num_envs` among them.

    Attributes:
        env: The environment, once it is built; the first of several copies.
        batched: Whether it is a vector environment.
    """

    def __init__(
        self,
        target: Any,
        *,
        fps: int | None = None,
        contract: str | Path | None = "contract.json",
        realtime: bool = False,
        render: bool = False,
        hold: Literal["zero", "last"] = "zero",
        host: str = "127.0.0.1",
        port: int = 0,
        **defaults: Any,
    ) -> None:
        super().__init__(host=host, port=port)
        self._target = target
        self._fps = fps
        self._file = None if contract is None else Path(contract)
        self.realtime = realtime
        self._render = render
        self.holds_last = hold == "last"
        self._defaults = defaults
        self._taken = build_arguments(target)
        self._built: dict[str, Any] | None = None
        self._sims: Sims | None = None
        self._leaves: list[Leaf] = []
        self._actions: Actions | None = None
        self.num_envs = int(defaults.get("num_envs", 1))
        self.prompts = [""] * self.num_envs

    @property
    def env(self) -> Any:
        """The environment.

        Raises:
            CapabilityFault: before it is built.
        """
        return self._simulations().env

    @property
    def batched(self) -> bool:
        return not self._simulations().is_separate

    @property
    def steps_slots(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._simulations().is_separate

    @property
    def resets_slots(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._simulations().can_reset_one

    async def ensure_contract(self) -> dict[str, Any]:
        if not self.contract:
            await self.call(self._build, self._defaults)
        return self.contract

    def reset(self, **task_args: Any) -> str:
        return self._begin(list(range(self.num_envs)), task_args)

    def reset_slot(self, slot: int, **kwargs: Any) -> str:
        return self._begin([slot], kwargs)

    def step(self, action: NDArray[Any]) -> None:
        actions = self._converter()
        self._simulations().step({slot: actions.native(row) for slot, row in enumerate(action)})

    def step_slots(self, actions: dict[int, NDArray[Any]]) -> None:
        converter = self._converter()
        self._simulations().step({slot: converter.native(row) for slot, row in actions.items()})

    def get_observation(self) -> tuple[dict[str, NDArray[Any]], NDArray[Any]] | None:
        numpy = load_numpy()
        if self._simulations().places[0].observation is None:
            return None
        seen = self.observe(list(range(self.num_envs)))
        names = list(seen[0][0])
        data = {name: numpy.stack([row[0][name] for row in seen.values()]) for name in names}
        return data, numpy.array([row[1] for row in seen.values()], bool)

    def observe(self, slots: list[int]) -> dict[int, tuple[dict[str, Any], bool]]:
        sims = self._simulations()
        seen: dict[int, tuple[dict[str, Any], bool]] = {}
        for slot in slots:
            place = sims.places[slot]
            if place.observation is None:
                continue
            data = {leaf.name: leaf.read(place.observation) for leaf in self._leaves if leaf.space}
            if self._render:
                data["render"] = load_numpy().asarray(sims.render(slot))
            seen[slot] = (data, place.is_over)
        return seen

    def sample_observation(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return one slot's state features and its images, by name."""
        data = self.observe([0])[0][0]
        images = {leaf.name for leaf in self._leaves if leaf.feature.get("type")}
        state = {name: value for name, value in data.items() if name not in images}
        return state, {name: value for name, value in data.items() if name in images}

    def rewards(self) -> list[float]:
        return [place.total_reward for place in self._simulations().places]

    def result_slots(self) -> list[dict[str, Any]]:
        """Return `score` (1 or 0 by success; the total reward where success is not reported),
        `success`, `total_reward`, `terminated`, `truncated` and the last `info`'s plain values.
        """
        return [_result(place) for place in self._simulations().places]

    def hold_action(self) -> NDArray[Any]:
        return self._converter().held()

    def close(self) -> None:
        sims, self._sims = self._sims, None
        if sims is not None:
            sims.close()

    def _begin(self, slots: list[int], task_args: dict[str, Any]) -> str:
        arguments = dict(task_args)
        prompt = arguments.pop("prompt", None)
        seed = arguments.pop("seed", None)
        options: dict[str, Any] = dict(arguments.pop("options", None) or {})
        wanted = dict(self._defaults)
        for name in list(arguments):
            if name in self._defaults or (self._taken is not None and name in self._taken):
                wanted[name] = arguments.pop(name)
        if wanted != self._built:
            self._rebuild(wanted, slots)
        options.update(arguments)
        self._simulations().reset(slots, None if seed is None else int(seed), options or None)
        return str(prompt) if prompt is not None else _spelled(task_args)

    def _rebuild(self, wanted: dict[str, Any], slots: list[int]) -> None:
        if len(slots) < self.num_envs and any(
            place.observation is not None and not place.is_over
            for place in self._simulations().places
        ):
            raise InputError(
                f"the other slots run a simulation built with {self._built}, not {wanted}",
                hint="give every task of a vectorised simulation the same build arguments",
            )
        known = self.contract.get("features")
        self.close()
        self._build(wanted)
        if self.contract.get("features") != known:
            raise InputError(
                f"a simulation built with {wanted} has other features than its contract says",
                hint="declare a robot of its own for it",
            )

    def _build(self, wanted: dict[str, Any]) -> None:
        sims = build(
            self._target, {**wanted, **({"render_mode": "rgb_array"} if self._render_mode else {})}
        )
        self._sims, self._built = sims, dict(wanted)
        self.num_envs = len(sims.places)
        self._leaves = observed(sims.observation_space)
        self._actions = Actions(sims.action_space)
        if self._render:
            sims.reset(list(range(self.num_envs)), None, None)
            frame: Any = sims.render(0)
            if frame is None:
                raise InputError("render=True, but the simulation renders nothing")
            self._leaves.append(image_leaf("render", tuple(frame.shape)))
            for place in sims.places:
                place.observation = None
        derived = derive(
            self._leaves,
            sims.action_space,
            control_rate=self._fps or _rate(sims.env),
            robot_type=_type(sims.env, self._target),
        )
        is_there = self._file is not None and self._file.is_file()
        self.contract = merge(derived, self._file) if is_there and self._file else derived

    @property
    def _render_mode(self) -> bool:
        """Whether `gymnasium.make` must be told that frames are wanted."""
        return (
            self._render and isinstance(self._target, str) and "render_mode" not in self._defaults
        )

    def _simulations(self) -> Sims:
        if self._sims is None:
            raise CapabilityFault("the simulation is not built", hint="await ensure_contract()")
        return self._sims

    def _converter(self) -> Actions:
        if self._actions is None:
            raise CapabilityFault("the simulation is not built", hint="await ensure_contract()")
        return self._actions


def _result(place: Place) -> dict[str, Any]:
    success = place.success
    return {
        "score": place.total_reward if success is None else float(success),
        "success": bool(success),
        "total_reward": place.total_reward,
        "terminated": place.terminated,
        "truncated": place.truncated,
        "info": _plain(place.info or {}),
    }


def _plain(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers, texts and short arrays of an info."""
    numpy = load_numpy()
    found: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, str | bool | int | float):
            found[str(key)] = value
        elif isinstance(value, numpy.ndarray | numpy.generic):
            array = numpy.asarray(value)
            if array.dtype.kind in "biuf" and array.size <= MAX_INFO:
                found[str(key)] = array.tolist()
    return found


def _rate(env: Any) -> float:
    metadata = cast("Mapping[str, Any]", getattr(env, "metadata", None) or {})
    rate = metadata.get("render_fps")
    return rate if isinstance(rate, int | float) and rate > 0 else DEFAULT_RATE


def _type(env: Any, target: Any) -> str:
    spec: Any = getattr(env, "spec", None)
    if spec is not None and getattr(spec, "id", None):
        return str(spec.id)
    return target if isinstance(target, str) else type(getattr(env, "unwrapped", env)).__name__


def _spelled(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(arguments.items()))
