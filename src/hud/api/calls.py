"""Everything a platform can be asked, one function each; sending it is `client`'s matter.

Ids go out as they are given: reports carry hex ids, cancellations dashed ones, as existing
platforms expect.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

import msgspec

from hud._core.ids import is_id, normal_id
from hud.api import replies

T = TypeVar("T")

Service = Literal["origin", "api", "telemetry", "runtime"]
Query = Sequence[tuple[str, str | int]]

REPORT_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to a platform and how its answer is read.

    Attributes:
        reply: What the answer is; a list of it where `is_list`.
        body: Anything JSON can hold; None sends none.
        service: What `path` stands below: the origin (which is sent no key), its `/v2`, where
            telemetry goes, or where environments are lent.
        is_retried: Whether trying it again is harmless, and worth waiting for.
        timeout_s: For connecting, and for every wait on the answer.
        limit_bytes: How much of an answer is read at most.
    """

    method: str
    path: str
    reply: type[T]
    query: Query = ()
    body: Any = None
    service: Service = "api"
    is_retried: bool = True
    timeout_s: float = 60.0
    limit_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A call whose answer is a page, asked again until there are `limit` rows, or all.

    Attributes:
        limit: None is all there are.
    """

    path: str
    item: type[T]
    limit: int | None = None
    query: Query = ()
    page: int = field(default=100)


def _segment(text: str) -> str:
    return quote(text, safe="")


def dashed(run_or_job_id: str) -> str:
    """Return an id as a UUID is written; what is none comes back as it is."""
    plain = normal_id(run_or_job_id)
    return str(uuid.UUID(plain)) if is_id(plain) else run_or_job_id


# -- who and what -----------------------------------------------------------------------------


def me() -> Call[replies.Me]:
    """Whose key is it."""
    return Call("GET", "/auth/me", replies.Me)


def device_code(client_name: str, client_version: str) -> Call[replies.DeviceCode]:
    """Begin to sign in."""
    body = {"client_name": client_name, "client_version": client_version}
    return Call("POST", "/auth/device/code", replies.DeviceCode, body=body, service="origin")


def device_token(code: str) -> Call[replies.SignedIn]:
    """Ask whether a person has confirmed the sign-in."""
    return Call(
        "POST",
        "/auth/device/token",
        replies.SignedIn,
        body={"device_code": code},
        service="origin",
        is_retried=False,
    )


def projects(search: str | None = None) -> Listing[replies.Project]:
    """All projects, or those whose name has `search` in it."""
    query = (("search", search),) if search else ()
    return Listing("/projects", replies.Project, query=query)


def create_project(name: str, description: str | None = None) -> Call[replies.Project]:
    """Make a project."""
    body = _without_none({"name": name, "description": description})
    return Call("POST", "/projects", replies.Project, body=body, is_retried=False)


def models() -> Listing[replies.ModelOnPlatform]:
    """All models that are served."""
    return Listing("/models", replies.ModelOnPlatform)


def usage(group_by: Sequence[str], filters: Mapping[str, str | None], limit: int) -> Call[Any]:
    """Sums of what model calls took, all together and by group, the costliest first."""
    query = [("group_by", one) for one in group_by]
    query += [(name, value) for name, value in filters.items() if value is not None]
    return Call("GET", "/usage", replies.Usage, query=(*query, ("limit", limit)))


def budgets() -> Call[Any]:
    """All budgets of the team, with what was spent of each."""
    return Call("GET", "/budgets", replies.Page[replies.Budget])


def set_budget(
    scope: str, subject: str, *, max_cost_usd: float | None, max_tokens: int | None
) -> Call[replies.Budget]:
    """Set a budget; a limit that is None is no limit."""
    body = {
        "scope": scope,
        "subject": subject,
        "max_cost_usd": max_cost_usd,
        "max_tokens": max_tokens,
    }
    return Call("PUT", "/budgets", replies.Budget, body=body)


def remove_budget(scope: str, subject: str) -> Call[replies.BudgetRef]:
    """Remove a budget; the team's own has no subject."""
    tail = f"/{_segment(subject)}" if subject else ""
    return Call("DELETE", f"/budgets/{_segment(scope)}{tail}", replies.BudgetRef, is_retried=False)


