"""Gymnasium simulations behind one interface: copies that step alone, or one vector of them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.environment.robot.recipe import named
from hud.protocol.openpi import load_numpy

SUCCESS_KEYS = ("is_success", "success")


@dataclass(slots=True)
class Place:
    """What one slot shows.

    Attributes:
        observation: The newest observation, as the simulation gives it.
        info: Its newest info.
        total_reward: Sum of the episode's rewards.
    """

    observation: Any = None
    info: Mapping[str, Any] | None = None
    total_reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def is_over(self) -> bool:
        return self.terminated or self.truncated

    @property
    def success(self) -> bool | None:
        """What the simulation said of success last, or None when it does not say."""
        for key in SUCCESS_KEYS:
            said = (self.info or {}).get(key)
            if said is not None:
                return bool(load_numpy().asarray(said).reshape(-1)[0])
        return None

    def begin(self, observation: Any, info: Mapping[str, Any]) -> None:
        self.observation, self.info = observation, info
        self.total_reward, self.terminated, self.truncated = 0.0, False, False

    def advance(self, observation: Any, reward: Any, terminated: Any, truncated: Any) -> None:
        self.observation = observation
        self.total_reward += float(reward)
        self.terminated, self.truncated = bool(terminated), bool(truncated)


class Sims(ABC):
    """The simulations of one bridge.

    Attributes:
        places: One per slot.
        can_reset_one: Whether a slot can be reset while others go on.
        is_separate: Whether a slot can be stepped on its own.
    """

    can_reset_one = True
    is_separate = True

    def __init__(self, count: int) -> None:
        self.places = [Place() for _ in range(count)]

    @property
    @abstractmethod
    def env(self) -> Any:
        """The environment, the first one where there are several."""

    @property
    def observation_space(self) -> Any:
        return self.env.observation_space

    @property
    def action_space(self) -> Any:
        return self.env.action_space

    @abstractmethod
    def reset(self, slots: list[int], seed: int | None, options: dict[str, Any] | None) -> None:
        """Begin new episodes in these slots."""

    @abstractmethod
    def step(self, actions: dict[int, Any]) -> None:
        """Advance these slots, by actions as the simulation wants them."""

    @abstractmethod
    def render(self, slot: int) -> Any:
        """Return a frame of one slot, or None."""

    @abstractmethod
    def close(self) -> None:
        """Close everything."""


class Copies(Sims):
    """One environment per slot."""

    def __init__(self, envs: list[Any]) -> None:
        super().__init__(len(envs))
        self._envs = envs

    @property
    def env(self) -> Any:
        return self._envs[0]

    def reset(self, slots: list[int], seed: int | None, options: dict[str, Any] | None) -> None:
        for slot in slots:
            observation, info = self._envs[slot].reset(seed=seed, options=options)
            self.places[slot].begin(observation, info)

    def step(self, actions: dict[int, Any]) -> None:
        for slot, action in actions.items():
            place = self.places[slot]
            if place.is_over:
                continue
            observation, reward, terminated, truncated, info = self._envs[slot].step(action)
            place.advance(observation, reward, terminated, truncated)
            place.info = info

    def render(self, slot: int) -> Any:
        return self._envs[slot].render()

    def close(self) -> None:
        for env in self._envs:
            env.close()


class Batch(Sims):
    """A vector environment: every tick steps all of its slots."""

    is_separate = False

    def __init__(self, env: Any) -> None:
        super().__init__(int(env.num_envs))
        self._env = env
        metadata = cast("Mapping[str, Any]", getattr(env, "metadata", None) or {})
        mode = metadata.get("autoreset_mode")
        self.can_reset_one = str(getattr(mode, "value", mode)).lower() == "disabled"
        self._is_begun = False
        self._ended: set[int] = set()

    @property
    def env(self) -> Any:
        return self._env

    @property
    def observation_space(self) -> Any:
        return self._env.single_observation_space

    @property
    def action_space(self) -> Any:
        return self._env.single_action_space

    def reset(self, slots: list[int], seed: int | None, options: dict[str, Any] | None) -> None:
        everyone = len(slots) == len(self.places)
        seeds: Any = seed
        if not everyone:
            seeds = [seed if index in slots else None for index in range(len(self.places))]
            if self._is_begun:
                options = {**(options or {}), "reset_mask": self._mask(slots)}
        observations, infos = self._env.reset(seed=seeds, options=options)
        self._is_begun = True
        self._ended.difference_update(slots)
        for slot in slots:
            self.places[slot].begin(part(observations, slot), info_of(infos, slot))

    def _mask(self, slots: Iterable[int]) -> Any:
        mask = load_numpy().zeros(len(self.places), bool)
        mask[list(slots)] = True
        return mask

    def step(self, actions: dict[int, Any]) -> None:
        if self._ended and self.can_reset_one:
            # Nobody sees these episodes, but a simulation must not go on after its end.
            self._env.reset(options={"reset_mask": self._mask(self._ended)})
            self._ended.clear()
        observations, rewards, terminated, truncated, infos = self._env.step(
            stacked(self._env.action_space, [actions[slot] for slot in sorted(actions)])
        )
        for slot, place in enumerate(self.places):
            if terminated[slot] or truncated[slot]:
                self._ended.add(slot)
            if place.is_over:
                continue
            place.advance(
                part(observations, slot), rewards[slot], terminated[slot], truncated[slot]
            )
            place.info = info_of(infos, slot)

    def render(self, slot: int) -> Any:
        frames: Any = self._env.render()
        return frames[slot] if frames is not None and len(frames) > slot else None

    def close(self) -> None:
        self._env.close()


def part(value: Any, slot: int) -> Any:
    """Return one slot's part of a batch of observations."""
    if isinstance(value, Mapping):
        return {k: part(v, slot) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, tuple):
        return tuple(part(item, slot) for item in cast("tuple[Any, ...]", value))
    return load_numpy().array(value[slot])


