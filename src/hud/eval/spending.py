"""What runs used: tokens, model turns and money, counted from steps and from recorded runs.

Money is counted where it is known, and the turns of unknown price beside it. What may be used is
`budget`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self, cast

from hud._core import json
from hud._core.errors import InputError
from hud.store import LOCAL_TEAM, RunRecord, Store, every_run
from hud.trace.steps import AgentStep, Step, SubagentStep, Usage


@dataclass(slots=True)
class Spent:
    """What some runs used together.

    Attributes:
        turns: Turns of a model, those that reported no usage included.
        unpriced_turns: Turns that reported usage whose price is unknown.
        known_cost_usd: What the turns of known price cost; None when there are none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    turns: int = 0
    unpriced_turns: int = 0
    known_cost_usd: float | None = None

    @classmethod
    def of(cls, steps: Iterable[Step]) -> Self:
        """Count the model turns among steps, those of subagents included."""
        spent = cls()
        for step in steps:
            for turn in turns_in(step):
                spent.add_turn(turn.usage)
        return spent

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_usd(self) -> float | None:
        """What all turns cost; None when the price of any is unknown, or there are none."""
        return None if self.unpriced_turns else self.known_cost_usd

    def add_turn(self, usage: Usage | None) -> None:
        """Take in one model turn."""
        self.turns += 1
        if usage is None:
            return
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        self.llm_calls += usage.llm_call_count or 1
        if is_priced(usage):
            self._pay(usage.cost_usd)
        else:
            self.unpriced_turns += 1

    def add_run(self, run: RunRecord) -> None:
        """Take in one recorded run that has ended."""
        self.prompt_tokens += run.prompt_tokens
        self.completion_tokens += run.completion_tokens
        self.cached_tokens += run.cached_tokens
        self.llm_calls += run.llm_calls
        self.turns += run.turns
        self.unpriced_turns += run.unpriced_turns
        self._pay(run.known_cost_usd)

    def add(self, other: Spent) -> None:
        """Take in what others used."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cached_tokens += other.cached_tokens
        self.llm_calls += other.llm_calls
        self.turns += other.turns
        self.unpriced_turns += other.unpriced_turns
        self._pay(other.known_cost_usd)

    def _pay(self, cost_usd: float | None) -> None:
        if cost_usd is not None:
            self.known_cost_usd = (self.known_cost_usd or 0.0) + cost_usd


def turns_in(step: Step) -> Iterator[AgentStep]:
    """Yield the model turn that a step is, or those of the subagent that it holds."""
    if isinstance(step, AgentStep):
        yield step
    elif isinstance(step, SubagentStep):
        for inner in step.subagent.steps:
            yield from turns_in(inner)


def is_priced(usage: Usage) -> bool:
    """Tell whether what a turn cost is known."""
    return usage.cost_usd is not None and math.isfinite(usage.cost_usd)


class Ledger:
    """What the recorded runs of a job used, and how long it was worked on.

    Attributes:
        spent: Of every run added. One that never ended counts with the steps it left.
    """

    def __init__(self, store: Store, job_id: str, *, team: str = LOCAL_TEAM) -> None:
        self._store = store
        self._team = team
        self._worked_s = 0.0
        with contextlib.suppress(InputError):  # not recorded yet
            self._worked_s = store.find_job(job_id, team=team).worked_s or 0.0
        self._spans: list[tuple[int, int]] = []
        self.spent = Spent()

    def add(self, run: RunRecord) -> Spent:
        """Take in a run and return what it used itself."""
        spent, ended_at = Spent(), run.ended_at
        if ended_at is None:
            ended_at = self._read_unfinished(run, spent)
        else:
            spent.add_run(run)
        self._spans.append((run.started_at, ended_at))
        self.spent.add(spent)
        return spent

    def _read_unfinished(self, run: RunRecord, spent: Spent) -> int:
        last = run.started_at
        for step in self._store.read_steps(run.id, resolve=False, team=self._team):
            last = max(last, step.ended_at or last)
            if step.source in ("agent", "subagent"):
                for usage in usages_in(json.decode(step.payload)):
                    spent.add_turn(usage)
        return last

    @property
    def wall_s(self) -> float:
        """Seconds the job was worked on, as it said when it ended last.

        If it was killed later, the seconds during which any of the runs was under way.
        """
        total, until = 0, 0
        for started_at, ended_at in sorted(self._spans):
            total += max(0, ended_at - max(started_at, until))
            until = max(until, ended_at)
        return max(self._worked_s, total / 1e6)


def read_ledger(store: Store, job_id: str) -> Ledger:
    """Read what a job has used so far, all attempts at everything."""
    ledger = Ledger(store, job_id)
    for run in every_run(store, job_id):
        ledger.add(run)
    return ledger


def usages_in(payload: Any) -> Iterator[Usage | None]:
    """Do as `turns_in` with a recorded step; None stands for a turn that reported no usage."""
    row = cast("dict[str, Any]", payload) if isinstance(payload, dict) else {}
    if row.get("source") == "agent":
        try:
            yield Usage.model_validate(row.get("usage"))
        except ValueError:
            yield None
    elif isinstance(trace := row.get("subagent"), dict):
        steps = cast("dict[str, Any]", trace).get("steps")
        for inner in cast("list[Any]", steps) if isinstance(steps, list) else ():
            yield from usages_in(inner)
