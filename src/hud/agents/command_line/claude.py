"""Claude Code, run inside the workspace.

Its command line and variables are documented at https://docs.claude.com/en/docs/claude-code.
"""

from __future__ import annotations

from pydantic import AliasChoices, Field

from hud.agents.command_line.agent import CommandLineAgent, CommandLineConfig
from hud.agents.command_line.command import CommandLine
from hud.models.provider import Dialect

_TIERS = (
    *("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"),
    *("ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL"),
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
)
CLAUDE_CODE = CommandLine(
    name="Claude Code",
    argv=(
        *("claude", "-p", "--output-format", "stream-json", "--verbose"),
        *("--model", "{model}", "--max-turns", "{max_steps}"),
        *("--append-system-prompt", "{system_prompt}"),
    ),
    env={
        "ANTHROPIC_BASE_URL": "{base_url}",
        "ANTHROPIC_AUTH_TOKEN": "{token}",
        "ANTHROPIC_API_KEY": "",
        **dict.fromkeys(_TIERS, "{model}"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        # The proxy tries again where that helps.
        "CLAUDE_CODE_MAX_RETRIES": "1",
        # In a container it may be root, where it would not go without asking otherwise.
        "IS_SANDBOX": "1",
    },
    dialect=Dialect.MESSAGES,
    answer="claude",
    install="put Claude Code into the image: npm install -g @anthropic-ai/claude-code",
)


class ClaudeCLIConfig(CommandLineConfig):
    """Claude Code.

    Attributes:
        permission_mode: What it does without asking; nobody is there to answer.
        allowed_tools: Those that it may use at all.
    """

    command: CommandLine = CLAUDE_CODE
    model_name: str = "Claude Code"
    model: str = Field(
        default="claude-sonnet-4-6", validation_alias=AliasChoices("model", "checkpoint_name")
    )
    permission_mode: str = "bypassPermissions"
    allowed_tools: list[str] = Field(
        default_factory=lambda: [
            *("Read", "Write", "Edit", "Bash", "Glob", "Grep", "WebSearch", "WebFetch")
        ]
    )

    def further_arguments(self) -> list[str]:
        tools = ",".join(self.allowed_tools)
        return [
            *("--permission-mode", self.permission_mode),
            *("--allowedTools", tools, "--tools", tools),
        ]


class ClaudeCLIAgent(CommandLineAgent[ClaudeCLIConfig]):
    """Claude Code in the workspace, its model calls through the run's own proxy."""

    config_cls = ClaudeCLIConfig
