"""A sign-up form over HTTP: one page, and a list of what was sent to it."""

import asyncio
from urllib.parse import parse_qs

PAGE = """<!doctype html><title>Sign up</title><h1>Summer course</h1>
<form method="post" action="/sign-up">
  <label>Name <input name="name" required></label>
  <label>Age <input name="age" type="number" min="1"></label>
  <label>Course
    <select name="course"><option>Chess</option><option>Pottery</option></select></label>
  <label><input type="checkbox" name="terms" value="yes" required> I accept the terms</label>
  <button>Sign up</button>
</form>"""
THANKS = "<!doctype html><title>Thank you</title><p>Thank you, we have written it down.</p>"


class Site:
    """Serve the form on a port of this machine's loopback; `sent` holds what came in."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)

    def address(self) -> tuple[str, int]:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            page = await self._page(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # a browser connects ahead of what it asks for
            return
        content = page.encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
        )
        await writer.drain()
        writer.close()

    async def _page(self, reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if not head.startswith("POST /sign-up "):
            return PAGE
        lengths = [line for line in head.lower().splitlines() if "content-length:" in line]
        body = await reader.readexactly(min(int(lengths[0].split(":")[1]), 10_000))
        self.sent.append({key: held[0] for key, held in parse_qs(body.decode()).items()})
        return THANKS
