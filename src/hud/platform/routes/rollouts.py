"""Rollouts that the platform runs: asked for here, watched where every run is."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from hud._core.ids import is_id, normal_id
from hud.platform.errors import ApiError
from hud.platform.identity import Reader, Recorder
from hud.platform.rollouts.order import RolloutAsk
from hud.platform.rollouts.rollouts import Rollouts
from hud.platform.routes.asked import refusals

router = APIRouter(prefix="/v2/rollouts", tags=["rollouts"])


class RolloutWanted(RolloutAsk):
    """A rollout to run, with the ids its client gave it."""

    trace_id: str = Field(min_length=1, max_length=200)
    job_id: str = Field(min_length=1, max_length=200)


class RolloutQueued(BaseModel):
    """A rollout is in the platform's hands.

    Attributes:
        is_new: Whether it was not known before; one id is run once.
    """

    trace_id: str
    job_id: str
    status: Literal["accepted"] = "accepted"
    is_new: bool


class QueueState(BaseModel):
    """How many rollouts of the team wait for a worker, and how many have one."""

    waiting: int
    running: int


def rollouts_of(request: Request) -> Rollouts:
    """Return the rollouts of the app that `request` came to."""
    return request.app.state.rollouts


@router.post("/submit", responses=refusals(400, 404, 409))
async def submit(request: Request, caller: Recorder, wanted: RolloutWanted) -> RolloutQueued:
    """Queue a rollout; its run can be asked about at once.

    It is run by a worker of the platform in the latest build of its environment, and recorded as
    any run is. Asking again with the same `trace_id` changes nothing.
    """
    run_id, job_id = _id(wanted.trace_id, "trace_id"), _id(wanted.job_id, "job_id")
    ask = RolloutAsk.model_validate(wanted.model_dump(exclude={"trace_id", "job_id"}))
    is_new = await rollouts_of(request).submit(caller, run_id, job_id, ask)
    return RolloutQueued(trace_id=run_id, job_id=job_id, is_new=is_new)


@router.get("/queue")
def read_queue(request: Request, caller: Reader) -> QueueState:
    """Say how many rollouts of the team wait, and how many are worked on."""
    waiting, running = rollouts_of(request).queue.count(caller.team)
    return QueueState(waiting=waiting, running=running)


def _id(text: str, name: str) -> str:
    found = normal_id(text)
    if not is_id(found):
        raise ApiError(400, f"{name} is no id: 32 hex digits, dashed or plain", kind="bad_input")
    return found
