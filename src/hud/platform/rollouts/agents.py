"""Which agents the platform runs, and how one is made from what was asked for.

They drive models through the platform's own gateway. What needs its owner's machine (a solution, a
person, code of their own) is run there.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from hud._core.errors import InputError, RuntimeFault, bounded
from hud.agents.api_agent import ApiAgent
from hud.agents.base import Agent
from hud.agents.noop import NoopAgent
from hud.models.endpoint import Endpoint
from hud.platform.rollouts.order import AgentAsk, ModelGateway

_MODEL_AGENTS = {
    "claude": "hud.agents.claude:ClaudeAgent",
    "openai": "hud.agents.openai:OpenAIAgent",
    "gemini": "hud.agents.gemini:GeminiAgent",
    "openai_compatible": "hud.agents.openai_chat:OpenAIChatAgent",
}
ALLOWED = (*_MODEL_AGENTS, "noop")
_WHY_NOT = {
    "oracle": "its solutions are in the source, which stays with its owner",
    "human": "nobody sits at a worker",
    "claude_cli": "it needs the command line of its maker on the worker",
    "codex_cli": "it needs the command line of its maker on the worker",
    "browser_use": "it needs an interpreter of its own on the worker",
}
# Where models are asked, and with which key, is the platform's to say.
_OURS = frozenset(("api_key", "base_url", "gateway", "model_client", "hosted_tools"))


def check_agent(ask: AgentAsk) -> None:
    """Refuse an agent that is not run here, or settings that it does not take.

    Raises:
        InputError: with a sentence that says why.
    """
    if ask.type not in ALLOWED:
        why = _WHY_NOT.get(ask.type, "there is no agent of that name here")
        raise InputError(
            f"agent {bounded(ask.type)!r} cannot run on the platform: {why}",
            hint=f"remote agents: {', '.join(ALLOWED)}; any other runs where you are, with "
            "--runtime hud",
        )
    if ask.type in _MODEL_AGENTS:
        _config(ask)


def needs_models(ask: AgentAsk) -> bool:
    """Tell whether an agent asks a model."""
    return ask.type in _MODEL_AGENTS


def models_of(ask: AgentAsk, rows: Iterable[Mapping[str, Any] | None]) -> set[str]:
    """Return which models an agent asks, by its settings, its own choice, or those of rows.

    Raises:
        InputError: as `check_agent`.
    """
    if not needs_models(ask):
        return set()
    own = str(_config(ask).model)
    found = [(row or {}).get("model") for row in rows]
    return {named if isinstance(named, str) else own for named in found}


def make_remote_agent(ask: AgentAsk, gateway: ModelGateway | None) -> Agent:
    """Return the agent, which asks its model through `gateway`.

    Raises:
        InputError: as `check_agent`.
        RuntimeFault: when there is no gateway.
    """
    check_agent(ask)
    if ask.type not in _MODEL_AGENTS:
        return NoopAgent()
    if gateway is None:
        raise RuntimeFault("this worker knows no gateway for models")
    config = _config(ask)
    provider = _provider_of(config.model)
    name = provider.name if provider is not None else None
    endpoint = Endpoint(gateway.url, gateway.key, is_gateway=True, provider=name)
    return _kind(ask.type)(config, provider=provider, endpoint=endpoint)


def _kind(name: str) -> type[ApiAgent[Any, Any]]:
    module, _, attribute = _MODEL_AGENTS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _config(ask: AgentAsk) -> Any:
    """Return the settings, without those that another version knows and this one does not."""
    config_cls = _kind(ask.type).config_cls
    known = {
        *config_cls.model_fields,
        "checkpoint_name",
    }
    given = {
        name: value
        for name, value in ask.config.items()
        if name in known and name not in _OURS and value is not None
    }
    try:
        return config_cls.model_validate({**given, "gateway": True})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "config"
        raise InputError(f"agent {ask.type}: {name}: {first['msg']}") from error


def _provider_of(model: str) -> Any:
    from hud.models.catalog import UnknownModel, load_catalog

    try:
        return load_catalog().resolve(model).provider
    except UnknownModel:
        return None
