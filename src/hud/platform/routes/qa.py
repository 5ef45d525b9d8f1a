"""Checks of traces by other agents: there are none here, and clients are told so."""

from __future__ import annotations

from typing import NoReturn

from fastapi import APIRouter
from pydantic import BaseModel

from hud.platform.errors import ApiError
from hud.platform.identity import Reader, Recorder
from hud.platform.routes.asked import Id, refusals

router = APIRouter(prefix="/v2", tags=["checks"])


class CheckAgentPage(BaseModel):
    """Agents that check: none."""

    items: list[dict[str, str]] = []
    total: int = 0


class CheckCatalog(BaseModel):
    """Checks there are: none."""

    checks: list[dict[str, str]] = []


class CheckResults(BaseModel):
    """What checks found: nothing."""

    results: list[dict[str, str]] = []


@router.get("/qa-agents", responses=refusals())
def list_check_agents(caller: Reader) -> CheckAgentPage:
    """List agents that check: an empty page."""
    return CheckAgentPage()


@router.get("/qa/checks", responses=refusals())
def list_checks(caller: Reader) -> CheckCatalog:
    """List checks: an empty catalog."""
    return CheckCatalog()


@router.get("/qa/results", responses=refusals())
def list_results(caller: Reader) -> CheckResults:
    """List what checks found: nothing."""
    return CheckResults()


@router.get("/qa-agents/results/resources", responses=refusals())
@router.get("/qa-agents/results", responses=refusals())
def list_agent_results(caller: Reader) -> list[dict[str, str]]:
    """List what agents found: nothing."""
    return []


@router.post("/qa/runs", response_model=None, responses=refusals(501))
def run_checks(caller: Recorder) -> NoReturn:
    """Refuse: nothing is checked here."""
    _none()


@router.post("/qa-agents/{agent_id}/run", response_model=None, responses=refusals(501))
@router.post("/qa-agents/{agent_id}/run-resources", response_model=None, responses=refusals(501))
def run_check_agent(caller: Recorder, agent_id: Id) -> NoReturn:
    """Refuse: nothing is checked here."""
    _none()


def _none() -> NoReturn:
    raise ApiError(501, "this platform runs no checks of traces", kind="not_available")
