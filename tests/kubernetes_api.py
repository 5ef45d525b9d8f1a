"""A local server that speaks the Kubernetes API for pods, so that the real client can be used.

Create, read, list, watch, log, port-forward (over a WebSocket, with the channels of
`v4.channel.k8s.io`) and delete, with the API's own error bodies. Behind a pod a real process runs:
the command of its container, on this machine's loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

_PODS = "/api/v1/namespaces/{namespace}/pods"
_TOKEN = "a-token-of-the-tests"
_DATA, _ERROR = b"\x00", b"\x01"


@dataclass(slots=True, eq=False)
class Pod:
    """A pod and the process that stands for its container."""

    manifest: dict[str, Any]
    status: dict[str, Any] = field(default_factory=lambda: {"phase": "Pending"})
    process: asyncio.subprocess.Process | None = None
    port: int = 0
    log: bytes = b""
    watch: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    def body(self) -> dict[str, Any]:
        """Return the pod as the API gives it."""
        return {**self.manifest, "status": self.status}


class KubernetesApi:
    """The server. Images are folders of this machine, in which a pod's command runs.

    Attributes:
        pods: Those that were made and not deleted, by name.
        made: Every manifest that was ever accepted.
        calls: Method and path of every request.
        refuses: A path's error for a method: (status, reason, message).
    """

    def __init__(self, images: Mapping[str, Path]) -> None:
        self.images = images
        self.pods: dict[str, Pod] = {}
        self.made: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []
        self.refuses: dict[str, tuple[int, str, str]] = {}
        self.url = ""
        self._events: dict[asyncio.Queue[tuple[str, dict[str, Any]]], str] = {}

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        path.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
            f"clusters: [{{name: here, cluster: {{server: {self.url!r}}}}}]\n"
            f"users: [{{name: me, user: {{token: {_TOKEN}}}}}]\n"
            "contexts: [{name: here, context: {cluster: here, user: me, namespace: evals}}]\n"
        )
        return path

    def kill(self, name: str) -> None:
        """Kill the container of a pod, as a kernel without memory would."""
        process = self.pods[name].process
        assert process is not None
        process.kill()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[KubernetesApi]:
        app = web.Application(middlewares=[self._admit])
        app.router.add_post(_PODS, self._create)
        app.router.add_get(_PODS, self._list)
        app.router.add_get(f"{_PODS}/{{name}}", self._read)
        app.router.add_delete(f"{_PODS}/{{name}}", self._delete)
        app.router.add_get(f"{_PODS}/{{name}}/log", self._log)
        app.router.add_get(f"{_PODS}/{{name}}/portforward", self._forward)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            self.url = f"http://127.0.0.1:{port}"
            yield self
        finally:
            for pod in list(self.pods.values()):
                await self._remove(pod)
            await runner.cleanup()

    @web.middleware
    async def _admit(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.calls.append((request.method, request.path))
        if request.headers.get("authorization") != f"Bearer {_TOKEN}":
            return _status(401, "Unauthorized", "Unauthorized")
        part = request.path.rpartition("/")[2]
        refusal = self.refuses.get(f"{request.method} {part}") or self.refuses.get(request.method)
        if refusal is not None:
            return _status(*refusal)
        response = await handler(request)
        response.force_close()  # kept connections would be counted as what a provider leaves
        return response

    async def _create(self, request: web.Request) -> web.StreamResponse:
        manifest = await request.json()
        manifest["metadata"]["namespace"] = request.match_info["namespace"]
        pod = Pod(manifest)
        if pod.name in self.pods:
            return _status(409, "AlreadyExists", f'pods "{pod.name}" already exists')
        self.pods[pod.name] = pod
        self.made.append(manifest)
        pod.watch = asyncio.create_task(self._run(pod))
        return web.json_response(pod.body(), status=201)

    async def _run(self, pod: Pod) -> None:
        """Be the scheduler and the kubelet of one pod."""
        self._tell("ADDED", pod)
        (container,) = pod.manifest["spec"]["containers"]
        folder = self.images.get(container["image"])
        if folder is None:
            why = {"reason": "ErrImagePull", "message": f"{container['image']}: not found"}
            pod.status = _waiting(why)
            self._tell("MODIFIED", pod)
            return
        pod.status = _waiting({"reason": "ContainerCreating"})
        self._tell("MODIFIED", pod)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            pod.port = free.getsockname()[1]
        words = [str(pod.port) if word == "8765" else word for word in container["command"]]
        if words[0] == "hud":
            words[:1] = [sys.executable, "-m", "hud"]
        process = pod.process = await asyncio.create_subprocess_exec(
            *words,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **{row["name"]: row["value"] for row in container["env"]}},
        )
        pod.status = {"phase": "Running", "containerStatuses": [_container({"running": {}})]}
        self._tell("MODIFIED", pod)
        assert process.stdout is not None
        while chunk := await process.stdout.read(4096):
            pod.log += chunk
        code = await process.wait()
        reason = "OOMKilled" if code == -signal.SIGKILL else "Error" if code else "Completed"
        ended = {"terminated": {"exitCode": 128 - code if code < 0 else code, "reason": reason}}
        pod.status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [_container(ended)],
        }
        self._tell("MODIFIED", pod)

    def _tell(self, kind: str, pod: Pod) -> None:
        for queue, wanted in self._events.items():
            if wanted in ("", pod.name):
                queue.put_nowait((kind, pod.body()))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("fieldSelector", "").partition("metadata.name=")[2]
        labels = dict(
            part.split("=", 1) for part in request.query.get("labelSelector", "").split(",") if part
        )
        found = [
            pod.body()
            for pod in self.pods.values()
            if name in ("", pod.name)
            and labels.items() <= pod.manifest["metadata"]["labels"].items()
        ]
        if request.query.get("watch") not in ("true", "True", "1"):
            meta = {"resourceVersion": "1"}
            return web.json_response(
                {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": found}
            )
        queue: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        for body in found:
            queue.put_nowait(("ADDED", body))
        self._events[queue] = name
        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.force_close()
        await response.prepare(request)
        try:
            async with asyncio.timeout(float(request.query.get("timeoutSeconds", "60"))):
                while True:
                    kind, body = await queue.get()
                    await response.write(web.json_response({"type": kind, "object": body}).body)
                    await response.write(b"\n")
        except (TimeoutError, ConnectionError):
            pass
        finally:
            del self._events[queue]
        return response

    async def _read(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.get(request.match_info["name"])
        return _not_found(request) if pod is None else web.json_response(pod.body())

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.get(request.match_info["name"])
        if pod is None:
            return _not_found(request)
        await self._remove(pod)
        return web.json_response(pod.body())

    async def _remove(self, pod: Pod) -> None:
        self.pods.pop(pod.name, None)
        if pod.process is not None and pod.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pod.process.pid, signal.SIGKILL)
        if pod.watch is not None:
            if pod.process is None:
                pod.watch.cancel()
            await asyncio.wait([pod.watch])
        self._tell("DELETED", pod)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.get(request.match_info["name"])
        if pod is None:
            return _not_found(request)
        if pod.process is None:
            return _status(400, "BadRequest", f'container "main" in pod "{pod.name}" is waiting')
        said = pod.log[-int(request.query.get("limitBytes", "65536")) :]
        return web.Response(body=said, content_type="text/plain")

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        pod = self.pods.get(request.match_info["name"])
        if pod is None:
            return _not_found(request)
        ws = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await ws.prepare(request)
        port = struct.pack("<H", int(request.query["ports"]))
        await ws.send_bytes(_DATA + port)
        await ws.send_bytes(_ERROR + port)
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        except OSError as error:
            await ws.send_bytes(_ERROR + f"connection refused: {error}".encode())
            await ws.close()
            return ws
        down = asyncio.create_task(_down(reader, ws))
        try:
            async for message in ws:
                if message.type is not WSMsgType.BINARY:
                    break
                assert message.data[:1] == _DATA
                writer.write(message.data[1:])
        finally:
            down.cancel()
            await asyncio.wait([down])
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return ws


async def _down(reader: asyncio.StreamReader, ws: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            await ws.send_bytes(_DATA + chunk)
    await ws.close()


def _container(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "main",
        "image": "",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _waiting(why: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [_container({"waiting": why})]}


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return web.json_response({**body, "reason": reason, "message": message}, status=code)


def _not_found(request: web.Request) -> web.Response:
    return _status(404, "NotFound", f'pods "{request.match_info["name"]}" not found')
