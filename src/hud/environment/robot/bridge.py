"""The simulator's side of a robot: what a bridge implements, and its episodes.

Ticks and observations are `floor`, connections of agents `agents`, the control side `control`;
`gym` is a bridge for anything with gymnasium's interface.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hud._core.errors import CapabilityFault, bounded
from hud.environment.robot.agents import AgentServer
from hud.environment.robot.floor import Floor
from hud.environment.robot.simthread import SimThread
from hud.environment.robot.slots import NoSlot, Slot, SlotTable
from hud.protocol.capability import Capability
from hud.protocol.openpi import load_numpy

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RobotBridge(ABC):
    """Serve a simulator over the robot wire.

    Implement `reset`, `step` and `get_observation`, set `contract` (and `num_envs` above 1), and
    hand the bridge to `serve_bridge` or a `RobotEndpoint`. Those three, `result_slots` and `close`
    always run on one and the same thread. N is `num_envs`, D the size of an action.

    Attributes:
        contract: What agents are told: robot type, control rate, features.
        metadata: Sent to every agent first, with the wire's own keys.
        num_envs: How many episodes run side by side.
        task_description: The prompt of an episode whose `reset` returns nothing.
        total_reward: Set by `step`: the sum of rewards of the present episode.
        success: Set by `step`: whether the task counts as solved.
        terminated: Set by `step`: whether the episode is over.
        realtime: Whether time passes by the control rate, not by the agent's actions.
        holds_last: Whether a slot that was told nothing repeats its last action, rather than
            `hold_action()`: right where actions are places to be at.
        steps_slots: Whether each slot is a simulation of its own: then none waits for another.
        resets_slots: Whether `reset_slot` can begin an episode while others go on.
    """

    step_timeout: float = 30.0
    """Seconds a tick waits for the actions of the slower agents, once the first has come."""

    steps_slots: ClassVar[bool] = False
    resets_slots: bool = False
    realtime: bool = False
    holds_last: bool = False

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.metadata: dict[str, Any] = {}
        self.contract: dict[str, Any] = {}
        self.num_envs = 1
        self.task_description = ""
        self.total_reward = 0.0
        self.success = False
        self.terminated = False
        self._host, self._port = host, port
        self._sim: SimThread | None = None
        self._owns_sim = False
        self._floor: Floor | None = None
        self._agents: AgentServer | None = None
        self._lock: asyncio.Lock | None = None

    @abstractmethod
    def reset(self, **kwargs: Any) -> str:
        """Begin a new episode (in every slot, where there are several) and return its prompt."""

    @abstractmethod
    def step(self, action: NDArray[Any]) -> None:
        """Advance the simulation by one action per slot `[N, D]`."""

    @abstractmethod
    def get_observation(self) -> tuple[dict[str, NDArray[Any]], NDArray[Any]] | None:
        """Return features `[N, …]` by name and which slots' episodes are over `[N]`.

        None when there is nothing to see yet.
        """

    def reset_slot(self, slot: int, **kwargs: Any) -> str:
        """Begin a new episode in one slot and return its prompt; the others go on."""
        raise NotImplementedError

    def step_slots(self, actions: dict[int, NDArray[Any]]) -> None:
        """Advance the slots that have an action; called where `steps_slots` is true."""
        raise NotImplementedError

    def observe(self, slots: list[int]) -> dict[int, tuple[dict[str, Any], bool]]:
        """Return the features of these slots, and whether their episodes are over."""
        seen = self.get_observation()
        if seen is None:
            return {}
        data, over = seen
        flags = load_numpy().asarray(over).reshape(-1)
        return {
            slot: ({name: value[slot] for name, value in data.items()}, bool(flags[slot]))
            for slot in slots
        }

    def rewards(self) -> list[float]:
        """Return the sums of rewards of the present episodes, one per slot."""
        return [float(row.get("total_reward", 0.0)) for row in self.result_slots()]

    def result(self) -> dict[str, Any]:
        """Return the present episode's result; overriding adds what a grader may want."""
        return {
            "score": float(self.success),
            "success": bool(self.success),
            "total_reward": float(self.total_reward),
            "terminated": bool(self.terminated),
        }

    def result_slots(self) -> list[dict[str, Any]]:
        """Return one result per slot; by default every slot has the same."""
        return [self.result() for _ in range(self.num_envs)]

    def hold_action(self) -> NDArray[Any]:
        """Return the action `[D]` of a slot that has none: zeros, unless overridden."""
        features = cast("dict[str, dict[str, Any]]", self.contract.get("features") or {})
        shapes = [row.get("shape") for row in features.values() if row.get("role") == "action"]
        numpy = load_numpy()
        return numpy.zeros(shapes[0] if shapes and shapes[0] else (1,), numpy.float32)

    def close(self) -> None:  # noqa: B027 — there may be nothing to release
        """Release what the simulator holds; called once, at the end."""

    @property
    def url(self) -> str:
        """Where agents connect: `ws://host:port`; valid after `start`.

        Raises:
            CapabilityFault: when the bridge listens nowhere.
        """
        address = None if self._agents is None else self._agents.address
        if address is None:
            raise CapabilityFault("the robot bridge is not listening", hint="await start() first")
        return f"ws://{address[0]}:{address[1]}"

    async def start(self) -> None:
        """Make the contract complete and listen for agents on the given address."""
        await self.open()
        assert self._agents is not None
        if self._agents.address is None:
            await self._agents.listen(self._host, self._port)

    async def open(self, sim: SimThread | None = None) -> None:
        """Get ready for `accept`, without listening; `sim` is the thread the simulator lives on."""
        if self._floor is not None:
            return
        self._lock = asyncio.Lock()
        if sim is None:
            sim = SimThread()
            sim.start()
            self._owns_sim = True
        self._sim = sim
        try:
            await self.ensure_contract()
        except BaseException:
            await self.stop()
            raise
        self._floor = Floor(self, sim)
        self._agents = AgentServer(self._floor, self.metadata)

    async def stop(self) -> None:
        """End the connections, close the simulator; safe to call twice."""
        agents, self._agents = self._agents, None
        floor, self._floor = self._floor, None
        if agents is not None:
            await agents.close()
        if floor is not None:
            await floor.close()
        sim, self._sim = self._sim, None
        if sim is not None:
            await sim.call(self.close)
            if self._owns_sim:
                sim.end()
                await sim.ended()

    async def accept(self, sock: socket.socket) -> None:
        """Serve an agent that is connected by `sock` already; takes the socket over."""
        if self._agents is None:
            sock.close()
            raise CapabilityFault("the robot bridge is not open")
        await self._agents.accept(sock)

    async def ensure_contract(self) -> dict[str, Any]:
        """Return the contract, complete."""
        return self.contract

    async def capabilities(self, name: str = "robot") -> list[Capability]:
        """Return the rows of everything this bridge serves; `name` names the robot's own."""
        return [Capability.robot(name=name, url=self.url, contract=await self.ensure_contract())]

    async def serve_control(self, host: str = "127.0.0.1", port: int = 0) -> asyncio.Server:
        """Serve resets and results on a TCP address: whoever reaches it decides the grade."""
        from hud.environment.robot.control import serve_tcp

        return await serve_tcp(self, host, port)

    async def call(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Run `fn` on the simulator's thread; before `open`, here."""
        if self._sim is None:
            return fn(*args, **kwargs)
        return await self._sim.call(fn, *args, **kwargs)

    @property
    def slots(self) -> SlotTable:
        """The slots, while open.

        Raises:
            CapabilityFault: when the bridge is not open.
        """
        return self._live().table

    async def claim(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Begin an episode in a free slot; return its `prompt` and `token`.

        Raises:
            NoSlot: when every slot is claimed, or slots that share one reset want different ones.
        """
        floor = self._live()
        assert self._lock is not None
        async with self._lock:
            others = floor.table.claimed
            slot = floor.table.free()
            if slot is None:
                raise NoSlot(
                    f"all {len(floor.table)} slots of the robot are claimed",
                    hint="ask for a result, or release the claim, when an episode ends",
                )
            if not self.resets_slots and others and others[0].arguments != arguments:
                raise NoSlot(
                    f"the slots of this simulation are reset together, with "
                    f"{bounded(others[0].arguments)}, not {bounded(arguments)}",
                    hint="use a simulation per task, or one that can reset a single slot",
                )
            token = slot.take(arguments)
            try:
                prompt = await self._reset(floor, slot, bool(others), arguments)
            except BaseException:
                slot.token = None
                raise
            floor.begin(slot)
            return {"prompt": prompt, "token": token}

    async def _reset(
        self, floor: Floor, slot: Slot, is_joining: bool, arguments: dict[str, Any]
    ) -> str:
        if self.resets_slots:
            prompt = await floor.quiet(self.reset_slot, slot.index, **arguments)
        elif is_joining:
            return self.task_description
        else:
            self.total_reward, self.success, self.terminated = 0.0, False, False
            prompt = await floor.quiet(self.reset, **arguments)
        self.task_description = prompt or self.task_description
        return self.task_description

    async def release(self, token: str | None) -> dict[str, Any]:
        """End a slot's episode, free the slot and return its result.

        Raises:
            NoSlot: when the token names no slot.
            CapabilityFault: when the simulator broke during the episode.
        """
        floor = self._live()
        slot = floor.table.find(token)
        slot.is_frozen = True
        slot.cut("the episode has ended")
        try:
            rows = await floor.quiet(self.result_slots)
            floor.check()
        finally:
            slot.token = None
        return {**rows[slot.index], "steps": slot.ticks}

    async def freeze(self) -> None:
        """Let no agent act any more, and end their connections; results stay to be asked for."""
        floor = self._live()
        for slot in floor.table.claimed:
            slot.is_frozen = True
            slot.cut("the episode has ended")
        await floor.quiet(lambda: None)

    async def drop_claims(self, *, idle: bool = False) -> None:
        """Free every slot; with `idle` only those to which no agent is connected."""
        for slot in self._live().table.slots:
            if idle and slot.peer is not None:
                continue
            slot.cut("the episode has ended")
            slot.token = None

    def _live(self) -> Floor:
        if self._floor is None:
            raise CapabilityFault("the robot bridge is not open")
        return self._floor
