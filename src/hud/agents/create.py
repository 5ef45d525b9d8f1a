"""Make an agent from its name and settings, as the command line and scripts ask for one.

Names: the agents of this package, `module:attribute` or `path.py:attribute` of the user's own,
what other packages offer as entry points of the group `hud.agents`, and the models of the catalog.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from hud._core import json
from hud._core.errors import InputError, bounded
from hud.agents.api_agent import ApiAgent
from hud.agents.base import Agent, as_agent
from hud.agents.tool_agent import setting_problem
from hud.agents.types import AgentConfig

if TYPE_CHECKING:
    from hud.models.catalog import ModelInfo

ENTRY_POINTS = "hud.agents"
_MODEL_AGENTS = {
    "claude": "hud.agents.claude:ClaudeAgent",
    "openai": "hud.agents.openai:OpenAIAgent",
    "gemini": "hud.agents.gemini:GeminiAgent",
    "openai_compatible": "hud.agents.openai_chat:OpenAIChatAgent",
}
# Other programs that bring a loop of their own.
_PROGRAMS = {
    "claude_cli": "hud.agents.command_line:ClaudeCLIAgent",
    "codex_cli": "hud.agents.command_line:CodexCLIAgent",
    "browser_use": "hud.agents.browser_use:BrowserUseAgent",
}
AGENT_KINDS = (*_MODEL_AGENTS, *_PROGRAMS, "oracle", "noop", "human")


def make_agent(
    kind: str,
    *,
    model: str | None = None,
    config: Mapping[str, Any] | None = None,
    source: str | Path | None = None,
) -> Agent:
    """Return the agent of that name.

    Args:
        kind: One of `AGENT_KINDS`, `module:attribute`, `path.py:attribute`, an entry point, or a
            model's name.
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
    if kind in _MODEL_AGENTS or kind in _PROGRAMS:
        cls = _loaded({**_MODEL_AGENTS, **_PROGRAMS}[kind])
        return cls(_config_of(cls.config_cls, settings, kind))
    match kind:
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
            if ":" not in kind and _is_model(kind):
                return _named_model(kind, settings)
            return _from_value(_find(kind), kind, settings)


def create_agent(model: str, **kwargs: Any) -> ApiAgent[Any, Any]:
    """Return an agent for a model's name.

    Where a gateway is configured (HUD_GATEWAY_URL with HUD_API_KEY) it is asked there, and
    `gateway=False` asks the provider itself, with the key from the provider's variable (the
    environment, a `.env` file, `hud set`). Without a gateway the provider is asked in any case. A
    model the catalog does not know is looked up on the platform when one is configured; else the
    gateway, or OPENAI_BASE_URL, is trusted to serve it over Chat Completions. `kwargs` are fields
    of the agent's configuration.

    Raises:
        InputError: when nothing is known that serves the model, or its key is missing.
        TypeError: for `api_key` or `base_url`, or a setting there is not.
    """
    from hud._core.settings import read_settings

    for name in ("api_key", "base_url"):
        if name in kwargs:
            raise TypeError(f"create_agent: {name} comes from the settings, not from an argument")
    settings = read_settings()
    has_gateway = bool(settings.hud_gateway_url and settings.api_key)
    found = _model_row(model, is_trusted=has_gateway or bool(settings.openai_base_url))
    cls = _agent_class("openai_compatible" if found is None else found.agent_kind)
    unknown = [name for name in kwargs if name not in cls.config_cls.model_fields]
    if unknown:
        raise TypeError(f"create_agent: unknown setting {unknown[0]!r}")
    if has_gateway or (found is not None and found.is_hosted):
        kwargs = {"gateway": True, **kwargs}
    name = model if found is None else found.name
    config = cls.config_cls.model_validate({**kwargs, "model": name})
    agent = cls(cast("Any", config), provider=None if found is None else found.provider)
    _ = agent.endpoint
    return agent


def _model_row(model: str, *, is_trusted: bool) -> ModelInfo | None:
    """Return what is known of a model; None where it is not and an address is trusted with it."""
    from hud.models.catalog import UnknownModel
    from hud.models.gateway import find_model

    try:
        return find_model(model)
    except UnknownModel:
        if not is_trusted:
            raise
        return None


def _agent_class(kind: str) -> type[ApiAgent[Any, Any]]:
    """Return the agent of one of the kinds that drive a model, loaded when it is asked for."""
    return _loaded(_MODEL_AGENTS[kind])


def _loaded(home: str) -> Any:
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)


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


def _is_model(name: str) -> bool:
    """Whether a name that is no agent is a model's; an entry point of that name goes first."""
    from hud.models.catalog import UnknownModel, resolve_model

    if any(point.name == name for point in _offered()):
        return False
    try:
        resolve_model(name)
    except UnknownModel:
        return False
    return True


def _named_model(name: str, settings: dict[str, Any]) -> Agent:
    """Return the agent for a model that was named in an agent's place."""
    from hud.models.catalog import resolve_model

    found = resolve_model(name)
    cls = _agent_class(found.agent_kind)
    if "model" in settings:
        raise InputError(f"{bounded(name)!r} names a model already", hint="leave --model out")
    config = _config_of(cls.config_cls, {**settings, "model": found.name}, name)
    return cls(cast("Any", config), provider=found.provider)


def _config_of(config_cls: type[AgentConfig], settings: dict[str, Any], kind: str) -> AgentConfig:
    try:
        return config_cls.model_validate(settings)
    except ValidationError as error:
        as_text = {
            str(problem["loc"][0]): _as_text(problem["input"])
            for problem in error.errors(include_url=False)
            if problem["type"] == "string_type" and len(problem["loc"]) == 1
        }
        if as_text and not as_text.items() <= settings.items():
            return _config_of(config_cls, {**settings, **as_text}, kind)
        raise InputError(f"{kind}: {setting_problem(error, config_cls)}") from error


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
        f"unknown agent {bounded(kind)!r}, and no model of that name is known",
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
    if inspect.isclass(cls) and issubclass(cls, ApiAgent):
        api_agent = cast("type[ApiAgent[Any, Any]]", cls)
        return api_agent(cast("Any", _config_of(api_agent.config_cls, settings, kind)))
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
