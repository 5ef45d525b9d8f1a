"""What the worker says, as steps of the run's trace, with what each turn cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from hud.agents.browser_use.events import Acted, ActionOutcome, CallTokens, Stumbled, Turned
from hud.agents.run import Run
from hud.trace.clock import utc_now
from hud.trace.content import (
    ContentBlock,
    ImageContent,
    MCPToolCall,
    MCPToolResult,
    PromptMessage,
    TextContent,
)
from hud.trace.steps import AgentStep, Step, ToolStep, Usage

CostOf = Callable[[CallTokens], float | None]

_ANSWER = "done"
_SKIPPED = "not carried out: the page had changed, or an action before it failed"


class StepRecorder:
    """Records one run's events.

    Args:
        shows_pictures: Whether the model is shown the screenshots.
        cost_of: What one call costs in US dollars, None where that is unknown.
    """

    def __init__(self, run: Run, model: str, *, shows_pictures: bool, cost_of: CostOf) -> None:
        self._run = run
        self._model = model
        self._shows_pictures = shows_pictures
        self._cost_of = cost_of
        self._calls: list[MCPToolCall] = []
        self._since = utc_now()

    def turned(self, event: Turned) -> None:
        """Record what the model saw, then what it answered."""
        shown: list[ContentBlock] = [TextContent(text=f"{event.title}\n{event.url}".strip())]
        if event.screenshot and self._shows_pictures:
            shown.append(ImageContent(data=event.screenshot, mimeType="image/png"))
        messages = [PromptMessage(role="user", content=block) for block in shown]
        self._run.record(Step(source="user", messages=messages, started_at=self._since))
        self._calls = [
            MCPToolCall(
                name=action.name, arguments=action.arguments, id=f"turn_{event.number}_{place}"
            )
            for place, action in enumerate(event.actions)
        ]
        answer = _answer_of(self._calls)
        thought = [
            event.thinking,
            f"Evaluation: {event.evaluation}" if event.evaluation else None,
            f"Memory: {event.memory}" if event.memory else None,
        ]
        self._record(
            AgentStep(
                content=event.goal or event.memory if answer is None else answer,
                reasoning="\n".join(filter(None, thought)) or None,
                tool_calls=[] if answer is not None else self._calls,
                done=answer is not None,
                started_at=event.started_at,
                ended_at=event.ended_at,
            ),
            event.usage,
        )

    def acted(self, event: Acted) -> None:
        """Record each action with what came of it, and what asking the model in between cost."""
        calls, self._calls = self._calls, []
        if _answer_of(calls) is None:
            results: list[ActionOutcome | None] = [*event.results]
            results += [None] * (len(calls) - len(results))
            for call, outcome in zip(calls, results, strict=False):
                step = ToolStep(call=call, result=_result(call, outcome), started_at=self._since)
                self._run.record(step)
        self.spent(event.usage, "extract")

    def stumbled(self, event: Stumbled) -> None:
        """Record a step that came to no action."""
        self._record(AgentStep(error=event.error, started_at=self._since), event.usage)

    def spent(self, usage: Sequence[CallTokens], purpose: str) -> None:
        """Record calls of the model beside its turns."""
        if usage:
            self._record(AgentStep(extra={"purpose": purpose}, started_at=self._since), usage)

    def _record(self, step: AgentStep, calls: Sequence[CallTokens]) -> None:
        step.model = self._model
        step.usage = self._usage(calls)
        self._run.record(step)
        self._since = utc_now()

    def _usage(self, calls: Sequence[CallTokens]) -> Usage | None:
        if not calls:
            return None
        costs = [self._cost_of(call) for call in calls]
        known = [cost for cost in costs if cost is not None]
        return Usage(
            prompt_tokens=_sum([call.prompt_tokens for call in calls]),
            completion_tokens=_sum([call.completion_tokens for call in calls]),
            cached_tokens=_sum([call.cached_tokens for call in calls]),
            cache_write_tokens=_sum([call.cache_write_tokens for call in calls]),
            cost_usd=math.fsum(known) if len(known) == len(costs) else None,
            llm_call_count=len(calls),
        )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _answer_of(calls: Sequence[MCPToolCall]) -> str | None:
    """Return the final answer, where giving it is all there is to do."""
    if len(calls) != 1 or calls[0].name != _ANSWER or not isinstance(calls[0].arguments, dict):
        return None
    return str(calls[0].arguments.get("text") or "")


def _result(call: MCPToolCall, outcome: ActionOutcome | None) -> MCPToolResult:
    if outcome is None:
        return _text(call, _SKIPPED, is_error=True)
    if outcome.error is not None:
        return _text(call, outcome.error, is_error=True)
    result = _text(call, outcome.text, is_error=False)
    result.content += [ImageContent(data=data, mimeType="image/png") for data in outcome.pictures]
    return result


def _text(call: MCPToolCall, text: str, *, is_error: bool) -> MCPToolResult:
    return MCPToolResult(content=[TextContent(text=text)], isError=is_error, call_id=call.id)
