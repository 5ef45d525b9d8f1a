"""A run at a glance: its steps a line each, and which of them say something."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from hud._core import json
from hud.platform.identity import Reader
from hud.platform.reading.finding import RecordId, find_run
from hud.platform.reading.outline import (
    KINDS,
    OutlineItem,
    count_steps,
    find_steps,
    number_runs,
    read_kinds,
    read_outline,
)
from hud.platform.services import services_of

router = APIRouter(prefix="/v2/trace", tags=["traces"])


class OutlinePage(BaseModel):
    """Lines of consecutive steps; the first is number `offset`, from 0, of `total`."""

    items: list[OutlineItem]
    offset: int
    total: int


class KindsPage(BaseModel):
    """The kinds of consecutive steps in few bytes; the first is number `offset`, from 0.

    `runs` holds their numbers: the first of some consecutive ones, and how many those are.
    `kinds` has a letter for each, `a` being the first of `names`; `marks` a digit: 1 for an error,
    2 for a picture, 3 for both.
    """

    names: list[str]
    runs: list[list[int]]
    kinds: str
    marks: str
    offset: int
    total: int


class FoundSteps(BaseModel):
    """Steps that say what was asked for. `next_after` goes on where there may be more."""

    items: list[int]
    next_after: int | None


@router.get("/{trace_id}/outline", response_model=OutlinePage)
def outline(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    after: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
    digests: Annotated[bool, Query(description="Also hash what each step says.")] = False,
) -> Response:
    """Read the steps of a run, a line each, from an offset on or after the number `after`."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    with services.database.reading() as connection:
        before, total = count_steps(connection, run, up_to=after or 0)
        if after is not None:
            offset = before
        items = read_outline(
            connection, run, after=after, offset=offset, limit=limit, digests=digests
        )
    lines = [item.model_dump(exclude_defaults=True) for item in items]
    body = json.encode({"items": lines, "offset": offset, "total": max(total, offset + len(items))})
    return Response(body, media_type="application/json")


@router.get("/{trace_id}/kinds")
def kinds(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=50_000)] = 20_000,
) -> KindsPage:
    """Read which kind each step of a run is, after the number `after`."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    with services.database.reading() as connection:
        offset, total = count_steps(connection, run, up_to=after)
        seqs, letters, marks = read_kinds(connection, run, after=after, limit=limit)
    return KindsPage(
        names=list(KINDS),
        runs=number_runs(seqs),
        kinds=letters,
        marks=marks,
        offset=offset,
        total=max(total, offset + len(seqs)),
    )


@router.get("/{trace_id}/search")
def search(
    request: Request,
    caller: Reader,
    trace_id: RecordId,
    q: Annotated[str, Query(min_length=1, max_length=200)],
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
) -> FoundSteps:
    """Find the steps of a run that say `q` anywhere; upper and lower case are one."""
    services = services_of(request)
    run = find_run(services, caller, trace_id)
    with services.database.reading() as connection:
        found, next_after = find_steps(connection, run, q, after=after)
    return FoundSteps(items=found, next_after=next_after)
