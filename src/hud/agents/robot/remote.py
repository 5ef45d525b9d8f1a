"""A policy on another machine, reached as the clients of openpi reach it.

Wire: WebSocket, binary frames of msgpack with arrays (`hud.protocol.openpi`). The server first says
its metadata, then answers each observation with a map that holds the chunk; a text frame is its
error. PyPI `openpi-client` 0.1.2 speaks the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, ClassVar

from hud._core.errors import AgentFault, InputError, ModelFault, bounded
from hud.agents.robot.model import Model
from hud.models.failure import excerpt
from hud.protocol.openpi import MAX_FRAME_BYTES, BadFrame, load_numpy, pack, unpack

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from hud.agents.robot.adapter import ActionArray

RETRY_S = 0.5
CLOSE_S = 2.0


class _Call:
    """One call, which whoever waits for it may give up from another thread."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._connection: ClientConnection | None = None

    @property
    def is_given_up(self) -> bool:
        return self._given_up.is_set()

    def begin(self, connection: ClientConnection) -> None:
        """Note what it is waiting on."""
        self._connection = connection
        if self.is_given_up:
            self.give_up()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether it was given up."""
        return self._given_up.wait(seconds)

    def give_up(self) -> None:
        """End it: whatever it waits for ends now."""
        self._given_up.set()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.socket.shutdown(socket.SHUT_RDWR)


class RemoteModel(Model):
    """Ask a policy server (openpi's `serve_policy.py`, or any that speaks its wire).

    A request holds one observation, so it cannot stand behind a `BatchedModel`: use one
    `RobotAgent` for all rollouts. As many connections are kept as there are calls at once.

    Attributes:
        host: Name or address of the server, or a URL `ws://…` or `wss://…`.
        port: Its port.
        response_key: Where the chunk is in an answer.
        metadata: What the server said of itself, once connected.
    """

    is_batchable: ClassVar[bool] = False

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8000,
        *,
        response_key: str = "actions",
        connect_timeout_s: float = 60.0,
        timeout_s: float = 300.0,
    ) -> None:
        """Set it up; the first inference connects.

        Args:
            connect_timeout_s: How long to wait for a server that is not up yet.
            timeout_s: How long one inference may take; the first one often compiles.
        """
        self.host = host
        self.port = port
        self.response_key = response_key
        self.metadata: dict[str, Any] = {}
        self._connect_timeout_s = connect_timeout_s
        self._timeout_s = timeout_s
        self._idle: list[ClientConnection] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        base = self.host if "://" in self.host else f"ws://{self.host}"
        return f"{base}:{self.port}"

    def connect(self) -> None:
        """Connect, unless a connection is there; blocks until the server is up.

        Raises:
            ModelFault: when it is not up in time, or is no policy server.
            InputError: when websockets or numpy is not installed.
        """
        with self._lock:
            if self._idle:
                return
        self._keep(self._dial(_Call()))

    def close(self) -> None:
        """Close the idle connections, blocking; the next inference connects anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def infer(self, batch: Any) -> ActionArray:
        """Return the chunk for one observation as `[1, T, A]`.

        Raises:
            ModelFault: when the server cannot be reached, fails, or answers with something else.
            AgentFault: when the observation has no form on the wire.
        """
        return self._chunk(self._ask(self._packed(batch), _Call()))

    async def ainfer(self, batch: Any) -> ActionArray:
        """Return the chunk `[T, A]`; being cancelled ends the call at once.

        Raises:
            ModelFault: when the server cannot be reached, fails, or answers with something else.
            AgentFault: when the observation has no form on the wire.
        """
        call, request = _Call(), self._packed(batch)
        try:
            answer = await asyncio.to_thread(self._ask, request, call)
        except asyncio.CancelledError:
            call.give_up()
            raise
        return self._chunk(answer)[0]

    def _packed(self, batch: Any) -> bytes:
        try:
            return pack(batch)
        except (BadFrame, TypeError, ValueError) as error:
            raise AgentFault(f"an observation cannot be sent to {self.url}: {error}") from error

    def _ask(self, request: bytes, call: _Call) -> bytes:
        """Return the answer to a request, on a kept connection if one still works."""
        from websockets.exceptions import ConnectionClosed

        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            is_kept = connection is not None
            if connection is None:
                connection = self._dial(call)
            try:
                call.begin(connection)
                connection.send(request)
                answer = connection.recv(timeout=self._timeout_s)
            except TimeoutError:
                connection.close()
                raise ModelFault(
                    f"{self._where} did not answer within {self._timeout_s:g} s"
                ) from None
            except ConnectionClosed as error:
                connection.close()
                if is_kept and not call.is_given_up:
                    continue  # the server was started anew since the last answer
                raise ModelFault(f"{self._where} ended the connection: {error}") from error
            except BaseException:
                connection.close()
                raise
            if isinstance(answer, str):
                connection.close()
                raise ModelFault(f"{self._where} failed: {excerpt(_last_line(answer))}")
            self._keep(connection)
            return answer

    def _chunk(self, answer: bytes) -> ActionArray:
        numpy = load_numpy()
        try:
            found = unpack(answer)
        except BadFrame as error:
            raise ModelFault(f"{self._where} answered nonsense: {error.message}") from error
        if self.response_key not in found:
            raise ModelFault(
                f"{self._where} answered without {self.response_key!r}: {bounded(sorted(found))}",
                hint="say where the chunk is with RemoteModel(response_key=…)",
            )
        try:
            chunk = numpy.asarray(found[self.response_key], numpy.float32)
        except (TypeError, ValueError) as error:
            raise ModelFault(f"{self._where} answered no array of actions: {error}") from error
        if chunk.ndim == 1:
            chunk = chunk[None]
        if chunk.ndim != 2 or 0 in chunk.shape:
            raise ModelFault(f"{self._where} answered actions of shape {list(chunk.shape)}")
        return chunk[None]

    def _dial(self, call: _Call) -> ClientConnection:
        """Connect and take in the server's metadata, trying again while nothing listens."""
        try:
            from websockets.exceptions import WebSocketException
            from websockets.sync.client import connect
        except ModuleNotFoundError as error:
            raise InputError(
                "RemoteModel needs websockets", hint="pip install 'hud-python[robot]'"
            ) from error
        deadline = time.monotonic() + self._connect_timeout_s
        while True:
            try:
                connection = connect(
                    self.url,
                    compression=None,
                    max_size=MAX_FRAME_BYTES,
                    proxy=None,
                    open_timeout=max(1.0, deadline - time.monotonic()),
                    ping_interval=None,
                    close_timeout=CLOSE_S,
                ).__enter__()  # it stays open until `close`
            except ConnectionRefusedError as error:
                if time.monotonic() + RETRY_S >= deadline:
                    raise ModelFault(
                        f"{self._where} does not listen",
                        hint="start it, or wait longer with RemoteModel(connect_timeout_s=…)",
                    ) from error
                if call.wait(RETRY_S):
                    raise ModelFault(f"{self._where} does not listen") from error
            except (OSError, ValueError, WebSocketException) as error:
                raise ModelFault(f"{self._where} cannot be reached: {error}") from error
            else:
                self.metadata = self._greeting(connection)
                return connection

    def _greeting(self, connection: ClientConnection) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        try:
            said = connection.recv(timeout=self._connect_timeout_s)
            if isinstance(said, str):
                raise ModelFault(f"{self._where} refuses: {excerpt(_last_line(said))}")
            return unpack(said)
        except (ConnectionClosed, TimeoutError, BadFrame) as error:
            connection.close()
            reason = str(error) or "it says nothing"
            raise ModelFault(f"{self._where} is no policy server: {reason}") from error
        except BaseException:
            connection.close()
            raise

    def _keep(self, connection: ClientConnection) -> None:
        with self._lock:
            self._idle.append(connection)

    @property
    def _where(self) -> str:
        return f"the policy server at {self.url}"


def _last_line(text: str) -> str:
    """Return the last line of a traceback, which says what was raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
