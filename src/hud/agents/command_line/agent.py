"""A command-line agent in the workspace: served a model API, started, waited for, its answer read.

Which program it is says `command`, how its output is read `answers`; its calls go through
`model_proxy`, so that no key of a provider is where it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic import Field
from typing_extensions import TypeVar

from hud._core.errors import AgentFault, InputError, bounded
from hud._core.redact import redact
from hud.agents.base import Agent
from hud.agents.command_line.answers import Answer, read_answer
from hud.agents.command_line.command import CommandLine
from hud.agents.model_proxy import ModelProxy, ProxyLimits
from hud.agents.row_settings import NOT_FOR_ROWS, with_row
from hud.agents.run import Run
from hud.agents.types import AgentConfig
from hud.capabilities.ssh import CommandResult, SSHClient
from hud.models.catalog import UnknownModel, load_catalog
from hud.models.endpoint import Endpoint, endpoint_for
from hud.models.failure import ContextOverflow
from hud.models.provider import ANTHROPIC, GOOGLE, OPENAI, Dialect, ModelProvider
from hud.trace.content import TextContent

_PROVIDERS = {
    Dialect.MESSAGES: ANTHROPIC,
    Dialect.RESPONSES: OPENAI,
    Dialect.CHAT: OPENAI,
    Dialect.GEMINI: GOOGLE,
}
_OUTPUT_BYTES = 16 * 1024 * 1024
_SETUP_S = 60.0
# What a program gets to say its last word in, once its budget is used up.
_LAST_WORD_S = 20.0
_TAIL_CHARS = 600
# Of what kills from outside: another program of the workspace, or the end of its memory.
_KILLS = {"KILL": 9, "TERM": 15, "INT": 2, "HUP": 1}


class CommandLineConfig(AgentConfig):
    """A command-line agent.

    Attributes:
        command: Which program, and how.
        max_steps: Replies of models, in all the program asks for; -1 is no limit.
        models: Further models that it may ask for.
        max_total_tokens: Prompt and completion tokens of all replies.
        max_cost_usd: Money of all replies; those of unknown price count nothing.
        max_concurrent_calls: Model calls at once.
        model_retries: Further attempts at a call that failed before its reply began.
        base_url: Where the model is asked for; its provider's own address otherwise.
        api_key: The key that goes there, and never into the workspace.
    """

    command: CommandLine
    max_steps: int = -1
    models: list[str] = Field(default_factory=list[str])
    max_total_tokens: int | None = Field(default=None, gt=0)
    max_cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_concurrent_calls: int = Field(default=16, gt=0)
    model_retries: int = Field(default=4, ge=0)
    base_url: str | None = None
    api_key: str | None = Field(default=None, repr=False)

    def further_arguments(self) -> list[str]:
        """Return what these settings add to the command's arguments."""
        return []


