"""The live client of a robot: observations in, actions out, over `openpi/0`.

One observation is kept, the newest: a robot acts on the present. What is recorded of the loop is
`hud.trace.robot_recorder`; the policy belongs to the harness.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, ClassVar, Self, cast
from urllib.parse import urlsplit

from hud._core.errors import AgentFault, CapabilityFault, InputError, bounded
from hud.capabilities.base import CapabilityClient
from hud.protocol.capability import Capability
from hud.protocol.openpi import REJECTED, BadFrame, load_numpy, pack, unpack
from hud.trace.context import current_recorder
from hud.trace.robot_recorder import TraceRecorder

CONNECT_TIMEOUT_S = 30.0
FIRST_OBSERVATION_S = 120.0
_EARLY_MESSAGES = 16

_BESIDE = ("terminated", "reward", "meta")


class ActionRejected(AgentFault):
    """The robot cannot carry out this action (its shape, its values); the episode goes on."""

    code = "action_rejected"


class RobotClient(CapabilityClient):
    """Drive one slot of a simulation or a robot.

    One task at a time may use it. Inside a run, states, actions and rewards go onto the run's
    trace, unless `record=False` or the harness has a `TraceRecorder` of its own there.
    """

    protocol: ClassVar[str] = "openpi"

    def __init__(
        self, capability: Capability, ws: Any, *, seed: dict[str, Any] | None = None
    ) -> None:
        """Wrap an open connection.

        Args:
            ws: A `Line` whose claim is made; its messages come to this client from now on.
            seed: The first observation's frame, when it was read already.
        """
        self.capability = capability
        self._line = ws
        self._frame: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None
        self._unpaid = 0.0
        self._error: str | None = None
        self._news = asyncio.Event()
        self._tick = -1
        self._recorder: TraceRecorder | None = None
        actions, self._observed = _split(self.contract)
        shape: Any = actions.get("shape")
        self._action_shape = (
            tuple(cast("list[int]", shape)) if isinstance(shape, list) and shape else None
        )
        self._line.on_message = self._receive
        if seed is not None:
            self._take(seed)

    @property
    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        return not self._line.is_open

    @property
    def contract(self) -> dict[str, Any]:
        """What the robot is: type, control rate, and its features by name."""
        held = self.capability.params.get("contract")
        return cast("dict[str, Any]", held) if isinstance(held, dict) else {}

    def get_control_rate(self, default: int = 10) -> int:
        """Return the robot's actions per second, at least 1."""
        rate = self.contract.get("control_rate")
        return max(1, round(rate)) if isinstance(rate, int | float) else default

    def spaces(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the action feature, and the observation features by name, in order."""
        return _split(self.contract)

    @classmethod
    async def connect(
        cls,
        cap: Capability,
        *,
        token: str | None = None,
        record: bool = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> Self:
        """Connect, claim a slot, and return once its first observation is here.

        Args:
            token: The slot's token, from the task's `bindings`; None takes the only claimed slot.
            connect_timeout_s: How long to wait for a robot that does not answer.
            record: Whether states and actions go onto the trace of the run this is called in.
        """
        url = cap.url
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or parts.hostname is None:
            raise InputError(
                f"capability {cap.name!r}: a robot is reached over ws://, not {bounded(url)}"
            )
        load_numpy()
        arrived: asyncio.Queue[bytes | str] = asyncio.Queue(_EARLY_MESSAGES)

        def keep(message: bytes | str) -> None:
            """Hold what comes before there is a client; a flood is no robot."""
            if arrived.full():
                line.abort()
            else:
                arrived.put_nowait(message)

        line = _line(url, keep)
        try:
            frame = await _begin(line, cap, token, arrived, connect_timeout_s)
            client = cls(cap, line, seed=frame)
        except BaseException:
            line.abort()
            raise
        while not arrived.empty():
            client._receive(arrived.get_nowait())
        line.closed.add_done_callback(client._lost)
        recorder = current_recorder() if record else None
        if recorder is not None:
            client._recorder = TraceRecorder(
                trace_id=recorder.trace_id,
                fps=client.get_control_rate(),
                obs_space=client._observed,
                action_names=client.spaces()[0].get("names"),
                video=False,
                yields=True,
            )
        line.keep_alive()
        return client

    async def get_observation(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the newest observation not seen yet, waiting for it.

        `{"data": {name: array}, "terminated": bool}`, with `reward` (since the observation before)
        and `meta` (`obs_index`, `queue_remaining`, `delay`, `unexecuted_chunk`) where the robot
        sends them. After the end of the episode its last observation is returned again.

        Args:
            timeout_s: How long to wait at most; None waits as long as the connection lives.

        Raises:
            CapabilityFault: when the connection is lost, the robot reports an error, or the time
                is up.
            ActionRejected: when the robot could not carry out the last action.
        """
        if self._frame is None and self._error is None:
            await self._wait(timeout_s)
        if self._error is not None:
            error, self._error = self._error, None
            if error.startswith(REJECTED):
                raise ActionRejected(f"{self._where}: {error.removeprefix(REJECTED)}")
            raise CapabilityFault(f"{self._where} reports: {error}")
        if self._frame is None:
            if self._last is not None and self._last["terminated"]:
                return self._last
            raise CapabilityFault(f"{self._where}: the connection is lost")
        frame, self._frame = self._frame, None
        observation = self._regrouped(frame)
        is_new = self._last is None or not self._last["terminated"]
        self._last = observation
        self._tick += 1
        if self._recorder is not None and is_new:
            self._recorder.record_observation(observation, tick=self._tick)
        return observation

    async def send_action(self, action: Any) -> None:
        """Send one action `[D]`; the next observation is its outcome, whatever came before.

        Raises:
            ActionRejected: when its shape is not the contract's, or it is not finite.
            CapabilityFault: when the connection is lost.
        """
        await self._send(action, {}, chunk=False)

    async def send_chunk(
        self, chunk: Any, *, obs_index: int | None = None, delay_used: int | None = None
    ) -> None:
        """Send several actions `[T, D]` to be carried out one after the other.

        Without realtime the next observation comes after the last of them, or at the end of the
        episode. A realtime robot replaces what is left of the chunk before.

        Args:
            obs_index: The observation the chunk was inferred from (`meta`), so that a realtime
                robot leaves out the rows whose time has passed.
            delay_used: The delay in ticks that the inference reckoned with, for the record.

        Raises:
            ActionRejected: when its shape is not the contract's, or it is not finite.
            CapabilityFault: when the connection is lost.
        """
        beside = {"obs_index": obs_index, "delay_used": delay_used}
        await self._send(chunk, {k: v for k, v in beside.items() if v is not None}, chunk=True)

    async def close(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.close()
        self._line.close()
        await asyncio.wait([self._line.closed])

    @property
    def _where(self) -> str:
        return f"robot {self.capability.name!r}"

    async def _send(self, action: Any, beside: dict[str, int], *, chunk: bool) -> None:
        array = _numbers(action)
        self._check(array, chunk=chunk)
        if not self._line.is_open:
            raise CapabilityFault(f"{self._where}: the connection is lost")
        if self._recorder is not None:
            self._recorder.record_inference(array, tick=max(self._tick, 0))
        if self._frame is not None and not self._frame.get("terminated"):
            self._overtake()
        self._line.send(pack({"actions": array, **beside}))
        await self._line.drained()

    def _check(self, array: Any, *, chunk: bool) -> None:
        wanted, shape = self._action_shape, tuple(array.shape)
        rows = shape[1:] if chunk else shape
        if chunk and (len(shape) < 2 or shape[0] == 0):
            raise ActionRejected(f"{self._where}: a chunk is [T, D], not {list(shape)}")
        if wanted is not None and rows != wanted:
            raise ActionRejected(
                f"{self._where}: an action of shape {list(rows)}, the contract says {list(wanted)}"
            )
        if not load_numpy().isfinite(array).all():
            raise ActionRejected(f"{self._where}: an action that is not finite")

    async def _wait(self, timeout_s: float | None) -> None:
        if self._line.closed.done() or (self._last is not None and self._last["terminated"]):
            return
        self._news.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError:
            raise CapabilityFault(f"{self._where}: no observation within {timeout_s:g} s") from None

    def _receive(self, message: bytes | str) -> None:
        try:
            if isinstance(message, str):
                self._error = bounded(message, 2_000)
            else:
                self._take(unpack(message))
        except BadFrame as error:
            self._error = error.message
        self._news.set()

    def _lost(self, _: object) -> None:
        self._news.set()

    def _take(self, frame: dict[str, Any]) -> None:
        """Keep the newest frame; the reward of one nobody saw counts for it."""
        self._overtake()
        if frame.get("reward") is not None:
            frame["reward"], self._unpaid = float(frame["reward"]) + self._unpaid, 0.0
        self._frame = frame

    def _overtake(self) -> None:
        frame, self._frame = self._frame, None
        if frame is not None and frame.get("reward") is not None:
            self._unpaid += float(frame["reward"])

    def _regrouped(self, frame: dict[str, Any]) -> dict[str, Any]:
        data = {name: value for name, value in frame.items() if name not in _BESIDE}
        observation: dict[str, Any] = {
            "data": data,
            "terminated": bool(frame.get("terminated", False)),
        }
        if frame.get("reward") is not None:
            observation["reward"] = frame["reward"]
        if frame.get("meta") is not None:
            observation["meta"] = frame["meta"]
        return observation


def _line(url: str, arrived: Any) -> Any:
    from hud.capabilities.robot.line import Line

    return Line.client(url, arrived)


async def _begin(
    line: Any,
    cap: Capability,
    token: str | None,
    arrived: asyncio.Queue[bytes | str],
    timeout_s: float,
) -> dict[str, Any]:
    """Dial, claim, and return the frame of the first observation."""
    where = f"robot {cap.name!r}"
    address = cap.address
    assert address is not None
    secure = ssl.create_default_context() if cap.url.startswith("wss:") else None
    try:
        async with asyncio.timeout(timeout_s):
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: line, *address, ssl=secure)
            await line.opened
            hello = await _message(line, arrived, where)
    except TimeoutError:
        raise CapabilityFault(f"{where} does not answer at {bounded(cap.url)}") from None
    except OSError as error:
        raise CapabilityFault(f"{where} cannot be reached at {cap.url}: {error}") from error
    if not hello.get("claim_required"):
        if "terminated" in hello:
            return hello
    else:
        line.send(pack({"claim": token}))
    try:
        async with asyncio.timeout(FIRST_OBSERVATION_S):
            return await _message(line, arrived, where)
    except TimeoutError:
        raise CapabilityFault(f"{where} sends no observation") from None


async def _message(line: Any, arrived: asyncio.Queue[bytes | str], where: str) -> dict[str, Any]:
    """Return the next frame.

    Raises:
        CapabilityFault: when it is an error, or the connection ends first.
    """
    getting = asyncio.ensure_future(arrived.get())
    try:
        await asyncio.wait([getting, line.closed], return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            raise CapabilityFault(f"{where}: the connection ended before an observation came")
        message = getting.result()
    finally:
        getting.cancel()
    if isinstance(message, str):
        raise CapabilityFault(f"{where} refuses: {bounded(message, 2_000)}")
    try:
        return unpack(message)
    except BadFrame as error:
        raise CapabilityFault(f"{where}: {error.message}") from error


def _split(contract: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    features: Any = contract.get("features")
    held = cast("dict[str, Any]", features) if isinstance(features, dict) else {}
    rows = {
        name: cast("dict[str, Any]", row) for name, row in held.items() if isinstance(row, dict)
    }
    actions = [row for row in rows.values() if row.get("role") == "action"]
    observed = {name: row for name, row in rows.items() if row.get("role") == "observation"}
    return (actions[0] if actions else {}), observed


def _numbers(action: Any) -> Any:
    """Return an action as an array of float32, from arrays, lists and tensors alike."""
    numpy = load_numpy()
    if hasattr(action, "detach"):
        action = action.detach().cpu()
    try:
        return numpy.asarray(action, dtype=numpy.float32)
    except (TypeError, ValueError) as error:
        raise ActionRejected(f"an action that is no array of numbers: {error}") from error