def registry_entry(entry_id: str) -> Call[replies.RegistryEntry]:
    """One environment."""
    return Call("GET", f"/registry/{_segment(entry_id)}", replies.RegistryEntry)


def registry(search: str | None = None, *, limit: int = 20) -> Call[Any]:
    """The newest environments, or those whose name has `search` in it, as one page."""
    query: Query = (
        (("search", search), ("limit", limit))
        if search
        else (("limit", limit), ("sort_by", "date"))
    )
    return Call("GET", "/registry", replies.Page[replies.RegistryEntry], query=query)


# -- builds -----------------------------------------------------------------------------------


def build_upload() -> Call[replies.BuildUpload]:
    """Where the context of a new build is to be put."""
    return Call("POST", "/builds/upload-url", replies.BuildUpload, is_retried=False)


def trigger_build(body: Mapping[str, Any]) -> Call[replies.BuildTriggered]:
    """Have a context that was uploaded built."""
    return Call("POST", "/builds/trigger", replies.BuildTriggered, body=_without_none(body))


def build_state(build_id: str) -> Call[replies.BuildState]:
    """What has become of a build."""
    return Call("GET", f"/builds/{_segment(build_id)}/status", replies.BuildState)


def cancel_build(build_id: str) -> Call[replies.BuildState]:
    """Stop a build."""
    return Call("POST", f"/builds/{_segment(build_id)}/cancel", replies.BuildState)


def environment_builds(entry_id: str, limit: int | None = None) -> Listing[replies.BuildRow]:
    """The builds of an environment, the newest first."""
    return Listing(f"/registry/{_segment(entry_id)}/builds", replies.BuildRow, limit)


def roll_back(entry_id: str, version: int) -> Call[replies.RolledBack]:
    """Make a version that was built before the one that is run."""
    path = f"/registry/{_segment(entry_id)}/rollback"
    return Call("POST", path, replies.RolledBack, body={"version": version})


# -- jobs and runs ----------------------------------------------------------------------------


def jobs(limit: int | None) -> Listing[replies.JobOnPlatform]:
    """The newest jobs."""
    return Listing("/jobs", replies.JobOnPlatform, limit)


def job_runs(job_id: str, limit: int | None) -> Listing[replies.RunOnPlatform]:
    """The runs of a job."""
    return Listing(f"/jobs/{_segment(job_id)}/traces", replies.RunOnPlatform, limit)


def run_state(run_id: str) -> Call[replies.RunState]:
    """What has become of a run."""
    return Call("GET", f"/trace/{_segment(run_id)}", replies.RunState)


def run_events(run_id: str, *, after: int | None = None) -> Call[replies.Events]:
    """What happened in a run, from the start or after the place a part of it gave."""
    query = (("after", after),) if after is not None else ()
    return Call("GET", f"/trace/{_segment(run_id)}/events", replies.Events, query=query)


def cancel_run(run_id: str, job_id: str | None = None) -> Call[replies.RunCancelled]:
    """Cancel one run."""
    body = _without_none({"trace_id": dashed(run_id), "job_id": dashed(job_id) if job_id else None})
    return Call("POST", "/rollouts/cancel", replies.RunCancelled, body=body)


def cancel_job(job_id: str) -> Call[replies.JobCancelled]:
    """Cancel every run of a job."""
    body = {"job_id": dashed(job_id)}
    return Call("POST", "/rollouts/cancel_job", replies.JobCancelled, body=body)


def cancel_all() -> Call[replies.AllCancelled]:
    """Cancel all jobs of whoever asks."""
    return Call("POST", "/rollouts/cancel_user_jobs", replies.AllCancelled, body={})


