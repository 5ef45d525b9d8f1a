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


def _checked(ask: AgentAsk) -> Any:
    """Return an agent's settings, None for one that asks no model.

    Raises:
        InputError: with a sentence, for one that is not run here or does not take its settings.
    """
    if ask.type not in ALLOWED:
        why = _WHY_NOT.get(ask.type, "there is no agent of that name here")
        raise InputError(
            f"agent {bounded(ask.type)!r} cannot run on the platform: {why}",
            hint=f"remote agents: {', '.join(ALLOWED)}; any other runs where you are, with "
            "--runtime hud",
        )
    return _config(ask) if ask.type in _MODEL_AGENTS else None


def needs_models(ask: AgentAsk) -> bool:
    """Tell whether an agent asks a model."""
    return ask.type in _MODEL_AGENTS


def models_of(ask: AgentAsk, rows: Iterable[Mapping[str, Any] | None]) -> set[str]:
    """Check an agent; return which models it asks, by its settings, its own choice, or rows'.

    Raises:
        InputError: for one that is not run here, or settings that it does not take.
    """
    config = _checked(ask)
    if config is None:
        return set()
    found = [(row or {}).get("model") for row in rows]
    return {named if isinstance(named, str) else str(config.model) for named in found}


def make_remote_agent(ask: AgentAsk, gateway: ModelGateway | None) -> Agent:
    """Return the agent, which asks its model through `gateway`.

    Raises:
        InputError: for one that is not run here, or settings that it does not take.
        RuntimeFault: when there is no gateway.
    """
    config = _checked(ask)
    if config is None:
        return NoopAgent()
    if gateway is None:
        raise RuntimeFault("this worker knows no gateway for models")
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