ConfigT_co = TypeVar(
    "ConfigT_co", bound=CommandLineConfig, default=CommandLineConfig, covariant=True
)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a program runs, and what is served to it there."""

    ssh: SSHClient
    values: dict[str, str]


class CommandLineAgent(Agent[ConfigT_co]):
    """A program of others as an agent: `CommandLineAgent(CommandLineConfig(command=…, model=…))`.

    It runs over the environment's `ssh` capability, as the agent's commands do. Every model call
    it makes is a step of the run. What it can cause is graded: its limits, and whoever kills it.
    A model API that fails it is `ModelFault`; a program that is missing or fails by itself is
    `AgentFault`.
    """

    config_cls = CommandLineConfig

    _endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where its model calls go, decided once.

        Raises:
            InputError: when the address or the key is missing or malformed.
        """
        if self._endpoint is None:
            config = self.config
            self._endpoint = endpoint_for(
                self._provider(),
                base_url=config.base_url,
                api_key=config.api_key,
                gateway=config.gateway,
            )
        return self._endpoint

    def check_ready(self) -> None:
        """See that there is an endpoint; call it before many runs start.

        Raises:
            InputError: when the address or the key is missing or malformed.
        """
        _ = self.endpoint

    def describe(self) -> dict[str, Any]:
        described = super().describe()
        config = described["config"]
        if config.get("base_url") is not None:
            config["base_url"] = Endpoint(config["base_url"], "").shown
        return described

    async def __call__(self, run: Run) -> None:
        forbidden = (*NOT_FOR_ROWS, "command", "models")
        config = with_row(
            self.config,
            run,
            type(self.config),
            not_for_rows=forbidden,
            required={"command": self.config.command},
        )
        prompt = _prompt_of(run, config.command)
        limits = ProxyLimits(
            max_steps=config.max_steps,
            max_total_tokens=config.max_total_tokens,
            max_cost_usd=config.max_cost_usd,
            max_concurrent=config.max_concurrent_calls,
            retries=config.model_retries,
        )
        models = {config.model, *config.models}
        ssh = await run.client.open("ssh", SSHClient)
        async with (
            ModelProxy(run, self._endpoint_of_run(), models, limits) as proxy,
            _place(ssh, config, proxy, prompt) as place,
        ):
            result = await _run_to_end(place, config, proxy, prompt)
        _conclude(run, config, proxy, result)

    def _provider(self) -> ModelProvider:
        """Return whose model it is, where the catalog knows one that speaks the dialect."""
        dialect = self.config.command.dialect
        try:
            info = load_catalog().resolve(self.config.model)
        except UnknownModel:
            return _PROVIDERS[dialect]
        return info.provider if info.dialect is dialect else _PROVIDERS[dialect]

    def _endpoint_of_run(self) -> Endpoint:
        try:
            return self.endpoint
        except InputError as error:
            raise AgentFault(error.message, hint=error.hint) from error


@contextlib.asynccontextmanager
async def _place(
    ssh: SSHClient, config: CommandLineConfig, proxy: ModelProxy, prompt: str
) -> AsyncGenerator[_Place]:
    """See that the program is there, and serve it the model API while the block is open.

    Raises:
        AgentFault: when it is not installed.
        CapabilityFault: when the connection fails, or nothing can be served inside.
    """
    command = config.command
    home = await _home(ssh, command)
    path = f"{home}/.hud-{uuid4().hex[:12]}" if command.uses_socket else None
    async with ssh.serve(proxy.serve, path=path) as at:
        values = {
            "model": config.model,
            "token": proxy.token,
            "base_url": f"http://{at}" if path is None else "http://localhost",
        }
        if path is not None:
            values["socket"] = path
        if config.system_prompt is not None:
            values["system_prompt"] = config.system_prompt
        if config.max_steps >= 0:
            values["max_steps"] = str(config.max_steps)
        if command.prompt == "argv":
            values["prompt"] = prompt
        if command.prompt != "file":
            yield _Place(ssh, values)
            return
        file = f"{home}/.hud-{uuid4().hex[:12]}.md"
        await ssh.write_text(file, prompt)
        try:
            yield _Place(ssh, {**values, "prompt_file": file})
        finally:
            await ssh.execute(f"rm -f -- {shlex.quote(file)}", timeout_s=_SETUP_S)


async def _home(ssh: SSHClient, command: CommandLine) -> str:
    """Return the home folder inside, once the program is found there."""
    program = command.argv[0]
    check = command.check or f"command -v {shlex.quote(program)}"
    script = f'({check}) >/dev/null 2>&1 </dev/null || exit 3; printf %s "$HOME"'
    found = await ssh.execute(script, timeout_s=_SETUP_S)
    if found.exit_status == 3 or found.timed_out:
        raise AgentFault(
            f"{command.name} is not installed in the workspace: {bounded(check)} fails there",
            hint=command.install or f"put {program} into the image the environment runs in",
        )
    if not found.ok or not found.stdout.startswith("/"):
        raise AgentFault(
            f"{command.name} cannot be started: the workspace's shell fails: "
            f"{_tail(found.stderr) or 'it has no home folder'}"
        )
    return found.stdout


