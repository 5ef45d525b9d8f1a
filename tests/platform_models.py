"""A local server that answers as a platform's catalog of models does: `GET /v2/models`, paged."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "hud-key-for-tests-0123456789"


def row(model_name: str, agent: str | None = "openai_compatible", **more: Any) -> dict[str, Any]:
    """Return a row as the platform lists it."""
    return {
        "id": f"id-of-{model_name}",
        "name": more.pop("name", None),
        "model_name": model_name,
        "sdk_agent_type": agent,
        "is_trainable": False,
        "provider": {"name": more.pop("provider", None)},
        "something_new": 1,
        **more,
    }


@dataclass
class Platform:
    """What the server lists, and what it was asked.

    Attributes:
        total: What it says the number of rows is; None is the truth.
        reply: Sent instead of a page: a status and a body.
    """

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    total: int | None = None
    reply: tuple[int, bytes] | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list[str])

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.reply is not None:
            return self.reply
        parts = urlsplit(path)
        if parts.path != "/v2/models":
            return 404, b"{}"
        if authorization != f"Bearer {KEY}":
            return 401, b'{"detail": "no such key"}'
        query = parse_qs(parts.query)
        limit, offset = int(query["limit"][0]), int(query["offset"][0])
        total = len(self.rows) if self.total is None else self.total
        page = {"items": self.rows[offset : offset + limit], "total": total}
        return 200, json.dumps(page).encode()


@contextmanager
def platform(*rows: dict[str, Any]) -> Generator[Platform]:
    """Serve these rows until the block ends."""
    served = Platform(list(rows))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = served.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
