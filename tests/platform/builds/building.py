"""Contexts to build, and building them over the API as any client does."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.platform.server import DEADLINE_S, Server

ENV = '''
from hud import Environment

env = Environment("{name}")


@env.template()
async def add(a: int, b: int = 1):
    """Add."""
    answer = yield f"{{a}} + {{b}}?"
    yield 1.0 if answer == str(a + b) else 0.0
'''


def source(name: str = "my-env", before: str = "", after: str = "") -> dict[str, str]:
    """Return the files of an environment; `before` and `after` are lines around its own."""
    return {"env.py": f"{before}\n{ENV.format(name=name)}\n{after}\n"}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder and return it."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def packed(files: Mapping[str, str]) -> bytes:
    """Return files as a gzipped tar."""
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    for name, text in files.items():
        entry = tarfile.TarInfo(name)
        entry.size = len(text.encode())
        entries.append((entry, text.encode()))
    return tarred(entries)


def tarred(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return these entries as a gzipped tar, whatever they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for entry, data in entries:
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def put(url: str, body: bytes) -> httpx.Response:
    """Upload as clients do: without a key."""
    headers = {"Content-Type": "application/gzip"}
    return httpx.put(url, content=body, headers=headers, timeout=DEADLINE_S, trust_env=False)


def uploaded(client: httpx.Client, body: bytes) -> str:
    """Upload a context and return the id of its build."""
    begun = client.post("/v2/builds/upload-url")
    assert begun.status_code == 200, begun.text
    reply = put(begun.json()["upload_url"], body)
    assert reply.status_code == 200, reply.text
    return str(begun.json()["build_id"])


def triggered(client: httpx.Client, build_id: str, name: str = "my-env", **more: Any) -> Any:
    """Have an uploaded context built, and return the reply."""
    body = {"source": "direct", "build_id": build_id, "name": name, "no_cache": False, **more}
    reply = client.post("/v2/builds/trigger", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def frames(server: Server, key: str, build_id: str) -> list[dict[str, Any]]:
    """Return everything the log's WebSocket says until it is closed."""
    return list(following(server, key, build_id))


def following(server: Server, key: str, build_id: str) -> Any:
    """Yield what the log's WebSocket says, as it says it."""
    address = f"{server.url.replace('http', 'ws', 1)}/v2/builds/{build_id}/logs?api_key={key}"
    with connect(address, proxy=None, open_timeout=DEADLINE_S) as socket:
        while True:
            try:
                yield json.loads(socket.recv(timeout=DEADLINE_S))
            except ConnectionClosed as error:
                code = None if error.rcvd is None else error.rcvd.code
                if code != 1000:
                    yield {"type": "closed", "code": code}
                return


def built(
    server: Server,
    client: httpx.Client,
    files: Mapping[str, str] | bytes,
    name: str = "my-env",
    **more: Any,
) -> Any:
    """Build files, follow the log to its end, and return the status with `log` and `last`."""
    body = files if isinstance(files, bytes) else packed(files)
    reply = triggered(client, uploaded(client, body), name, **more)
    heard = frames(server, key_of(client), reply["id"])
    state = client.get(f"/v2/builds/{reply['id']}/status").json()
    lines = [frame["message"] for frame in heard if frame["type"] == "log"]
    return {**state, "log": "\n".join(lines), "last": heard[-1], "frames": heard}


def key_of(client: httpx.Client) -> str:
    """Return the key a client carries."""
    return str(client.headers["Authorization"]).removeprefix("Bearer ")
