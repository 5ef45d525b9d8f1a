"""An environment's hold on a robot: its simulator's process, its episodes, its capability row.

The agent gets a connection to its slot and nothing else; resets and results go another way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Protocol, Self
from urllib.parse import urlsplit

from hud._core.errors import CapabilityFault
from hud.environment.daemon import Daemon
from hud.environment.robot.bridge import RobotBridge
from hud.environment.robot.control import ControlClient, ControlServer
from hud.environment.robot.process import SimProcess
from hud.environment.robot.recipe import Recipe
from hud.environment.robot.slots import NoSlot
from hud.protocol.capability import Capability

CLAIM_WAIT_S = 10.0
RETRY_S = 0.5
NOMINAL_URL = "ws://127.0.0.1:9091"

SIM_COMMAND = (sys.executable, "-m", "hud.environment.robot.sim")


class HasHooks(Protocol):
    """What `attach` needs of an environment."""

    def initialize(self, fn: Any) -> Any: ...
    def shutdown(self, fn: Any) -> Any: ...
    def add_capability(self, cap: Capability) -> None: ...


class RobotEndpoint(Daemon):
    """Drive the bridge of a robot, in a process of its own unless it is an instance.

    In a template: `info = await robot.reset(seed=1)`, hand `info["token"]` to the agent in the
    prompt's `bindings`, and grade on `await robot.result(token=info["token"])`.

    Args:
        bridge: A bridge class (built without arguments, in a process of its own) or an instance
            (run in this process, on a thread of its own).
        cmd: A program that ends in `serve_bridge(…)`, to be started.
        host: With `port`: the control address of a bridge somebody else runs.
        connect_timeout_s: How long a simulator may take until it serves.
        name: Name of the capability's row.
        recipe: Instead of a bridge class: how to build the bridge.
        claim_wait_s: How long a reset waits for a free slot, before it takes one over that no
            agent is connected to.
    """

    def __init__(
        self,
        bridge: type[RobotBridge] | RobotBridge | None = None,
        *,
        cmd: Sequence[str] | None = None,
        host: str | None = None,
        port: int | None = None,
        connect_timeout_s: float = 900.0,
        name: str = "robot",
        recipe: Recipe | None = None,
        claim_wait_s: float = CLAIM_WAIT_S,
    ) -> None:
        super().__init__(name)
        given = [bridge is not None, cmd is not None, host is not None, recipe is not None]
        if sum(given) != 1 or (host is None) != (port is None):
            raise TypeError("RobotEndpoint: give a bridge, a cmd, or host and port")
        self._timeout_s = connect_timeout_s
        self._claim_wait_s = claim_wait_s
        self._cmd = None if cmd is None else list(cmd)
        self._address = None if host is None or port is None else (host, port)
        self._bridge = bridge if isinstance(bridge, RobotBridge) else None
        self._recipe = Recipe.of(bridge) if isinstance(bridge, type) else recipe
        self._process: SimProcess | None = None
        self._link: ControlClient | _Local | None = None
        self._contract: dict[str, Any] | None = None
        self._url = NOMINAL_URL
        self._freed = asyncio.Event()
        self._claims: list[str] = []

    @classmethod
    def spawn(cls, cmd: Sequence[str], *, connect_timeout_s: float = 900.0) -> RobotEndpoint:
        """Return an endpoint that starts `cmd`, a program that ends in `serve_bridge(…)`."""
        return cls(cmd=cmd, connect_timeout_s=connect_timeout_s)

    @classmethod
    def remote(cls, host: str, port: int, *, connect_timeout_s: float = 900.0) -> RobotEndpoint:
        """Return an endpoint of a bridge that somebody else runs."""
        return cls(host=host, port=port, connect_timeout_s=connect_timeout_s)

    def attach(self, env: HasHooks) -> Self:
        """Start and stop with an environment, and show agents this robot; return itself."""
        env.initialize(self.start)
        env.shutdown(self.stop)

        async def publish() -> None:
            for row in await self.capabilities(self.name):
                env.add_capability(row)

        env.initialize(publish)
        return self

    async def start(self) -> None:
        if self._link is not None and self._link.is_open:
            return
        await self._take_down()
        self._freed = asyncio.Event()
        try:
            if self._bridge is not None:
                await self._bridge.open()
                self._link = _Local(self._bridge)
            elif self._address is not None:
                self._link = await self._dial_remote(*self._address)
            else:
                cmd, stdin = self._cmd, b""
                if self._recipe is not None:
                    cmd, stdin = list(SIM_COMMAND), self._recipe.dump()
                assert cmd is not None
                self._process = await SimProcess.start(cmd, stdin, self._timeout_s)
                self._link = self._process.control
            self._contract = (await self._link.call("contract"))["contract"]
            if self._address is not None:
                self._url = await self.url()
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._take_down()))
            raise

    async def stop(self) -> None:
        await self._take_down()

    def capability(self) -> Capability:
        return Capability.robot(name=self.name, url=self._url, contract=self._contract or {})

    async def dial(self) -> socket.socket | None:
        if self._bridge is not None:
            near, far = socket.socketpair()
            near.setblocking(False)
            far.setblocking(False)
            try:
                await self._bridge.accept(far)
            except BaseException:
                near.close()
                raise
            return near
        return None if self._process is None else self._process.dial()

    @property
    def pid(self) -> int | None:
        """The simulator's process, or None while it has none of its own."""
        return None if self._process is None else self._process.pid

    async def begin_episode(self) -> None:
        await self.start()
        if self.is_exclusive:
            await self._call("drop_claims")
            self._claims.clear()

    async def end_episode(self) -> None:
        if self.is_exclusive and self._link is not None and self._link.is_open:
            with contextlib.suppress(CapabilityFault):
                await self._call("freeze")

    async def url(self) -> str:
        """Return the address at which agents connect without a tunnel, which opens it."""
        url = str((await self._call("url"))["url"])
        if self._address is None:
            return url
        parts = urlsplit(url)
        return f"{parts.scheme}://{self._address[0]}:{parts.port}"

    async def contract(self) -> dict[str, Any]:
        """Return what agents are told of the robot."""
        return (await self._call("contract"))["contract"]

    async def capabilities(self, name: str = "robot") -> list[Capability]:
        """Return rows with real addresses, for `Environment.add_capability`."""
        rows = (await self._call("capabilities", {"name": name}))["capabilities"]
        return [Capability.from_manifest(row) for row in rows]

    async def reset(self, **task_args: Any) -> dict[str, Any]:
        """Begin an episode in a free slot and return its `prompt` and `token`.

        A simulator that has died is started again. When every slot is claimed, this waits for
        one; a slot nobody has asked a result of is taken over when no agent is connected to it.

        Args:
            task_args: `seed`, `options`, `prompt`, and what the simulator itself takes.

        Raises:
            CapabilityFault: when the simulator cannot be started, raises, or has no slot free.
        """
        await self.start()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._claim_wait_s
        is_last = False
        while True:
            self._freed.clear()
            try:
                info = await self._call("reset", task_args)
            except NoSlot as error:
                if is_last:
                    raise CapabilityFault(error.message, hint=error.hint) from error
            else:
                self._claims.append(info["token"])
                return info
            try:
                async with asyncio.timeout_at(deadline):
                    await self._freed.wait()
            except TimeoutError:
                is_last = True
                await self._call("drop_idle")

    async def result(self, *, token: str | None = None, **extra: Any) -> dict[str, Any]:
        """End an episode and return its result: `score`, `success`, `total_reward` and more.

        Its slot is free afterwards, and its agent's connection is cut.

        Args:
            token: From `reset`; it may be left out while one episode is under way.
            extra: Added to the result.
        """
        row = await self._call("result", {} if token is None else {"token": token})
        self._forget(token)
        return {**row, **extra}

    async def release_claim(self, token: str | None = None) -> None:
        """Free the slot of an episode whose result nobody asked for; without one, all of them."""
        for held in [token] if token is not None else list(self._claims):
            self._forget(held)
            with contextlib.suppress(NoSlot, CapabilityFault):
                await self._call("result", {"token": held})

    @asynccontextmanager
    async def episode(self, **task_args: Any) -> AsyncGenerator[dict[str, Any]]:
        """Reset for a block, and free the slot when it ends, whether or not it got a result."""
        info = await self.reset(**task_args)
        try:
            yield info
        finally:
            if info["token"] in self._claims:
                await asyncio.shield(asyncio.ensure_future(self.release_claim(info["token"])))

    def _forget(self, token: str | None) -> None:
        if token is None:
            self._claims.clear()
        elif token in self._claims:
            self._claims.remove(token)
        self._freed.set()

    async def _call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        if self._link is None:
            raise CapabilityFault(
                f"robot {self.name!r} is not started", hint="await start() in an initialize hook"
            )
        try:
            return await self._link.call(method, params)
        except NoSlot:
            raise
        except CapabilityFault as error:
            if self._process is None or self._process.is_alive:
                raise
            said = self._process.last_words()
            tail = f"; it said last:\n{said}" if said else ""
            raise CapabilityFault(f"{error.message}{tail}", hint=error.hint) from error

    async def _dial_remote(self, host: str, port: int) -> ControlClient:
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    try:
                        return await ControlClient.dial(host, port)
                    except OSError:
                        await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise CapabilityFault(
                f"no robot bridge answers at {host}:{port} within {self._timeout_s:g} s"
            ) from None

    async def _take_down(self) -> None:
        link, self._link = self._link, None
        process, self._process = self._process, None
        self._claims.clear()
        if link is not None:
            await link.aclose()
        if process is not None:
            await process.stop()
        if self._bridge is not None:
            await self._bridge.stop()


