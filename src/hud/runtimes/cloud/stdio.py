"""Raw bytes through a command's stdin and stdout, for a vendor whose SDK carries no TCP.

The command is a line of Python at the far end that joins its stdio to the control port; as
commands may carry only text, each piece is a line of base64, unless told to be plain.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import shlex
from collections.abc import Awaitable, Callable

from hud._core.errors import RuntimeFault

# Waits for the port by itself: asking again from here would cost a round trip each time.
_PROGRAM = """
import base64, os, socket, sys, threading, time
plain = sys.argv[3:] == ["plain"]
end = time.monotonic() + float(sys.argv[2])
while True:
    try:
        s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError as e:
        if time.monotonic() > end:
            sys.exit(f"nothing listens at the control port: {e}")
        time.sleep(0.05)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def send():
    if plain:
        while data := os.read(0, 65536):
            s.sendall(data)
    else:
        for line in sys.stdin.buffer:
            s.sendall(base64.b64decode(line))
    os._exit(0)
threading.Thread(target=send, daemon=True).start()
while data := s.recv(65536):
    sys.stdout.buffer.write(data if plain else base64.b64encode(data) + b"\\n")
    sys.stdout.buffer.flush()
os._exit(0)
""".strip()

_LONGEST_LINE = 1 << 20


def joining_command(port: int, wait_s: float, *, plain: bool = False) -> str:
    """Return the shell command that joins its stdio to `port`, once something listens there.

    Args:
        port: The control port, on the loopback interface of where the command runs.
        wait_s: How long it waits for something to listen.
        plain: Pass bytes as they are; else a line of base64 for each piece.
    """
    python = '"$(command -v python3 || command -v python)"'
    end = " plain" if plain else ""
    return f"exec {python} -u -c {shlex.quote(_PROGRAM)} {port} {wait_s:.0f}{end}"


class StdioStream:
    """The near end of that command.

    Args:
        send: Sends bytes to the command's stdin, in the order of the calls.
        hang_up: Ends the command.
    """

    def __init__(
        self, send: Callable[[bytes], Awaitable[None]], hang_up: Callable[[], Awaitable[None]]
    ) -> None:
        self._send = send
        self._hang_up = hang_up
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._text = ""
        self._ended = False

    def feed(self, text: str) -> None:
        """Take what the command printed.

        Raises:
            RuntimeFault: when that is no line of base64.
        """
        *lines, self._text = (self._text + text).split("\n")
        if len(self._text) > _LONGEST_LINE:
            raise RuntimeFault("the way to the control port carries something else than base64")
        for line in lines:
            try:
                self._pieces.put_nowait(base64.b64decode(line, validate=True))
            except binascii.Error as error:
                self.end()
                raise RuntimeFault("the way to the control port garbled what it carries") from error

    def end(self) -> None:
        """Tell that nothing more will come."""
        if not self._ended:
            self._ended = True
            self._pieces.put_nowait(None)

    async def read(self) -> bytes:
        piece = await self._pieces.get()
        return b"" if piece is None else piece

    async def write(self, data: bytes) -> None:
        await self._send(base64.b64encode(data) + b"\n")

    async def close(self) -> None:
        self.end()
        await self._hang_up()
