"""What one run has used of what it may use."""

from __future__ import annotations

from typing import Literal, Protocol

from hud.trace.steps import Trace, Usage, usages_of


class SpendingLimits(Protocol):
    """Settings that say what a run may use; None is no limit."""

    @property
    def max_total_tokens(self) -> int | None: ...

    @property
    def max_cost_usd(self) -> float | None: ...


class Spending:
    """Tokens and money of a run's turns so far, against the limits of its settings."""

    def __init__(self, config: SpendingLimits) -> None:
        self._max_tokens = config.max_total_tokens
        self._max_cost_usd = config.max_cost_usd
        self.tokens = 0
        self.cost_usd = 0.0
        self._followed = 0

    def add(self, usage: Usage | None) -> None:
        """Count a turn; what is not known of it counts nothing."""
        if usage is not None:
            self.tokens += (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
            self.cost_usd += usage.cost_usd or 0.0

    def follow(self, trace: Trace) -> None:
        """Count what a trace has got since it was last looked at, subagents' turns included."""
        for at in range(self._followed, len(trace.steps)):
            for usage in usages_of(trace.steps[at]):
                self.add(usage)
        self._followed = len(trace.steps)

    @property
    def limit(self) -> Literal["max_tokens", "max_cost"] | None:
        """The limit that is reached, as a stop reason."""
        if self._max_tokens is not None and self.tokens >= self._max_tokens:
            return "max_tokens"
        if self._max_cost_usd is not None and self.cost_usd >= self._max_cost_usd:
            return "max_cost"
        return None