# -- reporting --------------------------------------------------------------------------------


def job_enter(job_id: str, body: Mapping[str, Any]) -> Call[replies.Heard]:
    """A job begins, or goes on."""
    return _report(f"/trace/job/{_segment(job_id)}/enter", body)


def run_enter(run_id: str, body: Mapping[str, Any]) -> Call[replies.Heard]:
    """A run begins."""
    return _report(f"/trace/{_segment(run_id)}/enter", body)


def run_exit(run_id: str, body: Mapping[str, Any]) -> Call[replies.Heard]:
    """A run ended."""
    return _report(f"/trace/{_segment(run_id)}/exit", body)


def upload_spans(run_id: str, spans: Sequence[bytes]) -> Call[replies.Heard]:
    """What happened in a run: encoded spans, in any order, and any of them more than once."""
    return Call(
        "POST",
        f"/trace/{_segment(run_id)}/telemetry-upload",
        replies.Heard,
        body={"telemetry": [msgspec.Raw(span) for span in spans]},
        service="telemetry",
        timeout_s=UPLOAD_TIMEOUT_S,
    )


def _report(path: str, body: Mapping[str, Any]) -> Call[replies.Heard]:
    return Call("POST", path, replies.Heard, body=_without_none(body), timeout_s=REPORT_TIMEOUT_S)


# -- remote ------------------------------------------------------------------------------------


def submit(body: Mapping[str, Any]) -> Call[replies.Submitted]:
    """Have the platform run a rollout; doing it again with the same id changes nothing."""
    return Call("POST", "/rollouts/submit", replies.Submitted, body=_without_none(body))


def lend(environment: str, run_id: str | None = None) -> Call[replies.Lease]:
    """Lend an environment; it is answered before it can be reached."""
    body = _without_none({"environment": environment, "trace_id": run_id and dashed(run_id)})
    return Call(
        "POST",
        "/runtime/sessions",
        replies.Lease,
        body=body,
        service="runtime",
        is_retried=False,
        timeout_s=30.0,
    )


def lease(lease_id: str) -> Call[replies.Lease]:
    """How a lease stands."""
    path = f"/runtime/sessions/{_segment(lease_id)}"
    return Call("GET", path, replies.Lease, service="runtime", timeout_s=15.0)


def end_lease(lease_id: str) -> Call[replies.Lease]:
    """Give a lent environment back."""
    path = f"/runtime/sessions/{_segment(lease_id)}"
    return Call("DELETE", path, replies.Lease, service="runtime", timeout_s=60.0)


# -- tasksets ---------------------------------------------------------------------------------


def taskset_by_name(name: str) -> Call[replies.TasksetRef]:
    """The taskset of that name."""
    return Call("GET", f"/tasksets/by-name/{_segment(name)}", replies.TasksetRef)


def taskset(taskset_id: str) -> Call[replies.TasksetInfo]:
    """The taskset of that id."""
    return Call("GET", f"/tasksets/{_segment(taskset_id)}", replies.TasksetInfo)


def export_taskset(taskset_id: str) -> Call[replies.TasksetExport]:
    """All tasks of a taskset."""
    path = f"/tasksets/{_segment(taskset_id)}/export"
    return Call(
        "GET",
        path,
        replies.TasksetExport,
        timeout_s=UPLOAD_TIMEOUT_S,
        limit_bytes=512 * 1024 * 1024,
    )


def upload_tasks(
    name: str,
    items: Sequence[Mapping[str, Any]],
    *,
    taskset_id: str | None = None,
    project_id: str | None = None,
) -> Call[replies.Uploaded]:
    """Create and update tasks; makes the taskset when there is none of that name."""
    body = _without_none(
        {
            "taskset_name": name,
            "taskset_id": taskset_id,
            "project_id": project_id,
            "tasks": list(items),
        }
    )
    return Call("POST", "/tasks/upload", replies.Uploaded, body=body, timeout_s=UPLOAD_TIMEOUT_S)


def _without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
