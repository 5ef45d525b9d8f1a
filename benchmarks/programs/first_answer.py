"""From starting a server to its first answer, and what it holds while nobody asks anything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from benchmarks import proc

_BARE = """
import socket, sys, uvicorn

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})

with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print("http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    server.run([listener])
"""
_SETTLED_S = 0.5


def main() -> None:
    """Start the server named in the work, ask it once, and print what that took."""
    work = json.loads(sys.argv[1])
    command = [sys.executable, "-c", _BARE]
    if work["server"] == "platform":
        command = [sys.executable, "-m", "hud", "platform", "up", "--port", "0", "--json"]
    began = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert server.stdout is not None
    try:
        url = ""
        while not url.startswith("http"):
            words = server.stdout.readline().replace('"', " ").split()
            url = next((word for word in words if word.startswith("http")), "")
        url = url.rstrip(",")
        while True:
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"{url}/healthz", timeout=10).read()
                break
        answered_s = time.perf_counter() - began
        time.sleep(_SETTLED_S)
        held = proc.memory_bytes(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    print(json.dumps({"answered_s": answered_s, "held_bytes": held}))


if __name__ == "__main__":
    main()
