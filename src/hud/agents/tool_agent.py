"""The loop: ask the model, carry out what it calls, tell it what came of it, until it is done.

The whole loop is on this page. What a model is asked and how its reply is read is each dialect's
part (a subclass), which tools there are and how a call is carried out that of `toolbox`.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, cast

from typing_extensions import TypeVar

from hud.agents.base import Agent
from hud.agents.row_settings import setting_problem, with_row
from hud.agents.run import Run
from hud.agents.spending import Spending
from hud.agents.tools.base import AgentTool, ToolMaker
from hud.agents.tools.toolbox import open_toolbox
from hud.agents.types import ToolAgentConfig
from hud.models.failure import ContextOverflow
from hud.trace.content import MCPToolCall, MCPToolResult, PromptMessage, TextContent
from hud.trace.steps import AgentStep, Step

MessageT = TypeVar("MessageT", default=Any)
ToolConfigT = TypeVar("ToolConfigT", bound=ToolAgentConfig, default=ToolAgentConfig, covariant=True)

_GO_ON = "Go on with the task on your own; nobody will answer questions. Say so when it is done."
_JUDGE = (
    "You read the last message of an assistant that works on a task without a person to answer it. "
    "Reply with the one word CONTINUE when it asks for permission, for a choice or for anything "
    "else instead of finishing; reply STOP when it is finished or cannot go on."
)


@dataclass
class RunState(Generic[MessageT]):
    """One conversation under way, which belongs to one run.

    Attributes:
        messages: The conversation so far, in the dialect's own form.
        tools: What the model may call, by name.
        params: The tools as the dialect declares them.
        config: The agent's settings with the task row's own over them.
        run: The run it belongs to; None outside of one.
        memory: What the dialect keeps from one turn to the next.
    """

    messages: list[MessageT] = field(default_factory=list[Any])
    tools: dict[str, AgentTool[Any]] = field(default_factory=dict[str, AgentTool[Any]])
    params: list[Any] = field(default_factory=list[Any])
    config: ToolAgentConfig = field(default_factory=ToolAgentConfig)
    run: Run | None = None
    memory: dict[str, Any] = field(default_factory=dict[str, Any])


class ToolAgent(Agent[ToolConfigT], Generic[ToolConfigT, MessageT]):
    """A model in a loop with tools attached to whatever capabilities an environment exposes.

    A subclass is a dialect: `get_response` asks the model once; `format_prompt`, `format_results`
    and `format_tools` say how prompt, results and tools look in its messages.

    Attributes:
        tool_catalog: Classes of tools; each is bound to the capabilities of its protocol.
    """

    config_cls = ToolAgentConfig
    tool_catalog: ClassVar[tuple[type[AgentTool[Any]], ...]] = ()

    def __init__(
        self,
        config: ToolConfigT | None = None,
        *,
        tools: Sequence[ToolMaker | Callable[..., Any]] = (),
    ) -> None:
        """Make an agent that drives any number of runs at once.

        Args:
            config: The settings; defaults when None.
            tools: Further tools of the agent's own: functions, `subagent(…)`, `tool_maker(…)`.
        """
        super().__init__(config)
        self.own_tools = tuple(tools)

    async def __call__(self, run: Run) -> None:
        config = self.config_for(run)
        catalog = self.catalog(config)
        async with open_toolbox(run, config, catalog, self.own_tools) as toolbox:
            state = RunState(
                messages=self.format_prompt(run.prompt_messages),
                tools=toolbox.tools,
                params=self.format_tools(toolbox.tools, config),
                config=config,
                run=run,
            )
            spent = Spending(config)
            for turn in itertools.count(1):
                step = await self.respond(state)
                stop = step.stop_reason or _stop_of(step, config)
                calls = [] if stop else step.tool_calls
                step.done = not calls
                run.record(step)
                if step.stop_reason != "context_overflow":
                    run.trace.content = step.content or run.trace.content or ""
                if not calls and (stop or not await self._is_to_go_on(state, step, turn)):
                    run.trace.stop_reason = cast("Any", stop or "done")
                    return
                if calls:
                    results = await toolbox.call_all(calls)
                    state.messages.extend(self.format_results(calls, results))
                spent.follow(run.trace)
                reached = spent.limit or ("max_steps" if turn == config.max_steps else None)
                if reached:
                    run.trace.stop_reason = reached
                    return

    async def respond(self, state: RunState[MessageT]) -> AgentStep:
        """Ask the model once more; a conversation it cannot hold is trimmed where that is wanted.

        Raises:
            ModelFault: when the model API fails.
        """
        config = state.config
        while True:
            try:
                return await self.get_response(
                    state,
                    system_prompt=config.system_prompt,
                    citations_enabled=config.citations_enabled,
                )
            except ContextOverflow as error:
                if config.on_context_overflow == "trim" and self.trim(state):
                    continue
                return AgentStep(
                    stop_reason="context_overflow",
                    model=config.model,
                    extra={"refusal_of_api": error.message},
                )

    @abstractmethod
    async def get_response(
        self,
        state: RunState[MessageT],
        *,
        system_prompt: str | None = None,
        citations_enabled: bool = False,
    ) -> AgentStep:
        """Ask the model once, append its reply to `state.messages`, and return it as a step.

        Raises:
            ContextOverflow: when the conversation does not fit the model.
            ModelFault: when the model API fails.
        """

    def format_prompt(self, messages: Sequence[PromptMessage]) -> list[MessageT]:
        """Return a prompt as messages of the dialect."""
        return cast("list[MessageT]", list(messages))

    def format_results(
        self, calls: Sequence[MCPToolCall], results: Sequence[MCPToolResult]
    ) -> list[MessageT]:
        """Return the results of a turn's calls, in their order, as messages of the dialect."""
        texts = [
            PromptMessage(role="user", content=block)
            for result in results
            for block in result.content
        ]
        return cast("list[MessageT]", texts)

    def format_tools(self, tools: dict[str, AgentTool[Any]], config: ToolAgentConfig) -> list[Any]:
        """Return tools as the dialect declares them, hosted ones last."""
        declared = [
            tool.native_spec()
            or {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
            }
            for tool in tools.values()
        ]
        return [*declared, *(hosted.spec for hosted in config.hosted_tools)]

    def trim(self, state: RunState[MessageT]) -> bool:
        """Shorten a conversation that does not fit; False when there is nothing to leave out."""
        return False

    def catalog(self, config: ToolAgentConfig) -> Sequence[type[AgentTool[Any]]]:
        """Return the classes of tools this model gets."""
        return self.tool_catalog

    def config_for(self, run: Run) -> ToolAgentConfig:
        """Return the settings with the task row's own over them.

        Raises:
            AgentFault: when the row has a setting this agent does not take.
        """
        return with_row(self.config, run, self.config_cls, check=self.check_settings)

    def check_settings(self, config: ToolAgentConfig) -> None:
        """See that settings go together, beyond their types.

        Raises:
            InputError: when they do not.
        """

    async def _is_to_go_on(self, state: RunState[MessageT], step: AgentStep, turn: int) -> bool:
        """With `auto_respond`, ask the model itself whether it is done, and tell it to go on."""
        config, run = state.config, state.run
        if not config.auto_respond or run is None or turn == config.max_steps or not step.content:
            return False
        asked = RunState(messages=self.format_prompt([_user(step.content)]), config=config, run=run)
        verdict = await self.get_response(asked, system_prompt=_JUDGE)
        verdict.extra["purpose"] = "auto_respond"
        run.record(verdict)
        if "CONTINUE" not in (verdict.content or "").upper():
            return False
        told = [_user(_GO_ON)]
        state.messages.extend(self.format_prompt(told))
        run.record(Step(source="user", messages=told))
        return True


MCPAgent = ToolAgent

__all__ = ["MCPAgent", "RunState", "ToolAgent", "setting_problem"]


def _stop_of(step: AgentStep, config: ToolAgentConfig) -> str | None:
    """Return why a turn is the last one, when it says so itself."""
    if step.finish_reason == "length" and ("length" in config.stop_on or not step.tool_calls):
        return "length"
    if "malformed_tool_call" in config.stop_on and any(
        isinstance(call.arguments, str) for call in step.tool_calls
    ):
        return "malformed_tool_call"
    return None


def _user(text: str) -> PromptMessage:
    return PromptMessage(role="user", content=TextContent(text=text))
