"""A platform in memory, over real HTTP: what PLATFORM_API's clients ask, answered from dicts.

It knows what it was told and nothing more, so that a test can see what a client really sent.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

KEY = "hud-key-for-tests-0123456789"
DEADLINE_S = 60.0
_RESERVED = {"status", "reward", "error", "evaluation_result", "stop_reason", "metadata"}


@dataclass
class Told:
    """What a client reported of one run."""

    enters: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    spans: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    exits: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    uploads: int = 0

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The steps among the spans, in order."""
        spans = [span for span in self.spans.values() if "hud.seq" in span["attributes"]]
        spans.sort(key=lambda span: span["attributes"]["hud.seq"])
        return [span["attributes"]["hud.payload"] for span in spans]


@dataclass
class FakePlatform:
    """What the server knows, and how it behaves.

    Attributes:
        key: The key it accepts.
        replies: Sent instead of an answer, first come first served: status, headers, body.
        refuse: Asked before every answer with method, path and body; a reply is sent instead.
        is_foreign: Be somebody else's: fields it does not know are refused, and an exit needs a
            number as its reward.
        cancel: Told to every reporter.
        requests: Method, path and body of everything that was asked.
    """

    key: str = KEY
    jobs: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    runs: dict[str, Told] = field(default_factory=dict[str, Told])
    listed_jobs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    listed_runs: dict[str, list[dict[str, Any]]] = field(
        default_factory=dict[str, list[dict[str, Any]]]
    )
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    tasksets: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    projects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    models: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    registry: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    cancelled: list[tuple[str, dict[str, Any]]] = field(
        default_factory=list[tuple[str, dict[str, Any]]]
    )
    device_answers: list[tuple[int, dict[str, Any]]] = field(
        default_factory=list[tuple[int, dict[str, Any]]]
    )
    replies: list[tuple[int, dict[str, str], bytes]] = field(
        default_factory=list[tuple[int, dict[str, str], bytes]]
    )
    refuse: Callable[[str, str, Any], tuple[int, Any] | None] | None = None
    is_foreign: bool = False
    cancel: dict[str, Any] = field(default_factory=dict[str, Any])
    requests: list[tuple[str, str, Any]] = field(default_factory=list[tuple[str, str, Any]])
    port: int = 0

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The variables that make a client find it."""
        return {"HUD_API_URL": self.url, "HUD_API_KEY": self.key}

    def start(self) -> None:
        """Begin to listen, at the same port as before."""
        self._server = _Server(self)
        self.port = self._server.server_address[1]

    def stop(self) -> None:
        """Listen no more, and break every connection: as if it was never there."""
        server, self._server = self._server, None
        if server is not None:
            server.end()

    def paths(self, method: str | None = None) -> list[str]:
        """The paths that were asked for."""
        return [path for verb, path, _ in list(self.requests) if method in (None, verb)]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until what was told makes `condition` true."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, "it was not told in time"
                self._changed.wait(left)

    def answer(self, method: str, path: str, body: Any, key: str | None) -> tuple[int, Any]:
        """Answer one request."""
        with self._changed:
            self.requests.append((method, path, body))
            try:
                refused = self.refuse(method, path, body) if self.refuse is not None else None
                return refused or self._route(method, urlsplit(path), body, key)
            finally:
                self._changed.notify_all()

    def _route(self, method: str, url: Any, body: Any, key: str | None) -> tuple[int, Any]:
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = parse_qs(url.query)
        if parts[0] == "auth":
            return self._device(parts)
        if key != f"Bearer {self.key}":
            return 401, {"detail": f"no such key: {key}"}
        match [method, *parts]:
            case ["GET", "v2", "auth", "me"]:
                return 200, {"user_id": str(uuid.UUID(int=1)), "team_id": str(uuid.UUID(int=2))}
            case ["POST", "v2", "trace", "job", job_id, "enter"]:
                return self._job_enter(_hex(job_id), body)
            case ["POST", "v2", "trace", run_id, ("enter" | "exit") as what]:
                return self._run(_hex(run_id), what, body)
            case ["POST", "telemetry", "v3", "api", "trace", run_id, "telemetry-upload"]:
                return self._upload(_hex(run_id), body)
            case ["GET", "v2", "jobs"]:
                return 200, _page(self.listed_jobs, query)
            case ["GET", "v2", "jobs", job_id, "traces"]:
                rows = self.listed_runs.get(_hex(job_id))
                return (
                    (404, {"detail": f"no job {job_id}"})
                    if rows is None
                    else (
                        200,
                        _page(rows, query),
                    )
                )
            case ["GET", "v2", "trace", run_id, "events"]:
                found = self.events.get(_hex(run_id))
                return (
                    (404, {"detail": f"no trace {run_id}"})
                    if found is None
                    else (
                        200,
                        {"events": found},
                    )
                )
            case ["GET", "v2", "trace", run_id]:
                rows = [row for rows in self.listed_runs.values() for row in rows]
                found = next((row for row in rows if _hex(row["id"]) == _hex(run_id)), None)
                return (200, found) if found else (404, {"detail": f"no trace {run_id}"})
            case ["POST", "v2", "rollouts", what]:
                return self._cancel(what, body)
            case ["GET", "v2", "models"]:
                return 200, _page(self.models, query)
            case ["GET", "v2", "registry"]:
                return 200, _page(self.registry, query)
            case ["GET" | "POST", "v2", "projects"]:
                return self._projects(method, query, body)
            case ["GET", "v2", "tasksets", *rest]:
                return self._tasksets(rest)
            case ["POST", "v2", "tasks", "upload"]:
                return self._tasks(body)
            case _:
                return 404, {"detail": f"there is nothing at {url.path}"}

    def _job_enter(self, job_id: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.is_foreign and set(body) - {"name", "group", "taskset_id"}:
            return 422, {"detail": "extra fields not permitted"}
        self.jobs.setdefault(job_id, []).append(body)
        return 200, dict(self.cancel)

    def _run(self, run_id: str, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        run = self.runs.setdefault(run_id, Told())
        if what == "enter":
            if self.is_foreign and set(body) - {"job_id", "group_id", "task_slug", "model"}:
                return 422, {"detail": "extra fields not permitted"}
            run.enters.append(body)
        else:
            if self.is_foreign and set(body) - _RESERVED:
                return 422, {"detail": "extra fields not permitted"}
            if self.is_foreign and not isinstance(body.get("reward"), float | int):
                return 422, {"detail": "reward: field required"}
            run.exits.append(body)
        return 200, dict(self.cancel)

    def _upload(self, run_id: str, body: dict[str, Any]) -> tuple[int, Any]:
        run = self.runs.setdefault(run_id, Told())
        run.uploads += 1
        for span in body["telemetry"]:
            assert set(span) == {
                *("name", "trace_id", "span_id", "parent_span_id", "kind", "start_time"),
                *("end_time", "status_code", "status_message", "attributes", "events"),
            }
            run.spans.setdefault(span["span_id"], span)
        return 200, dict(self.cancel)

    def _cancel(self, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.cancelled.append((what, body))
        match what:
            case "cancel":
                return 200, {"status": "accepted"}
            case "cancel_job":
                return 200, {"cancelled": 3, "total_found": 3}
            case _:
                return 200, {"jobs_cancelled": 2, "total_tasks_cancelled": 5}

    def _device(self, parts: list[str]) -> tuple[int, Any]:
        if parts[-1] == "code":
            return 200, {
                "device_code": "device-1",
                "user_code": "ABCD-1234",
                "verification_uri": f"{self.url}/device",
                "expires_in": 600,
                "interval": 0,
            }
        return self.device_answers.pop(0)

    def _projects(self, method: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if method == "POST":
            row = {"id": str(uuid.uuid4()), "is_default": False, **body}
            self.projects.append(row)
            return 200, row
        wanted = query.get("search", [""])[0].lower()
        return 200, _page([row for row in self.projects if wanted in row["name"].lower()], query)

    def _tasksets(self, rest: list[str]) -> tuple[int, Any]:
        match rest:
            case ["by-name", name]:
                for taskset_id, held in self.tasksets.items():
                    if held["name"] == name:
                        return 200, {"taskset_id": taskset_id, "name": name}
            case [taskset_id, "export"] if taskset_id in self.tasksets:
                held = self.tasksets[taskset_id]
                return 200, {"name": held["name"], "tasks": list(held["tasks"].values())}
            case [taskset_id] if taskset_id in self.tasksets:
                return 200, {"id": taskset_id, "name": self.tasksets[taskset_id]["name"]}
            case _:
                pass
        return 404, {"detail": "there is no such taskset"}

    def _tasks(self, body: dict[str, Any]) -> tuple[int, Any]:
        named = (one for one, held in self.tasksets.items() if held["name"] == body["taskset_name"])
        taskset_id = body.get("taskset_id") or next(named, None) or str(uuid.uuid4())
        held = self.tasksets.setdefault(taskset_id, {"name": body["taskset_name"], "tasks": {}})
        created = updated = 0
        for item in body["tasks"]:
            record = {
                "env": item["env"]["name"],
                "scenario": item["task_id"],
                "name": item["name"],
                **{
                    name: item.get(name)
                    for name in (
                        *("args", "validation", "agent_config"),
                        *("columns", "runtime_config", "verifier"),
                    )
                },
            }
            updated += record["name"] in held["tasks"]
            created += record["name"] not in held["tasks"]
            held["tasks"][record["name"]] = record
        return 200, {
            "taskset_id": taskset_id,
            "tasks_created": created,
            "tasks_updated": updated,
        }


def _hex(text: str) -> str:
    return text.replace("-", "").lower()


def _page(rows: list[dict[str, Any]], query: dict[str, list[str]]) -> dict[str, Any]:
    offset = int(query.get("offset", ["0"])[0])
    limit = int(query.get("limit", [str(len(rows))])[0])
    return {"items": rows[offset : offset + limit], "total": len(rows)}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    allow_reuse_address = True

    def __init__(self, platform: FakePlatform) -> None:
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one write: otherwise each answer waits for an acknowledgement.
            wbufsize = -1

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                body = json.loads(raw) if raw else None
                key = self.headers.get("Authorization")
                headers: dict[str, str] = {}
                if platform.replies:
                    with_body = platform.replies.pop(0)
                    status, headers, data = with_body
                    platform.requests.append((self.command, self.path, body))
                else:
                    status, answer = platform.answer(self.command, self.path, body, key)
                    data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = do_DELETE = _any

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(("127.0.0.1", platform.port), Handler)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is gone is no news."""

    def end(self) -> None:
        self.shutdown()
        with self._guard:
            for request in self._open:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()


@contextmanager
def running_platform() -> Generator[FakePlatform]:
    """Serve a platform until the block ends."""
    platform = FakePlatform()
    platform.start()
    try:
        yield platform
    finally:
        platform.stop()
