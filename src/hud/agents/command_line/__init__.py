"""Agents that are programs of others: run inside the workspace, their model calls through a proxy.

`CommandLineAgent` runs what a `CommandLine` describes; Claude Code and Codex are rows of it.
"""

from hud.agents.command_line.agent import CommandLineAgent, CommandLineConfig
from hud.agents.command_line.claude import ClaudeCLIAgent, ClaudeCLIConfig
from hud.agents.command_line.codex import CodexCLIAgent, CodexCLIConfig
from hud.agents.command_line.command import CommandLine

ClaudeSDKAgent = ClaudeCLIAgent
ClaudeSDKConfig = ClaudeCLIConfig

__all__ = [
    "ClaudeCLIAgent",
    "ClaudeCLIConfig",
    "ClaudeSDKAgent",
    "ClaudeSDKConfig",
    "CodexCLIAgent",
    "CodexCLIConfig",
    "CommandLine",
    "CommandLineAgent",
    "CommandLineConfig",
]
