"""What runs on a node: an actor that keeps a warm parent and places rollouts on it.

The source comes as an archive and is unpacked into a folder of this actor's own, which goes with
it: when the process is killed, a guard removes the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import platform
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hud._core.errors import HudError, RuntimeFault, bounded
from hud._core.redact import redact
from hud._version import __version__
from hud.environment.task import Task
from hud.packaging.archive import unpack
from hud.runtimes.base import Provider
from hud.runtimes.bundle import BundleRuntime
from hud.runtimes.ray.gate import Gate, Lock
from hud.runtimes.subprocess import SubprocessRuntime
from hud.runtimes.warm.wire import Failed

_NEWS_S = 2.0
_LEFT = 10_000
# Reads until the actor's end of the pipe is closed, however it ended; as a child of its own
# parent's, which is gone, for Ray ends the children of an actor with it.
_GUARD = 'exec 3<&0; (read _ <&3; rm -rf -- "$1"; sleep 2; exec rm -rf -- "$1") &'


@dataclass(frozen=True, slots=True)
class Order:
    """What an actor keeps warm: a file of the archive, and how to serve it.

    Attributes:
        path: The source's file, from the root of the archive; empty for a bundle.
        bundle: The address of the bundle that the archive holds, if it holds one.
        env_vars: What a bundle's environment is given as variables.
        folder_prefix: What the actor's folder is called, its owner's name included.
    """

    path: str
    attribute: str | None
    env: str | None
    ready_timeout_s: float
    folder_prefix: str
    bundle: str | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


@dataclass(frozen=True, slots=True)
class Opened:
    """A ready actor: where its port is, and what it runs."""

    host: str
    port: int
    node: str
    pid: int
    version: str
    python: str


class _Tenant:
    """One place on this node."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.told = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.exit_reason: Any = None


class Keeper:
    """The actor. All methods run in its one event loop; errors come back as data."""

    def __init__(self, order: Order, archive: bytes) -> None:
        self._order = order
        self._archive = archive
        self._folder: str | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._runtime: Provider | None = None
        self._stack = contextlib.AsyncExitStack()
        self._tenants: dict[bytes, _Tenant] = {}
        self._locks: dict[bytes, Lock] = {}
        self._left: set[bytes] = set()
        self._gate = Gate(self._locks)
        self._closed = asyncio.Event()

    async def open(self) -> Opened | Failed:
        """Unpack the source, import it in a warm parent and listen; call it once.

        The port is on the address by which the cluster knows this node, and on no other.
        """
        ray: Any = importlib.import_module("ray")  # heavy, and loaded already where this runs
        host = str(ray.util.get_node_ip_address())
        node = str(ray.get_runtime_context().get_node_id())
        try:
            root = await asyncio.to_thread(self._unpack)
            self._runtime = await self._warm(root)
            port = await self._gate.open(host)
        except Exception as error:
            return _failed(error)
        return Opened(host, port, node, os.getpid(), __version__, platform.python_version())

    async def _warm(self, root: Path) -> Provider:
        """Return what makes places, with the source imported."""
        order = self._order
        if order.bundle is not None:
            runtime = BundleRuntime(
                root / order.bundle,
                env=order.env,
                ready_timeout=order.ready_timeout_s,
                env_vars=order.env_vars,
                warm=1,
            )
            return await self._stack.enter_async_context(runtime)
        os.chdir(root)
        path = root / order.path
        source = str(path) if order.attribute is None else f"{path}:{order.attribute}"
        forked = await self._stack.enter_async_context(
            SubprocessRuntime(source, env=order.env, ready_timeout=order.ready_timeout_s)
        )
        await forked.warm_up()
        return forked

    async def place(self, name: bytes, env: str, secret: bytes) -> Failed | None:
        """Make a place that `secret` opens; return what failed, if anything."""
        if name in self._left or self._runtime is None or self._closed.is_set():
            return _failed(RuntimeFault("the place was given up before it was made"))
        tenant = self._tenants[name] = _Tenant()
        tenant.task = asyncio.get_running_loop().create_task(self._hold(tenant, env))
        await asyncio.wait([tenant.ready])
        error = None if tenant.ready.cancelled() else tenant.ready.exception()
        if tenant.ready.cancelled() or error is not None:
            self._tenants.pop(name, None)
            return _failed(error or RuntimeFault("the place was given up before it was ready"))
        self._locks[name] = Lock(tenant.ready.result(), secret)
        return None

    async def leave(self, name: bytes) -> None:
        """End a place; returns when its processes are gone."""
        tenant = self._tenants.get(name)
        self._locks.pop(name, None)
        if tenant is None:
            if len(self._left) < _LEFT:
                self._left.add(name)
            return
        await self._end(tenant)
        self._tenants.pop(name, None)

    async def why(self, name: bytes) -> str | None:
        """Return how the process of a place ended by itself, waiting a little for the news."""
        tenant = self._tenants.get(name)
        if tenant is None or tenant.exit_reason is None:
            return None
        reason = await tenant.exit_reason.wait(_NEWS_S)
        return None if reason is None else bounded(str(reason), 1_500)

    async def closed(self) -> None:
        """Return when the actor is closed; its caller learns sooner when the node is gone."""
        await self._closed.wait()

    async def aclose(self) -> None:
        """End every place and the warm parent, and remove the folder."""
        self._closed.set()
        self._locks.clear()
        await asyncio.gather(*(self._end(tenant) for tenant in self._tenants.values()))
        await self._gate.aclose()
        await self._stack.aclose()
        await asyncio.to_thread(self._clean)

    async def _hold(self, tenant: _Tenant, env: str) -> None:
        assert self._runtime is not None
        try:
            async with self._runtime(Task(env=env, id="placed")) as place:
                tenant.exit_reason = place.params.get("exit_reason")
                tenant.ready.set_result(place.url)
                await tenant.told.wait()
        except Exception as error:
            if not tenant.ready.done():
                tenant.ready.set_exception(error)
        finally:
            tenant.ready.cancel()

    async def _end(self, tenant: _Tenant) -> None:
        tenant.told.set()
        if tenant.task is not None and not tenant.task.done():
            if not tenant.ready.done():
                tenant.task.cancel()
            await asyncio.wait([tenant.task])

    def _unpack(self) -> Path:
        """Unpack into a new folder, and drop the archive."""
        name = f"{self._order.folder_prefix}{uuid.uuid4().hex[:12]}"
        folder = self._folder = str(Path(tempfile.gettempdir(), name))
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "hud-guard", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._guard.wait()
        Path(folder).mkdir(mode=0o700)
        packed = Path(folder, "source.tar.gz")
        packed.write_bytes(self._archive)
        self._archive = b""
        root = unpack(packed, Path(folder, "source"))
        packed.unlink()
        return root

    def _clean(self) -> None:
        if self._folder is not None:
            os.chdir("/")
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()


def _failed(error: BaseException) -> Failed:
    if isinstance(error, HudError):
        return Failed(None, error.code, redact(error.message), error.hint)
    # What the source's own code raises comes as an error of ours: this is the node's.
    return Failed(None, RuntimeFault.code, redact(bounded(repr(error), 1_000)))
