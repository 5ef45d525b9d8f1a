"""Every capability client keeps the contract of capability clients, against a real daemon.

Each client has one small module in `tests/conformance/daemons`, and adding it is all it takes to
have it checked here. The module holds

    @contextlib.asynccontextmanager
    async def serve(folder: Path) -> AsyncGenerator[Subject[MyClient]]:
        # start the daemon (loopback, a free port, everything it writes under `folder`)
        yield Subject(MyClient, row, use, kill)
        # and end it, also when it was killed before

and more of them where there is more than one kind of daemon, each named `serve_…`. `use` and
`kill` are those of `hud.testing.check_capability`: `use` works on a connected client, again and
again; `kill` ends the daemon as a crash would (SIGKILL). A daemon that needs a program or a
package asks for it with `tests.needs`, inside of `serve`. A client that needs more than its row
for each connection gives `prepare`; one that serves a single client at a time `parallel=1`.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from hud._core.errors import CapabilityFault, InputError
from hud.capabilities import Capability
from hud.testing import check_capability
from tests.plugins.hud_line.hud_line import LineClient
from tests.plugins.line_daemon import line_daemon

FOLDER = Path(__file__).parent / "daemons"
DAEMONS = [
    (path.stem, function)
    for path in sorted(FOLDER.glob("[!_]*.py"))
    for function in (getattr(node, "name", "") for node in ast.parse(path.read_bytes()).body)
    if function.startswith("serve")
]


@pytest.mark.parametrize(("module", "function"), DAEMONS)
async def test_a_client_keeps_the_contract(module: str, function: str, tmp_path: Path) -> None:
    serve: Any = getattr(importlib.import_module(f"tests.conformance.daemons.{module}"), function)
    async with serve(tmp_path) as subject:
        await check_capability(
            subject.client_class,
            subject.capability,
            use=subject.use,
            kill=subject.kill,
            prepare=subject.prepare,
            parallel=subject.parallel,
            connect_limit_s=subject.connect_limit_s,
            impatient=subject.impatient,
        )


def test_every_built_in_client_is_checked() -> None:
    assert {module for module, _ in DAEMONS} >= {"cdp", "mcp", "rfb", "robot", "ssh"}


# A small client that keeps the contract, and ways of breaking it.


async def use(client: LineClient) -> None:
    assert await client.ask("hello") == "HELLO"


class Trusting(LineClient):
    """Has no limit on connecting, whatever it is asked."""

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 0.0) -> Self:
        return await super().connect(cap, connect_timeout_s=10_000.0)


class Bare(LineClient):
    """Lets the errors of sockets through."""

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        try:
            return await super().connect(cap, connect_timeout_s=connect_timeout_s)
        except CapabilityFault as fault:
            raise ConnectionError("refused") from fault


class Careless(LineClient):
    """Dials whatever a row without an address might mean."""

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        try:
            return await super().connect(cap, connect_timeout_s=connect_timeout_s)
        except InputError as error:
            raise CapabilityFault("somewhere") from error


class Credulous(LineClient):
    """Takes any greeting for the right one."""

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        if cap.address is None:
            raise InputError("nowhere")
        try:
            async with asyncio.timeout(connect_timeout_s):
                reader, writer = await asyncio.open_connection(*cap.address)
                await reader.readline()
        except OSError as error:
            raise CapabilityFault(f"nothing there: {error}") from error
        return cls(cap, reader, writer)


class Sharing(LineClient):
    """Has one connection for all clients of a row."""

    held: ClassVar[dict[str, Any]] = {}

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        held = cls.held.get(cap.url)
        if held is None or held.is_closing:
            held = await super().connect(cap, connect_timeout_s=connect_timeout_s)
            cls.held[cap.url] = held
        return held

    @property
    def is_closing(self) -> bool:
        return self._writer.is_closing()


class Once(LineClient):
    """Cannot be closed twice."""

    is_over = False

    async def close(self) -> None:
        if self.is_over:
            raise RuntimeError("closed already")
        self.is_over = True
        await super().close()


class Littering(LineClient):
    """Starts a task per connection and forgets it."""

    tasks: ClassVar[list[asyncio.Task[Any]]] = []

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        cls.tasks.append(asyncio.create_task(asyncio.sleep(3600)))
        return await super().connect(cap, connect_timeout_s=connect_timeout_s)


class Stubborn(LineClient):
    """Takes a cancellation for a failure."""

    @classmethod
    async def connect(cls, cap: Capability, *, connect_timeout_s: float = 10.0) -> Self:
        try:
            return await super().connect(cap, connect_timeout_s=connect_timeout_s)
        except asyncio.CancelledError as error:
            raise CapabilityFault("interrupted") from error


class Nameless(LineClient):
    """Says that it speaks another protocol than its row."""

    protocol = "lines/1"


class Dreaming(LineClient):
    """Answers by itself when the daemon does not."""

    async def ask(self, line: str) -> str:
        try:
            return await super().ask(line)
        except CapabilityFault:
            await asyncio.sleep(3600)
            raise


async def test_the_smallest_client_keeps_the_contract() -> None:
    async with line_daemon() as daemon:
        await check_capability(LineClient, daemon.row, use=use, kill=daemon.kill, parallel=8)


BROKEN: list[tuple[type[LineClient], str]] = [
    (Trusting, "connecting to a peer that says nothing hung"),
    (Bare, "a port where nothing listens raised ConnectionError"),
    (Careless, "a row without an address raised CapabilityFault"),
    (Credulous, "connecting to a peer that hangs up at once succeeded"),
    (Sharing, "leave each other alone|closing one"),
    (Once, "closed already"),
    (Littering, "tasks left behind"),
    (Stubborn, "a cancelled connect ended with CapabilityFault"),
    (Nameless, "does not fit"),
    (Dreaming, "hung for 1 s when its daemon died"),
]


@pytest.mark.parametrize(("broken", "rule"), BROKEN, ids=[cls.__name__ for cls, _ in BROKEN])
async def test_a_client_that_breaks_a_rule_is_found_out(
    broken: type[LineClient], rule: str
) -> None:
    async with line_daemon() as daemon:
        with pytest.raises(AssertionError, match=rule):
            await check_capability(
                broken, daemon.row, use=use, kill=daemon.kill, connect_limit_s=1.0, settle_s=0.5
            )