class SharedRobotEndpoint(RobotEndpoint):
    """A robot with several slots, so that as many episodes may use it at once."""

    is_exclusive: ClassVar[bool] = False


class _Local:
    """Calls to a bridge in this process."""

    def __init__(self, bridge: RobotBridge) -> None:
        self._bridge = bridge
        self.is_open = True

    async def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return await ControlServer(self._bridge).carry_out(method, params or {})

    async def aclose(self) -> None:
        self.is_open = False


def gym_endpoint(
    target: Any,
    *,
    name: str = "robot",
    num_envs: int | None = None,
    claim_wait_s: float = CLAIM_WAIT_S,
    **kwargs: Any,
) -> RobotEndpoint:
    """Return the endpoint behind `env.gym(…)`; see there for the arguments."""
    from hud.environment.robot.gym import GymBridge, is_simulator

    if num_envs is not None:
        kwargs["num_envs"] = num_envs
    cls = SharedRobotEndpoint if (num_envs or 1) > 1 else RobotEndpoint
    if is_simulator(target):
        return cls(GymBridge(target, **kwargs), name=name, claim_wait_s=claim_wait_s)
    recipe = Recipe.of(GymBridge, target, **kwargs)
    return cls(recipe=recipe, name=name, claim_wait_s=claim_wait_s)
