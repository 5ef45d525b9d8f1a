"""What routes ask of rollouts: submit one, cancel some; with the worker of this server, if any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from hud._core.errors import InputError
from hud._core.outcome import Outcome
from hud.models.asgi import Refusal
from hud.platform.builds.placing import Deployed
from hud.platform.database import now_us
from hud.platform.errors import ApiError
from hud.platform.identity import Caller
from hud.platform.ingest.reports import job_heard_of, stored_id
from hud.platform.registry.arguments import Effort
from hud.platform.registry.environments import read_manifests
from hud.platform.rollouts.agents import models_of, needs_models
from hud.platform.rollouts.ending import end_if_over
from hud.platform.rollouts.gathering import Gathered
from hud.platform.rollouts.order import AgentAsk, RolloutAsk
from hud.platform.rollouts.queue import Asked, Cancelled, Queue
from hud.platform.rollouts.worker import Worker
from hud.platform.services import Services
from hud.store import RunEnd, RunStart
from hud.store.rows import UNCOUNTED

OPEN_PER_TEAM = 100_000

CheckModel = Callable[[str, str], Awaitable[None]]
"""Raises a refusal when nobody serves a model, by its name, to a team."""


class Rollouts:
    """The rollouts of one server. For one event loop, but for `cancel`."""

    def __init__(
        self,
        services: Services,
        worker: Worker | None,
        deployed: Deployed,
        check_model: CheckModel,
    ) -> None:
        self.worker = worker
        self._check_model = check_model
        self.queue = Queue(services.database)
        self._services = services
        self._deployed = deployed
        self._added = Gathered(self.queue.add)
        self._checked = Gathered(self._check_all)

    async def check(
        self, caller: Caller, agent: AgentAsk, rows: Iterable[Mapping[str, Any] | None]
    ) -> None:
        """Refuse an agent that could not work here: not its kind, or not with its model.

        Args:
            rows: What task rows say of agents.

        Raises:
            ApiError: with status 403 or 409.
            InputError: for an agent that does not run here.
        """
        models = models_of(agent, rows)
        if needs_models(agent) and not caller.may("inference"):
            raise ApiError(403, "this needs the scope 'inference'", kind="forbidden")
        for model in models:
            try:
                await self._check_model(caller.team, model)
            except Refusal as refusal:
                if refusal.status == 404:  # what may pass is the run's to wait for
                    raise ApiError(409, refusal.message, kind="no_model") from refusal

    async def submit(
        self,
        caller: Caller,
        run_id: str,
        job_id: str,
        ask: RolloutAsk,
        *,
        member: int | None = None,
        attempt: int = 1,
    ) -> bool:
        """Queue a rollout; it is shown as pending when this returns. One id runs once.

        Args:
            member: Which of its task's repeats it is; None for the next one.

        Returns:
            Whether it was new.

        Raises:
            ApiError: with status 403, 404, 409 or 429 when it may not be run, or 400 when it
                makes no sense.
            InputError: for an agent that does not run here.
        """
        await self.check(caller, ask.agent, [ask.agent_config])
        try:
            task = ask.as_task()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "task"
            raise ApiError(400, f"{where}: {first['msg']}", kind="bad_input") from error
        problem = await self._checked.do((caller.team, ask))
        if problem is not None:
            raise problem
        store = self._services.store
        store.put(job_heard_of(caller, job_id))
        store.put(
            RunStart(
                id=run_id,
                job_id=job_id,
                task_slug=task.slug,
                task_id=task.id,
                env=task.env,
                started_at=now_us(),
                member=UNCOUNTED if member is None else member,
                attempt=attempt,
                group_id=ask.group_id,
                model=_model(ask),
                task_digest=task.digest(),
                parent_id=stored_id(ask.parent_trace_id),
                is_pending=True,
                team=caller.team,
            )
        )
        # A worker may take it as soon as it is queued, and needs to know which member it is.
        await store.committed()
        asked = Asked(caller.team, run_id, job_id, caller.user_id, caller.key_id, ask, attempt)
        is_new = await self._added.do(asked)
        if self.worker is not None:
            self.worker.wake()
        return is_new

    def cancel(
        self, team: str, reason: str, *, runs: Iterable[str] = (), job_id: str | None = None
    ) -> Cancelled:
        """End what of these runs, or this job, waits or is worked on here; blocks.

        Raises:
            StoreError: when that cannot be kept.
        """
        found = self.queue.cancel(team, reason=reason, runs=runs, job_id=job_id)
        store = self._services.store
        for run_id in found.waiting:
            store.put(
                RunEnd(
                    id=run_id,
                    job_id="",
                    status="cancelled",
                    outcome=Outcome.CANCELLED,
                    error=reason,
                    ended_at=now_us(),
                    team=team,
                )
            )
        if found.waiting:
            store.flush()
        if job_id is not None and not found.running:
            end_if_over(self._services.database, store, [(team, job_id)], "cancelled")
        if self.worker is not None:
            self.worker.cancel(team, found.running, reason)
        return found

    def _check_all(
        self, asks: Sequence[tuple[str, RolloutAsk]]
    ) -> Sequence[ApiError | InputError | None]:
        """Return why each cannot be run; what is asked alike is looked up once."""
        found: list[ApiError | InputError | None] = []
        known: dict[tuple[str, str], Any] = {}
        counted: dict[str, int] = {}
        effort = Effort()
        with self._services.database.reading() as connection:
            for team, ask in asks:
                if team not in counted:
                    counted[team] = sum(self.queue.count(team))
                if counted[team] >= OPEN_PER_TEAM:
                    text = f"{OPEN_PER_TEAM:,} rollouts of this team wait already"
                    found.append(ApiError(429, text, kind="too_many"))
                    continue
                key = (team, ask.env)
                if key not in known:
                    try:
                        self._deployed.find(team, ask.env)
                        known[key] = read_manifests(connection, team, [ask.env])
                    except (ApiError, InputError) as error:
                        known[key] = error
                if isinstance(known[key], ApiError | InputError):
                    found.append(known[key])
                    continue
                problem: str | None = None
                for manifest in known[key].values():
                    problem = manifest.problem(ask.task, ask.args, effort)
                found.append((problem and ApiError(400, problem, kind="bad_input")) or None)
        return found


def _model(ask: RolloutAsk) -> str | None:
    model = ask.agent.config.get("model") or ask.agent.config.get("checkpoint_name")
    return model if needs_models(ask.agent) and isinstance(model, str) else None
