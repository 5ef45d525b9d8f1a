"""The store as a sink: what runs do becomes rows of the store."""

from __future__ import annotations

import math

from hud.store.base import Store
from hud.store.rows import LOCAL_TEAM, RunEnd, RunStart, StepRow
from hud.trace.clock import micros
from hud.trace.sinks import Event, RunEnded, RunStarted, SpanRecorded, StepRecorded


class StoreSink:
    """Write events to a store, as a team's. The store stays its owner's to close."""

    def __init__(self, store: Store, *, team: str = LOCAL_TEAM) -> None:
        self.store = store
        self.team = team

    def put(self, event: Event) -> None:
        match event:
            case StepRecorded():
                self.store.put(
                    StepRow(
                        run_id=event.trace_id,
                        seq=event.seq,
                        payload=event.payload,
                        source=event.source,
                        started_at=micros(event.started_at),
                        ended_at=micros(event.ended_at),
                        team=self.team,
                    )
                )
            case RunStarted():
                self.store.put(
                    RunStart(
                        id=event.trace_id,
                        job_id=event.job_id,
                        task_slug=event.task_slug,
                        started_at=event.started_at,
                        task_id=event.task_id,
                        env=event.env,
                        member=event.member,
                        attempt=event.attempt,
                        group_id=event.group_id,
                        model=event.model,
                        runtime=event.runtime,
                        task_digest=event.task_digest,
                        team=self.team,
                    )
                )
            case RunEnded():
                self.store.put(run_end(event, team=self.team))
            case SpanRecorded():
                pass

    async def committed(self) -> None:
        await self.store.committed()

    async def aclose(self) -> None:
        await self.store.committed()


def run_end(event: RunEnded, *, team: str = LOCAL_TEAM) -> RunEnd:
    """Return the row that says how a run ended."""
    reward = event.reward
    return RunEnd(
        id=event.trace_id,
        job_id=event.job_id,
        status=event.status,
        outcome=event.outcome,
        ended_at=event.ended_at,
        reward=None if reward is None or math.isnan(reward) else reward,
        stop_reason=event.stop_reason,
        error=event.error,
        evaluation=event.evaluation,
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        cached_tokens=event.cached_tokens,
        llm_calls=event.llm_calls,
        cost_usd=event.cost_usd,
        turns=event.turns,
        unpriced_turns=event.unpriced_turns,
        known_cost_usd=event.known_cost_usd,
        extra=event.extra,
        team=team,
    )
