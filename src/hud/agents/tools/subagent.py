"""Another agent as a tool: the model hands a piece of the work over and gets the answer back."""

from __future__ import annotations

from typing import Any

from hud.agents.base import Agent, AgentFunction, as_agent
from hud.agents.run import Run
from hud.agents.tools.base import AgentTool, ToolError, ToolMaker, text_result, tool_maker
from hud.agents.types import ToolAgentConfig
from hud.trace.content import MCPToolResult
from hud.trace.steps import SubagentStep


class SubagentTool(AgentTool[Any]):
    """Let an agent work on what the model writes, on the same environment.

    Its whole trace is one `SubagentStep` of the run, and its tokens count as the run's. What it
    fails at ends the run as if the run had failed at it: a subagent without a model is no answer.
    """

    parameters = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "task": {
                "type": "string",
                "description": "Everything it has to know: it sees nothing of this conversation.",
            }
        },
        "required": ["task"],
        "additionalProperties": False,
    }

    def __init__(self, run: Run, agent: Agent, name: str, description: str) -> None:
        self._run = run
        self._agent = agent
        self.name = name
        self.description = description

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        task = arguments.get("task")
        if not isinstance(task, str) or not task.strip():
            raise ToolError("say in `task` what is to be done")
        inner = self._run.within(task)
        try:
            answer = await self._agent(inner)
            if inner.trace.content is None and isinstance(answer, str):
                inner.trace.content = answer
        except BaseException:
            inner.trace.status = "error"
            raise
        else:
            inner.trace.status = "completed"
        finally:
            self._run.record(SubagentStep(subagent=inner.trace))
        return text_result(str(inner.trace.content or answer or "(it gave no answer)"))


def subagent(
    agent: Agent | AgentFunction, *, name: str, description: str, max_depth: int = 2
) -> ToolMaker:
    """Return a tool for `ToolAgent(tools=[…])` that hands work to another agent.

    Args:
        agent: Who works; on the run's own environment, with its capabilities.
        name: What the model calls it.
        description: What the model is told it is good for.
        max_depth: How deep subagents may call subagents; deeper down the tool is not offered.
    """
    inner = as_agent(agent)

    def make(run: Run, config: ToolAgentConfig) -> AgentTool[Any] | None:
        return None if run.depth >= max_depth else SubagentTool(run, inner, name, description)

    return tool_maker(make)
