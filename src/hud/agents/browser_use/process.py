"""The process browser-use works in: which interpreter, with what around it, and its certain end.

What is said to it and by it are `agent`'s and `events`'.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from hud._core.errors import AgentFault, InputError, bounded
from hud._core.finishing import unbroken
from hud._core.processes import signal_group
from hud._core.redact import redact

logger = logging.getLogger(__name__)

PYTHON_VARIABLE = "HUD_BROWSER_USE_PYTHON"

_WORKER = Path(__file__).with_name("worker.py")
_LINE_LIMIT = 64 << 20
_TAIL_BYTES = 4_000
_PROBE_S = 60.0
_DRAIN_S = 1.0
_PROBE = "import importlib.metadata as m; print(m.version('browser-use'))"
_INSTALL = (
    "its requirements are pinned, so it wants an environment of its own: "
    "python -m venv ~/.browser-use && ~/.browser-use/bin/pip install browser-use, then "
    f"export {PYTHON_VARIABLE}=~/.browser-use/bin/python (or --config python=…)"
)
# Nothing else of this process's environment goes there: it may hold keys.
_PASSED_ON = {
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "SYSTEMROOT",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
}  # fmt: skip
_QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "BROWSER_USE_CLOUD_SYNC": "false",
    "BROWSER_USE_CLOUD_HINTS": "false",
    "BROWSER_USE_VERSION_CHECK": "false",
    "BROWSER_USE_DISABLE_EXTENSIONS": "true",
    "BROWSER_USE_CALCULATE_COST": "false",
    "BROWSER_USE_SETUP_LOGGING": "false",
    "DO_NOT_TRACK": "1",
    "SKIP_LLM_API_KEY_VERIFICATION": "true",
    "PYTHON_DOTENV_DISABLED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


def python_for(named: str | None) -> str:
    """Return the interpreter that has browser-use.

    Args:
        named: By the settings; None looks at HUD_BROWSER_USE_PYTHON, then at this interpreter.

    Raises:
        InputError: when there is none, or no such file.
    """
    from hud._core.settings import read_settings
    from hud.models.endpoint import setting

    named = named or setting(read_settings(), PYTHON_VARIABLE)
    if named:
        path = shutil.which(Path(named).expanduser())
        if path is None:
            raise InputError(
                f"the interpreter for browser-use, {bounded(named)!r}, is no program",
                hint=f"{PYTHON_VARIABLE} or the setting python names it; {_INSTALL}",
            )
        return path
    if importlib.util.find_spec("browser_use") is None:
        raise InputError("browser-use is not installed", hint=_INSTALL)
    return sys.executable


def browser_use_version(python: str) -> str:
    """Return the version of browser-use that an interpreter has.

    Raises:
        InputError: when it has none, or is no Python 3.11 or newer.
    """
    try:
        done = subprocess.run(
            [python, "-P", "-c", _PROBE],
            env=_environment(tempfile.gettempdir()),
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{bounded(python)} cannot be run: {error}", hint=_INSTALL) from error
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"{bounded(python)} has no browser-use: {bounded(said)}", hint=_INSTALL)
    return done.stdout.strip()


class Worker:
    """A running worker. `started` makes one and ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = bytearray()
        self._reading = asyncio.create_task(self._read_tail())

    async def lines(self, request: bytes) -> AsyncIterator[bytes]:
        """Hand the request over and yield what the worker says until it ends.

        Raises:
            AgentFault: when it says a line that is too long.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # how it ended is said below
            process.stdin.write(request + b"\n")
            await process.stdin.drain()
        while True:
            try:
                line = await process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError as error:
                raise AgentFault("the browser-use worker said a line of over 64 MiB") from error
            yield line

    async def died(self) -> AgentFault:
        """Return how it ended, with the last it wrote to standard error."""
        signal_group(self._process.pid, signal.SIGKILL)  # what it may have left running
        status = await self._process.wait()
        await self._have_read()
        said = redact(self._tail.decode("utf-8", "replace")).strip()
        return AgentFault(
            f"the browser-use worker ended with status {status}: {said[-1_000:] or 'no message'}"
        )

    async def end(self) -> None:
        """Kill it with everything it started, and reap it."""
        signal_group(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._have_read()
        if self._tail:
            logger.debug("browser-use said: %s", redact(self._tail.decode("utf-8", "replace")))

    async def _have_read(self) -> None:
        done, _ = await asyncio.wait([self._reading], timeout=_DRAIN_S)
        if not done:
            self._reading.cancel()

    async def _read_tail(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(4096):
            self._tail += chunk
            del self._tail[:-_TAIL_BYTES]


@contextlib.asynccontextmanager
async def started(python: str) -> AsyncGenerator[Worker]:
    """Start a worker in a process group and a folder of its own; both are gone afterwards.

    Raises:
        AgentFault: when the interpreter cannot be started.
    """
    folder = tempfile.mkdtemp(prefix="hud-browser-use-")
    starting: asyncio.Task[asyncio.subprocess.Process] = asyncio.create_task(
        asyncio.create_subprocess_exec(
            python,
            "-P",
            str(_WORKER),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
        )
    )
    worker: Worker | None = None
    try:
        try:
            worker = Worker(await asyncio.shield(starting))
        except OSError as error:
            raise AgentFault(f"{bounded(python)} cannot be started: {error}") from error
        yield worker
    finally:
        await unbroken(_end(starting, worker, folder))


async def _end(
    starting: asyncio.Task[asyncio.subprocess.Process], worker: Worker | None, folder: str
) -> None:
    with contextlib.suppress(OSError):
        worker = worker or Worker(await starting)
        await worker.end()
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _environment(folder: str) -> dict[str, str]:
    """Return the whole environment of a worker: no key, and what it keeps goes to `folder`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED_ON or name.startswith("LC_")
    }
    here = [kept.get("NO_PROXY") or kept.get("no_proxy") or "", "127.0.0.1", "localhost", "::1"]
    beside = ",".join(filter(None, here))
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), folder)
    config = {
        "XDG_CACHE_HOME": f"{folder}/cache",
        "XDG_CONFIG_HOME": f"{folder}/config",
        "BROWSER_USE_CONFIG_DIR": f"{folder}/config/browseruse",
    }
    return {**kept, **_QUIET, **places, **config, "NO_PROXY": beside, "no_proxy": beside}
