"""What a rollout asks of a cloud, and refusing, before it costs money, what a vendor cannot do."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hud._core.errors import InputError, bounded
from hud._core.ids import new_id
from hud.environment.runtime_config import RuntimeConfig, RuntimeResources
from hud.environment.task import Task
from hud.runtimes.cloud.owner import labels

STARTUP_S = 300.0
LIFE_S = 3_600
_MARGIN_S = 120
_KNOWN = {"image", "resources", "limits"}


@dataclass(frozen=True, slots=True)
class Asks:
    """One place that is to be made.

    Attributes:
        id: Ours, in its labels: what is found by it is this place, however its making ended.
        environment: Name of the environment that is to serve.
        image: From the row or the runtime's configuration; None leaves the runtime's own.
        startup_s: Seconds from asking for the place to its answer.
        life_s: Seconds after which the vendor ends it by itself.
    """

    id: str
    environment: str
    image: str | None
    resources: RuntimeResources
    startup_s: float
    life_s: int
    labels: dict[str, str]


def asks_of(task: Task, config: RuntimeConfig | None, *, longest_life_s: int) -> Asks:
    """Return what `task` asks, over what the runtime was configured with.

    Raises:
        InputError: when it asks for what no cloud has, or to run for longer than the vendor lets
            anything live.
    """
    asked = (config or RuntimeConfig()).with_overrides(task.runtime_config)
    other = asked.model_dump(exclude_none=True).keys() - _KNOWN
    if other:
        raise InputError(
            f"task {task.slug!r} asks for {', '.join(sorted(other))}, which the sandbox of a cloud "
            "cannot honour",
            hint="run it with --runtime docker, or remove it from the row",
        )
    limits = asked.limits
    startup_s = STARTUP_S
    life_s = LIFE_S
    if limits is not None and limits.startup_timeout_s is not None:
        startup_s = float(limits.startup_timeout_s)
    if limits is not None and limits.run_timeout_s is not None:
        life_s = int(limits.run_timeout_s + startup_s) + _MARGIN_S
        if life_s > longest_life_s:
            raise InputError(
                f"task {task.slug!r} may run for {limits.run_timeout_s} s, but the vendor ends "
                f"everything after {longest_life_s} s, {_MARGIN_S} s and the start included",
                hint="lower limits.run_timeout_s",
            )
    place_id = new_id()
    return Asks(
        id=place_id,
        environment=task.env,
        image=asked.image,
        resources=asked.resources or RuntimeResources(),
        startup_s=startup_s,
        life_s=min(life_s, longest_life_s),
        labels=labels(place_id, task.env),
    )


def refuse(runtime: str, task: Task, asks: Asks, *cannot: str, why: str) -> None:
    """Refuse the resources (named by field) that this runtime cannot give.

    Raises:
        InputError: naming what was asked.
    """
    asked = asks.resources.model_dump(exclude_none=True)
    if asked.get("os") == "linux":
        del asked["os"]
    for name in cannot:
        if name in asked:
            raise InputError(
                f"task {task.slug!r} asks for {name} {bounded(asked[name])}, which {runtime} "
                f"cannot honour: {why}"
            )


def load_sdk(module: str, *, runtime: str, extra: str) -> ModuleType:
    """Return a vendor's SDK.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{runtime} needs the package {module}", hint=f"pip install 'hud-python[{extra}]'"
        ) from error


def require_variables(runtime: str, *alternatives: tuple[str, ...], hint: str) -> None:
    """Refuse to go on without the variables that hold a vendor's key.

    Raises:
        InputError: when none of the alternatives is complete.
    """
    if any(all(os.environ.get(name) for name in names) for names in alternatives):
        return
    raise InputError(f"{runtime} needs {' and '.join(alternatives[0])}", hint=hint)


def checked_variables(runtime: str, env_vars: Mapping[str, Any] | None) -> dict[str, str]:
    """Return environment variables for the place, all of them text.

    Raises:
        TypeError: naming one that is not; its value is not told.
    """
    given = dict(env_vars or {})
    for name, value in given.items():
        if not isinstance(value, str):
            raise TypeError(f"{runtime}: env_vars[{name!r}] must be text, not {type(value)}")
    return given


def checked_port(runtime: str, port: int) -> int:
    """Return a port that an environment can serve at.

    Raises:
        ValueError: when it is none.
    """
    if not 1 <= port <= 65_535:
        raise ValueError(f"{runtime}: port must be between 1 and 65535, not {port}")
    return port