async def _run_to_end(
    place: _Place, config: CommandLineConfig, proxy: ModelProxy, prompt: str
) -> CommandResult | None:
    """Run the program; None when it did not end although its budget is used up."""
    command = config.command
    words = [*command.arguments(place.values), *config.further_arguments()]
    running = asyncio.ensure_future(
        place.ssh.execute(
            shlex.join(words),
            env=command.variables(place.values),
            stdin=prompt if command.prompt == "stdin" else None,
            timeout_s=None,
            max_output_bytes=_OUTPUT_BYTES,
        )
    )
    spent = asyncio.ensure_future(proxy.is_spent.wait())
    try:
        await asyncio.wait({running, spent}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=_LAST_WORD_S)
    finally:
        for task in (running, spent):
            task.cancel()
        await asyncio.wait({running, spent})
    return None if running.cancelled() else running.result()


def _conclude(
    run: Run, config: CommandLineConfig, proxy: ModelProxy, result: CommandResult | None
) -> None:
    """Say what came of it: an answer and a reason to stop, or a fault."""
    command = config.command
    answer = Answer() if result is None else read_answer(command, result.stdout)
    run.trace.content = answer.text
    has_ended = result is not None and result.ok and answer.error is None
    if proxy.spent is not None:
        run.trace.stop_reason = proxy.spent
    elif answer.stop_reason is not None:
        run.trace.stop_reason = answer.stop_reason
    elif isinstance(proxy.failure, ContextOverflow):
        run.trace.stop_reason = "done" if has_ended else "context_overflow"
    elif proxy.failure is not None:
        # Also where it ended well by its own account: its last call was cut short.
        raise proxy.failure
    elif has_ended and proxy.calls:
        run.trace.stop_reason = "done"
    elif has_ended:
        raise AgentFault(
            f"{command.name} ended without asking a model",
            hint=f"does it read where its model API is? it was told so by {_told(command)}",
        )
    elif result is not None and (signal := _killed_by(result)) and proxy.calls:
        run.trace.stop_reason = "done"
        run.trace.extra["ended"] = f"{command.name} was killed inside the workspace ({signal})"
    else:
        assert result is not None
        raise AgentFault(f"{command.name} {_how(result)}: {_reason(answer, result)}")


def _told(command: CommandLine) -> str:
    return ", ".join([*command.env, "its arguments"])


def _killed_by(result: CommandResult) -> str | None:
    """Return the signal that somebody inside, or the kernel, ended a program with."""
    if result.exit_signal in _KILLS:
        return f"SIG{result.exit_signal}"
    for name, number in _KILLS.items():
        if result.exit_status == 128 + number:
            return f"SIG{name}"
    is_cut = result.exit_status is None and result.exit_signal is None
    return "its session was brought down" if is_cut else None


def _how(result: CommandResult) -> str:
    if result.exit_status is not None:
        return f"exited with status {result.exit_status}"
    return f"was ended by the signal {result.exit_signal or 'of somebody'}"


def _reason(answer: Answer, result: CommandResult) -> str:
    said = answer.error or _tail(result.stderr) or _tail(result.stdout)
    return redact(bounded(said, _TAIL_CHARS)) if said else "it printed nothing"


def _tail(text: str) -> str:
    return " ".join(text[-_TAIL_CHARS:].split())


def _prompt_of(run: Run, command: CommandLine) -> str:
    """Return the task as text, which is all a command line takes.

    Raises:
        AgentFault: when it has other parts.
    """
    for message in run.prompt_messages:
        if not isinstance(message.content, TextContent):
            raise AgentFault(
                f"the prompt has a part ({message.content.type}) that {command.name} cannot be "
                "given",
                hint="a command line takes text alone: put the rest into the workspace as a file",
            )
    return run.prompt_text