def stacked(space: Any, actions: list[Any]) -> Any:
    """Return one batch of actions of several slots' actions."""
    first = actions[0]
    if isinstance(first, Mapping):
        names = list(cast("Mapping[str, Any]", first))
        return {name: stacked(space[name], [row[name] for row in actions]) for name in names}
    if isinstance(first, tuple):
        size = len(cast("tuple[Any, ...]", first))
        return tuple(stacked(space[at], [row[at] for row in actions]) for at in range(size))
    return load_numpy().asarray(actions, dtype=getattr(space, "dtype", None))


def info_of(infos: Mapping[str, Any], slot: int) -> dict[str, Any]:
    """Return one slot's part of a vector environment's infos.

    A key comes with a mask `_key` of the slots that have it; what an episode's last step said may
    stand below `final_info`.
    """
    found: dict[str, Any] = {}
    final = infos.get("final_info")
    if isinstance(final, Mapping):
        found.update(info_of(cast("Mapping[str, Any]", final), slot))
    for key, value in infos.items():
        if key.startswith("_") or key in ("final_info", "final_obs"):
            continue
        mask = infos.get(f"_{key}")
        if mask is not None and not mask[slot]:
            continue
        try:
            found[key] = value[slot]
        except (TypeError, IndexError, KeyError):
            found[key] = value
    return found


def is_simulator(target: Any) -> bool:
    """Tell whether this is a simulation already made."""
    return (
        not isinstance(target, str | type) and hasattr(target, "reset") and hasattr(target, "step")
    )


def build_arguments(target: Any) -> frozenset[str] | None:
    """Return the names a target's factory takes, or None when it takes any."""
    if isinstance(target, str) or not callable(target):
        return None
    parameters = inspect.signature(target).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)


def build(target: Any, arguments: dict[str, Any]) -> Sims:
    """Build the simulations of a target.

    Args:
        target: An environment, a factory, `module:factory`, or a gymnasium id.
        arguments: For the factory or `gymnasium.make`; `num_envs` above 1 asks for several, from
            the factory where it takes that name, else as copies.

    Raises:
        InputError: when the target is none of these, or gymnasium is needed and missing.
    """
    if isinstance(target, str):
        found = named(target)
        target = target if found is None else found
    if is_simulator(target):
        return _sims([target])
    if isinstance(target, str):
        return _registered(target, dict(arguments))
    if not callable(target):
        raise InputError(
            f"a robot's target is no environment, factory or gymnasium id: {bounded(target)}"
        )
    taken = build_arguments(target)
    rest = dict(arguments)
    count = 1
    if taken is not None and "num_envs" not in taken:
        count = int(rest.pop("num_envs", 1))
    return _sims([cast("Callable[..., Any]", target)(**rest) for _ in range(count)])


def _sims(envs: list[Any]) -> Sims:
    first = envs[0]
    if len(envs) == 1 and hasattr(first, "num_envs") and hasattr(first, "single_action_space"):
        return Batch(first)
    return Copies(envs)


def _registered(target: str, arguments: dict[str, Any]) -> Sims:
    try:
        import gymnasium
    except ModuleNotFoundError as error:
        raise InputError(
            f"robot target {target!r} needs gymnasium", hint="pip install 'hud-python[robot]'"
        ) from error
    _import_namespace(target)
    count = int(arguments.pop("num_envs", 1))
    mode = arguments.pop("vectorization_mode", None)
    make: Any = gymnasium.make
    try:
        if count > 1 and mode is not None:
            return Batch(_vector(gymnasium, target, count, mode, arguments))
        return Copies([make(target, **arguments) for _ in range(count)])
    except gymnasium.error.UnregisteredEnv as error:
        raise InputError(
            f"gymnasium knows no environment {target!r}: {error}",
            hint="write module:id, with the module that registers it, or pass a factory",
        ) from error


def _vector(gymnasium: Any, target: str, count: int, mode: str, arguments: dict[str, Any]) -> Any:
    """Make a vector environment, one that can reset single slots where it is able to."""
    try:
        disabled = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}
        return gymnasium.make_vec(
            target,
            num_envs=count,
            vectorization_mode=mode,
            vector_kwargs=disabled if mode in ("sync", "async") else None,
            **arguments,
        )
    except TypeError:
        return gymnasium.make_vec(target, num_envs=count, vectorization_mode=mode, **arguments)


def _import_namespace(target: str) -> None:
    """Import the package a namespaced id is named after, which is what registers it."""
    space, slash, _ = target.partition("/")
    if not slash or ":" in space:
        return
    for name in (space, space.replace("-", "_"), space.lower().replace("-", "_")):
        if name.isidentifier() and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
            return
