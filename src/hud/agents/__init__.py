"""Agents: the contract, the ones to start with, and how to make one from a name.

Everything is imported on first use, so that naming one agent does not load the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hud.agents.base import Agent
    from hud.agents.claude import ClaudeAgent
    from hud.agents.command_line import (
        ClaudeCLIAgent,
        ClaudeCLIConfig,
        ClaudeSDKAgent,
        ClaudeSDKConfig,
        CodexCLIAgent,
        CodexCLIConfig,
        CommandLine,
        CommandLineAgent,
        CommandLineConfig,
    )
    from hud.agents.create import create_agent
    from hud.agents.gemini import GeminiAgent
    from hud.agents.human import HumanAgent
    from hud.agents.noop import NoopAgent
    from hud.agents.openai import OpenAIAgent
    from hud.agents.openai_chat import OpenAIChatAgent
    from hud.agents.oracle import OracleAgent
    from hud.agents.scripted import ScriptedAgent

__all__ = [
    "Agent",
    "ClaudeAgent",
    "ClaudeCLIAgent",
    "ClaudeCLIConfig",
    "ClaudeSDKAgent",
    "ClaudeSDKConfig",
    "CodexCLIAgent",
    "CodexCLIConfig",
    "CommandLine",
    "CommandLineAgent",
    "CommandLineConfig",
    "GeminiAgent",
    "HumanAgent",
    "NoopAgent",
    "OpenAIAgent",
    "OpenAIChatAgent",
    "OracleAgent",
    "ScriptedAgent",
    "create_agent",
]

_MODULES = {
    "Agent": "base",
    "ClaudeAgent": "claude",
    "GeminiAgent": "gemini",
    "ClaudeCLIAgent": "command_line",
    "ClaudeCLIConfig": "command_line",
    "ClaudeSDKAgent": "command_line",
    "ClaudeSDKConfig": "command_line",
    "CodexCLIAgent": "command_line",
    "CodexCLIConfig": "command_line",
    "CommandLine": "command_line",
    "CommandLineAgent": "command_line",
    "CommandLineConfig": "command_line",
    "HumanAgent": "human",
    "NoopAgent": "noop",
    "OpenAIAgent": "openai",
    "OpenAIChatAgent": "openai_chat",
    "OracleAgent": "oracle",
    "ScriptedAgent": "scripted",
    "create_agent": "create",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
