"""Make an agent from its name and settings, as the command line and scripts ask for one.

Names: the agents of this package, `module:attribute` or `path.py:attribute` of the user's own,
and what other packages offer as entry points of the group `hud.agents`.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.agents.base import Agent, as_agent
from hud.agents.openai_chat import OpenAIChatAgent
from hud.agents.tool_agent import setting_problem
from hud.agents.types import AgentConfig, AgentType, OpenAIChatConfig

ENTRY_POINTS = "hud.agents"
_OPENAI_MODELS = re.compile(r"(gpt-|chatgpt-|o\d|ft:gpt-)")
AGENT_KINDS = (AgentType.OPENAI_COMPATIBLE.value, "oracle", "noop", "human")


def make_agent(
    kind: str,
    *,
    model: str | None = None,
    config: Mapping[str, Any] | None = None,
    source: str | Path | None = None,
) -> Agent:
    """Return the agent of that name.

    Args:
        kind: One of `AGENT_KINDS`, `module:attribute`, `path.py:attribute`, or an entry point.
        model: The model it drives, for agents that drive one.
        config: Its settings (`parse_config` reads them from `key=value`). `max_steps` is an offer:
            an agent that does not count steps is made without it.
        source: Where the environments are declared; `oracle` looks for solutions there.

    Raises:
        InputError: for an unknown name, or settings the agent does not take.
    """
    settings = dict(config or {})
    if model is not None:
        settings["model"] = model
    match kind:
        case AgentType.OPENAI_COMPATIBLE:
            return OpenAIChatAgent(_chat_config(settings, kind))
        case "oracle":
            from hud.agents.oracle import OracleAgent

            _refuse(settings, kind)
            return OracleAgent(source)
        case "noop":
            from hud.agents.noop import NoopAgent

            _refuse(settings, kind)
            return NoopAgent()
        case "human":
            from hud.agents.human import HumanAgent

            _refuse(settings, kind)
            return HumanAgent()
        case _:
            return _from_value(_find(kind), kind, settings)


def create_agent(model: str, **kwargs: Any) -> OpenAIChatAgent:
    """Return an agent for a model's name, on the endpoint this machine is configured for.

    That is the gateway (HUD_GATEWAY_URL with HUD_API_KEY), which serves every model, else
    OPENAI_BASE_URL; OpenAI's own models need OPENAI_API_KEY only. `kwargs` are fields of
    `OpenAIChatConfig`.

    Raises:
        InputError: when no endpoint is configured that serves the model.
        TypeError: for `api_key` or `base_url`, or a setting there is not.
    """
    for name in ("api_key", "base_url"):
        if name in kwargs:
            raise TypeError(f"create_agent: {name} comes from the settings, not from an argument")
    unknown = [name for name in kwargs if name not in OpenAIChatConfig.model_fields]
    if unknown:
        raise TypeError(f"create_agent: unknown setting {unknown[0]!r}")
    from hud._core.settings import read_settings

    settings = read_settings()
    if settings.hud_gateway_url and settings.api_key:
        base_url: str | None = settings.hud_gateway_url
    elif settings.openai_base_url or (settings.openai_api_key and _OPENAI_MODELS.match(model)):
        base_url = None
    else:
        raise InputError(
            f"no endpoint is configured that serves the model {bounded(model)!r}",
            hint="set HUD_GATEWAY_URL and HUD_API_KEY, or OPENAI_BASE_URL (and OPENAI_API_KEY)",
        )
    agent = OpenAIChatAgent(OpenAIChatConfig(model=model, base_url=base_url, **kwargs))
    _ = agent.endpoint
    return agent


def parse_config(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `key=value` pairs: JSON where the value is JSON, text otherwise.

    A dotted key sets one entry of a mapping: `completion_kwargs.temperature=0`.

    Raises:
        InputError: for a pair without `=`, or a dotted key into something that is no mapping.
    """
    config: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"setting {bounded(pair)!r} is not key=value")
        try:
            value = json.decode(text)
        except ValueError:
            value = text
        *path, last = key.strip().split(".")
        place = config
        for name in path:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise InputError(f"setting {bounded(key)!r}: {name} is no mapping")
            place = cast("dict[str, Any]", inner)
        place[last] = value
    return config


def known_agents() -> list[str]:
    """Return every name `make_agent` takes, those of other packages included."""
    return [*AGENT_KINDS, *sorted(point.name for point in _offered())]


