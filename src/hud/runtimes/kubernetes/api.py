"""The calls to a Kubernetes API server, by the official client, each in a thread of its own pool.

The client is synchronous; nothing here knows what a rollout is.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import socket
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hud._core.errors import HudError, InputError, RuntimeFault, bounded
from hud._core.finishing import unbroken
from hud._core.redact import redact
from hud._core.relay import Relay
from hud.runtimes.kubernetes.pod import PodState, state_of

_THREADS = 64
_CALL_S = 30.0
_LOG_BYTES = 16 * 1024
_LOG_LINES = 40
_WATCH_S = 60
_CLOSE_S = 5.0
_LOOK_S = 0.005
NOT_FOUND = 404


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """An open port-forward: a stream socket that leads to a pod, and the client's own end."""

    near: socket.socket
    websocket: Any

    def close(self) -> None:
        """Close both. Blocks until the client's thread has let go, of which it tells nobody."""
        self.near.close()
        deadline = time.monotonic() + _CLOSE_S
        while self.websocket.connected and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        self.websocket.shutdown()


class Api:
    """One namespace of one cluster. `open`, then `aclose` in every case."""

    def __init__(self, namespace: str | None, context: str | None) -> None:
        self.namespace = namespace or "default"
        self._asked_namespace = namespace
        self._context = context
        self._client: Any = None
        self._core: Any = None
        self._configuration: Any = None
        self._threads: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        """Read the configuration: of the pod this runs in, else the user's kubeconfig.

        Raises:
            InputError: when the client is not installed, or there is no configuration.
        """
        try:
            self._client = importlib.import_module("kubernetes")
            importlib.import_module("kubernetes.stream")
        except ModuleNotFoundError as error:
            raise InputError(
                "KubernetesRuntime needs the Kubernetes client",
                hint="pip install 'hud-python[kubernetes]'",
            ) from error
        await asyncio.to_thread(self._configure)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="hud-kubernetes")

    async def aclose(self) -> None:
        """Close the connections."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.to_thread(threads.shutdown)
        if self._core is not None:
            self._core.api_client.close()

    async def create(self, manifest: dict[str, Any]) -> None:
        """Make a pod.

        Raises:
            InputError: when the API server finds the manifest invalid.
            RuntimeFault: when it refuses otherwise, a quota for one, or does not answer.
        """
        await self._call(
            "the pod was refused",
            lambda: self._core.create_namespaced_pod(
                self.namespace, manifest, _request_timeout=_CALL_S
            ),
        )

    async def wait_running(self, name: str, timeout_s: float, on_state: Any) -> PodState:
        """Watch a pod until its container runs or never will, or the time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        state = PodState()
        while not state.is_running and state.end is None:
            left = deadline - loop.time()
            if left <= 0:
                break
            seconds = max(1, min(_WATCH_S, int(left) + 1))
            state = await self._call("the pod was lost", lambda: self._watch(name, seconds))  # noqa: B023 -- called at once
            on_state(state)
        return state

    async def state(self, name: str) -> PodState:
        """Return how a pod is now."""
        return await self._call("the pod's state is unknown", lambda: self._read(name))

    async def log(self, name: str) -> str:
        """Return the end of what the pod printed, redacted; empty when there is nothing."""
        try:
            text = await self._call(
                "no log",
                lambda: self._core.read_namespaced_pod_log(
                    name,
                    self.namespace,
                    tail_lines=_LOG_LINES,
                    limit_bytes=_LOG_BYTES,
                    _request_timeout=_CALL_S,
                ),
            )
        except (RuntimeFault, InputError):
            return ""
        return redact(str(text or "")).strip()[-1_000:]

    async def delete(self, name: str) -> None:
        """Delete a pod; one that is gone is no error.

        Raises:
            RuntimeFault: when the API server refuses or does not answer.
        """
        await self._call("the pod was not deleted", lambda: self._delete(name))

    async def labelled(self, selector: str) -> list[tuple[str, dict[str, str]]]:
        """Return the names and labels of the pods that a selector means."""
        found: Any = await self._call(
            "the pods could not be listed",
            lambda: self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, limit=500, _request_timeout=_CALL_S
            ),
        )
        pods: list[Any] = list(found.items or ())
        return [(str(pod.metadata.name), dict(pod.metadata.labels or {})) for pod in pods]

    @contextlib.asynccontextmanager
    async def way(self, name: str, port: int) -> AsyncGenerator[Relay]:
        """Open a way to a port of a pod: a port-forward, so that nothing of it is exposed.

        Raises:
            RuntimeFault: when the API server opens no way there.
        """
        far = Relay()
        opening = asyncio.ensure_future(
            self._call("no way to the pod", lambda: self._forward(name, port))
        )
        try:
            way = await asyncio.shield(opening)
            loop = asyncio.get_running_loop()
            await loop.create_unix_connection(lambda: far, sock=way.near.dup())
            yield far
        finally:
            far.close()
            await unbroken(self._close_way(opening))

    async def _close_way(self, opening: asyncio.Future[_Way]) -> None:
        """Close a way once it is open, if it ever is."""
        await asyncio.wait([opening])
        if not opening.cancelled() and opening.exception() is None:
            with contextlib.suppress(HudError):
                await self._call("a way was not closed", opening.result().close)

    def _configure(self) -> None:
        config, client = self._client.config, self._client.client
        configuration = client.Configuration()
        try:
            if self._context is None:
                try:
                    config.load_incluster_config(client_configuration=configuration)
                except config.ConfigException:
                    config.load_kube_config(client_configuration=configuration)
                    self._namespace_of(config)
            else:
                config.load_kube_config(context=self._context, client_configuration=configuration)
                self._namespace_of(config)
        except Exception as error:
            raise InputError(
                f"there is no configuration of a Kubernetes cluster: {bounded(str(error), 300)}",
                hint="does `kubectl get pods` work here? KUBECONFIG names another file",
            ) from error
        configuration.retries = False
        self._configuration = configuration
        self._core = client.CoreV1Api(client.ApiClient(configuration))

    def _namespace_of(self, config: Any) -> None:
        if self._asked_namespace is not None:
            return
        contexts, active = config.list_kube_config_contexts()
        chosen = next((one for one in contexts if one["name"] == self._context), active)
        self.namespace = str(chosen["context"].get("namespace") or "default")

    def _watch(self, name: str, seconds: int) -> PodState:
        """Follow a pod's events until one says that it runs or ended, or the seconds are over."""
        watch = self._client.watch.Watch()
        state = PodState()
        for event in watch.stream(
            self._core.list_namespaced_pod,
            self.namespace,
            field_selector=f"metadata.name={name}",
            timeout_seconds=seconds,
            _request_timeout=seconds + _CALL_S,
        ):
            if event["type"] == "DELETED":
                state = PodState(end="the pod was deleted")
            else:
                state = state_of(event["raw_object"])
            if state.is_running or state.end is not None:
                watch.stop()
                break
        return state

    def _read(self, name: str) -> PodState:
        try:
            pod = self._core.read_namespaced_pod(name, self.namespace, _request_timeout=_CALL_S)
        except self._client.client.ApiException as error:
            if error.status == NOT_FOUND:
                return PodState(end="the pod was deleted")
            raise
        return state_of(self._core.api_client.sanitize_for_serialization(pod))

    def _delete(self, name: str) -> None:
        try:
            self._core.delete_namespaced_pod(name, self.namespace, _request_timeout=_CALL_S)
        except self._client.client.ApiException as error:
            if error.status != NOT_FOUND:
                raise

    def _forward(self, name: str, port: int) -> _Way:
        # With a client of its own: opening a stream changes the client it is opened by.
        client = self._client.client
        core = client.CoreV1Api(client.ApiClient(self._configuration))
        forward = self._client.stream.portforward(
            core.connect_get_namespaced_pod_portforward, name, self.namespace, ports=str(port)
        )
        wrapped: Any = forward.socket(port)
        near: socket.socket = wrapped._socket  # the end of a socket pair, not wrapped for HTTP
        near.setblocking(False)
        return _Way(near, forward.websocket)

    async def _call(self, what: str, work: Callable[[], Any]) -> Any:
        assert self._threads is not None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, work)
        except Exception as error:
            raise self._mapped(what, error) from error

    def _mapped(self, what: str, error: Exception) -> InputError | RuntimeFault:
        if not isinstance(error, self._client.client.ApiException):
            reason = str(getattr(error, "reason", "") or error)
            return RuntimeFault(f"{what}: {redact(bounded(reason, 400))}")
        status: int = getattr(error, "status", 0) or 0
        text = redact(bounded(_message(error), 500))
        if status in (400, 422):
            return InputError(f"{what}: {text}", hint="see the row's runtime_config")
        hints = {
            401: "the credentials of the kubeconfig are not accepted",
            403: "this account may not do that in this namespace, or a quota is used up",
        }
        return RuntimeFault(f"{what} ({status}): {text}", hint=hints.get(status))


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason or error)
