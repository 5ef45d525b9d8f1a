"""Shell tools: one persistent shell, in the shapes models were trained on.

How the shell persists is `shell_session`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from hud.agents.tools.arguments import flag_of, list_of, optional_number, text_of
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.agents.tools.shell_session import DEFAULT_TIMEOUT_S, ShellSession
from hud.capabilities.ssh import CommandResult, SSHClient
from hud.trace.content import MCPToolResult, TextContent

MAX_TIMEOUT_S = 3_600.0
_TIME_TO_END_S = 5.0
_SIGNAL_BASE = 128
_SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "ABRT": 6,
    "BUS": 7,
    "FPE": 8,
    "KILL": 9,
    "USR1": 10,
    "SEGV": 11,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "XCPU": 24,
    "XFSZ": 25,
    "SYS": 31,
}  # fmt: skip -- the numbers of Linux; the commands need not run on this system
_ENDED_SILENTLY = 255
_RESTARTED = "the shell was restarted: its folder, variables and functions are those of the start"


class ShellTool(AgentTool[SSHClient]):
    """A tool around one persistent shell."""

    protocol: ClassVar[str] = "ssh"

    def __init__(self, client: SSHClient, context: ToolContext) -> None:
        super().__init__(client, context)
        # A call is given up at the configured limit, output and all; the command ends before.
        given_s = context.config.tool_timeout_seconds
        self._limit_s = None if given_s is None else given_s - min(given_s / 5, _TIME_TO_END_S)
        self.shell = ShellSession(client, timeout_s=self._limit_s or DEFAULT_TIMEOUT_S)

    @classmethod
    async def bind(cls, client: SSHClient, context: ToolContext) -> Sequence[Self]:
        """Return the tool; none where the shell is no POSIX one."""
        return [cls(client, context)] if has_posix_shell(client) else []

    async def close(self) -> None:
        await self.shell.close()

    def _timeout_s(self, asked_s: float | None) -> float:
        """Return how long a command may take: what the model asks for, within the settings."""
        if asked_s is None or asked_s <= 0:
            return self._limit_s or DEFAULT_TIMEOUT_S
        return min(asked_s, self._limit_s or MAX_TIMEOUT_S)

    async def _answer(self, command: str, asked_s: float | None = None) -> MCPToolResult:
        timeout_s = self._timeout_s(asked_s)
        result = await self.shell.run(command, timeout_s=timeout_s)
        return text_result(readable(result, timeout_s), is_error=result.timed_out)

    async def _restart(self) -> MCPToolResult:
        await self.shell.restart()
        return text_result(_RESTARTED)


class BashTool(ShellTool):
    """A persistent bash as a function, for any model."""

    name = "bash"
    description = (
        "Run a bash command and return its output and exit code. Working folder, variables and "
        "functions carry over to the next call. Nobody answers prompts and there is no terminal; "
        "start what should go on running with & and send its output to a file."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "command": {"type": "string", "description": "What to run; may have several lines."},
            "timeout_s": {"type": "number", "description": "Seconds until it is killed."},
            "restart": {"type": "boolean", "description": "Begin with a fresh shell instead."},
        },
    }

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        if flag_of(arguments, "restart"):
            return await self._restart()
        return await self._answer(
            text_of(arguments, "command"), optional_number(arguments, "timeout_s")
        )


class ClaudeBashTool(BashTool):
    """The bash tool Claude was trained on."""

    def native_spec(self) -> dict[str, Any]:
        return {"type": "bash_20250124", "name": self.name}


class OpenAIShellTool(ShellTool):
    """The shell tool of the Responses API.

    The result's `structuredContent` is `{"output": [{"stdout", "stderr", "outcome"}]}` with one
    entry per command, in order; an outcome is `{"type": "exit", "exit_code": n}` (128 and the
    signal's number for a signal) or `{"type": "timeout"}`. Its `content` says the same as text.

    The commands of a call run one after another, whatever becomes of those before; the settings'
    limit is for all of them together, the model's for each.
    """

    name = "shell"
    description = "Run shell commands, one after another, and return the output of each."
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "commands": {"type": "array", "items": {"type": "string"}},
            "timeout_ms": {"type": "integer", "description": "Milliseconds for each command."},
            "max_output_length": {
                "type": "integer",
                "description": "Characters of output to return for each command.",
            },
        },
        "required": ["commands"],
    }

    def native_spec(self) -> dict[str, Any]:
        return {"type": "shell", "environment": {"type": "local"}}

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        commands = list_of(arguments, "commands")
        if not commands or not all(isinstance(command, str) for command in commands):
            raise ToolError("the argument 'commands' must be a list of texts, at least one")
        asked_ms = optional_number(arguments, "timeout_ms")
        asked_s = self._timeout_s(None if asked_ms is None else asked_ms / 1000)
        asked_chars = optional_number(arguments, "max_output_length")
        most = self.context.config.max_output_chars
        chars = int(min(max(asked_chars, 0), most)) if asked_chars is not None else most
        now = asyncio.get_running_loop().time
        end = None if self._limit_s is None else now() + self._limit_s
        output: list[dict[str, Any]] = []
        texts: list[str] = []
        for command in commands:
            timeout_s = asked_s if end is None else min(asked_s, end - now())
            if timeout_s <= 0:
                entry = {"stdout": "", "stderr": "not run: the time for this call was up"}
                output.append({**entry, "outcome": {"type": "timeout"}})
                texts.append(entry["stderr"])
                continue
            result = await self.shell.run(command, timeout_s=timeout_s)
            stdout, stderr = within(printable(result.stdout), printable(result.stderr), chars)
            output.append({"stdout": stdout, "stderr": stderr, "outcome": outcome(result)})
            texts.append(readable(result, timeout_s, stdout=stdout, stderr=stderr))
        if len(texts) > 1:
            texts = [f"$ {command}\n{text}" for command, text in zip(commands, texts, strict=True)]
        return MCPToolResult(
            content=[TextContent(text="\n\n".join(texts))], structuredContent={"output": output}
        )


def has_posix_shell(client: SSHClient) -> bool:
    """Tell whether a client's daemon runs commands in a POSIX shell, as far as its row says."""
    return client.capability.params.get("shell") not in {"cmd", "powershell"}


def readable(
    result: CommandResult,
    timeout_s: float,
    *,
    stdout: str | None = None,
    stderr: str | None = None,
) -> str:
    """Return a result as a model reads it: output, errors, and how it ended unless well.

    Args:
        stdout, stderr: Instead of the result's own, such as shortened ones.
    """
    stdout = printable(result.stdout) if stdout is None else stdout
    stderr = printable(result.stderr) if stderr is None else stderr
    parts = [stdout.rstrip("\n")] if stdout.strip() else []
    if stderr.strip():
        parts.append(f"[stderr]\n{stderr.rstrip()}")
    if result.timed_out:
        parts.append(
            f"[timed out: killed after {timeout_s:g} s; start what takes long with & and send its "
            "output to a file]"
        )
    elif result.exit_signal is not None:
        parts.append(f"[killed by SIG{result.exit_signal}]")
    elif result.exit_status is None:
        parts.append("[ended without an exit code: something killed its session]")
    elif result.exit_status != 0:
        parts.append(f"[exit code {result.exit_status}]")
    elif not parts:
        parts.append("[no output]")
    if result.left_running:
        parts.append("[something it started is still running; its further output is lost]")
    return "\n".join(parts)


def outcome(result: CommandResult) -> dict[str, Any]:
    """Return how a command ended in the Responses API's shape."""
    if result.timed_out:
        return {"type": "timeout"}
    code = result.exit_status
    if code is None and result.exit_signal is not None:
        code = _SIGNAL_BASE + _SIGNALS.get(result.exit_signal, 0)
    return {"type": "exit", "exit_code": _ENDED_SILENTLY if code is None else code}


def within(stdout: str, stderr: str, chars: int) -> tuple[str, str]:
    """Shorten two outputs to `chars` together; each gets half, and what the other leaves."""
    half = chars // 2
    of_stderr = max(half, chars - len(stdout))
    stderr = shortened(stderr, of_stderr)
    return shortened(stdout, max(chars - half, chars - len(stderr))), stderr


def shortened(text: str, chars: int) -> str:
    """Leave out the middle of a text of more than `chars`, and say how much it was."""
    if len(text) <= chars:
        return text
    notice = f"\n[{len(text)} characters, the middle left out]\n"
    room = max(chars - len(notice), 0)
    if room == 0:
        return text[:chars]
    head = room - room // 2
    return f"{text[:head]}{notice}{text[len(text) - room // 2 :]}"


def printable(text: str) -> str:
    """Return a text without NUL, which no API and no database takes."""
    return text.replace("\0", "\ufffd")