def _chat_config(settings: dict[str, Any], kind: str) -> OpenAIChatConfig:
    try:
        return OpenAIChatConfig.model_validate(settings)
    except ValidationError as error:
        as_text = {
            str(problem["loc"][0]): _as_text(problem["input"])
            for problem in error.errors(include_url=False)
            if problem["type"] == "string_type" and len(problem["loc"]) == 1
        }
        if as_text and not as_text.items() <= settings.items():
            return _chat_config({**settings, **as_text}, kind)
        raise InputError(f"{kind}: {setting_problem(error, OpenAIChatConfig)}") from error


def _as_text(value: Any) -> Any:
    """Return a number as it was typed: a model may be called `4`."""
    return json.encode(value).decode() if isinstance(value, int | float) else value


def _refuse(settings: dict[str, Any], kind: str) -> None:
    for name in settings:
        if name != "max_steps":
            raise InputError(f"{kind} takes no setting {bounded(name)!r}")


def _offered() -> list[EntryPoint]:
    return list(entry_points(group=ENTRY_POINTS))


def _find(kind: str) -> Any:
    target, _, attribute = kind.rpartition(":")
    if target and attribute.isidentifier():
        return _attribute(target, attribute)
    for point in _offered():
        if point.name == kind:
            try:
                return point.load()
            except Exception as error:
                raise InputError(
                    f"agent {kind} ({point.value}) cannot be loaded: "
                    f"{type(error).__qualname__}: {bounded(str(error), 300)}"
                ) from error
    raise InputError(
        f"unknown agent {bounded(kind)!r}",
        hint=f"known: {', '.join(known_agents())}; or your own as path.py:attribute",
    )


def _attribute(target: str, attribute: str) -> Any:
    from hud.environment.loader import execute, resolve

    if target.endswith(".py") or Path(target).exists() or Path(f"{target}.py").is_file():
        module: Any = execute(resolve(target)).module
    else:
        module = _import(target)
    try:
        return getattr(module, attribute)
    except AttributeError:
        raise InputError(f"{target} has no {attribute!r}") from None


def _import(name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # a console script's path does not hold the working folder
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"agent module {bounded(name)!r} cannot be imported: {error}",
            hint=f"known agents: {', '.join(known_agents())}; or your own as path.py:attribute",
        ) from error
    except Exception as error:
        raise InputError(
            f"agent module {bounded(name)!r} raised {type(error).__qualname__}: "
            f"{bounded(str(error), 300)}"
        ) from error


def _from_value(value: Any, kind: str, settings: dict[str, Any]) -> Agent:
    if inspect.isclass(value):
        value = _construct(cast("Callable[..., Any]", value), kind, settings)
    else:
        _refuse(settings, kind)
    if isinstance(value, Agent):
        return cast("Agent", value)
    call = getattr(value, "__call__", None)  # noqa: B004 -- what matters is whether it is async
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
        return as_agent(value)
    raise InputError(
        f"{kind} is no agent but {bounded(value)}",
        hint="an agent is a subclass of hud.agents.Agent, an instance, or async def agent(run)",
    )


def _agent_config(
    config_cls: type[AgentConfig], settings: dict[str, Any], kind: str
) -> AgentConfig:
    try:
        return config_cls.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "config"
        raise InputError(f"{kind} does not take these settings: {name}: {first['msg']}") from error


def _construct(cls: Callable[..., Any], kind: str, settings: dict[str, Any]) -> Any:
    if inspect.isclass(cls) and issubclass(cls, OpenAIChatAgent):
        return cls(_chat_config(settings, kind))
    signature = inspect.signature(cls)
    if inspect.isclass(cls) and issubclass(cls, Agent) and set(signature.parameters) == {"config"}:
        made = cast("Callable[[AgentConfig], Any]", cls)
        return made(_agent_config(cls.config_cls, settings, kind))
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    if "max_steps" not in signature.parameters and not open_ended:
        settings = {name: value for name, value in settings.items() if name != "max_steps"}
    try:
        signature.bind(**settings)
    except TypeError as error:
        raise InputError(f"{kind} does not take these settings: {error}") from error
    try:
        return cast("Any", cls(**settings))
    except Exception as error:
        raise InputError(
            f"{kind} raised {type(error).__qualname__}: {bounded(str(error), 300)}"
        ) from error
