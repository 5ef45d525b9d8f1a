"""One environment with a shell, a browser and plain questions, for every place there is."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from hud import Environment
from hud.environment import Peer

PAGE = "<!doctype html><title>Shop</title><form method=post><label>What <input name=what></label>"
SHOP = "http://shop:8080/"


class Shop:
    """A shop on this process's loopback that takes orders, open once somebody looks for it."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> tuple[str, int]:
        """Return where it is."""
        if self._server is None:
            shop = self

            class Counter(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self._show(f"{PAGE}<button>Order</button></form>")

                def do_POST(self) -> None:
                    text = self.rfile.read(min(int(self.headers["Content-Length"]), 4096))
                    shop.orders += parse_qs(text.decode())["what"]
                    what = escape(shop.orders[-1])
                    self._show(f"<title>Thanks</title><h1>Order {len(shop.orders)}: {what}</h1>")

                def _show(self, text: str) -> None:
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.send_header("Content-Length", str(len(text.encode())))
                    self.end_headers()
                    self.wfile.write(text.encode())

                def log_message(self, format: str, *args: object) -> None:
                    """Say nothing."""

            self._server = ThreadingHTTPServer(("127.0.0.1", 0), Counter)
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return "127.0.0.1", int(self._server.server_address[1])

    def close(self) -> None:
        """Close it, if it was open."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


env = Environment("everywhere")
shell = env.workspace()
shop = Shop()
browser = env.browser(peers=[Peer("shop", 8080, shop.open)])


@env.shutdown
async def close() -> None:
    shop.close()


@env.template()
async def shout(words: str = "quietly now") -> AsyncGenerator[Any, Any]:
    (shell.root / "words.txt").write_text(f"{words}\n")
    yield "In the shell, write what words.txt says into loud.txt, in capitals."
    yield 1.0 if shell.read_text("loud.txt") == f"{words.upper()}\n" else 0.0


@env.template()
async def order(what: str = "lantern") -> AsyncGenerator[Any, Any]:
    answer = yield f"Order a {what} at {SHOP} and say what the shop answers."
    yield 1.0 if shop.orders == [what] and answer == f"Order 1: {what}" else 0.0


@env.template()
async def add(a: int, b: int) -> AsyncGenerator[Any, Any]:
    answer = yield f"What is {a} + {b}?"
    off = abs(int(str(answer)) - a - b)
    yield {0: 1.0, 1: 0.5}.get(off, 0.0)


@env.template()
async def misjudged() -> AsyncGenerator[Any, Any]:
    yield "Say anything."
    raise OSError("the grader is broken")


tasks = [
    shout(words="hear this"),
    order(what="lantern"),
    add(a=40, b=2),
    add(a=2, b=2),
    add(a=1, b=1),
    misjudged(),
]
for task, slug in zip(
    tasks, ("shout", "order", "right", "near", "wrong", "misjudged"), strict=True
):
    task.slug = slug
