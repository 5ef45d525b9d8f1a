"""Codex, run inside the workspace.

Its command line and configuration are documented at https://developers.openai.com/codex.
"""

from __future__ import annotations

from pydantic import AliasChoices, Field

from hud.agents.command_line.agent import CommandLineAgent, CommandLineConfig
from hud.agents.command_line.command import CommandLine
from hud.models.provider import Dialect

_PROVIDER = {
    "name": '"hud"',
    "base_url": '"{base_url}/v1"',
    "env_key": '"HUD_RUN_TOKEN"',
    "wire_api": '"responses"',
    # The proxy tries again where that helps.
    "request_max_retries": "1",
    "stream_max_retries": "1",
    "supports_websockets": "false",
}
_SETTINGS = {
    "model_provider": '"hud"',
    **{f"model_providers.hud.{name}": value for name, value in _PROVIDER.items()},
    "check_for_update_on_startup": "false",
    "analytics.enabled": "false",
}
CODEX = CommandLine(
    name="Codex",
    argv=(
        *("codex", "exec", "--json", "--skip-git-repo-check", "--ephemeral"),
        # The workspace's wall is around it already, and does not let it build one of its own.
        "--dangerously-bypass-approvals-and-sandbox",
        *("--model", "{model}"),
        *(word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")),
        *("-c", "developer_instructions={system_prompt}"),
    ),
    env={"HUD_RUN_TOKEN": "{token}"},
    dialect=Dialect.RESPONSES,
    answer="codex",
    install="put Codex into the image: npm install -g @openai/codex",
)


class CodexCLIConfig(CommandLineConfig):
    """Codex.

    Attributes:
        reasoning_effort: As the API knows it; None leaves it to Codex.
        settings: Further ones of Codex's own configuration, values as TOML.
    """

    command: CommandLine = CODEX
    model_name: str = "Codex"
    model: str = Field(default="gpt-5.6", validation_alias=AliasChoices("model", "checkpoint_name"))
    reasoning_effort: str | None = None
    settings: dict[str, str] = Field(default_factory=dict[str, str])

    def further_arguments(self) -> list[str]:
        settings = dict(self.settings)
        if self.reasoning_effort is not None:
            settings["model_reasoning_effort"] = f'"{self.reasoning_effort}"'
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*words, "-"]  # the prompt comes by standard input


class CodexCLIAgent(CommandLineAgent[CodexCLIConfig]):
    """Codex in the workspace, its model calls through the run's own proxy."""

    config_cls = CodexCLIConfig
