"""The contract of `hud.capabilities.CapabilityClient`, run against any client class.

What the clients of this package promise, and what a client of your own should, is one function
per rule below; a broken rule is an `AssertionError` that says which. It takes a real daemon, a
row that leads to it, and something to do with a client:

    async def use(client: LineClient) -> None:
        assert await client.ask("PING") == "PONG"

    async def test_line_client_keeps_the_contract() -> None:
        async with line_daemon() as daemon:
            row = Capability("line", "line/1", f"line://127.0.0.1:{daemon.port}")
            await check_capability(LineClient, row, use=use, kill=daemon.kill)

The rules:

- It names the protocol it speaks, and keeps the row it was connected with.
- It connects, works and closes; closing again is no error, `async with` closes too, and nothing
  (task, socket) is left behind.
- Two clients of one daemon work side by side; closing one leaves the other alone.
- It works through the tunnel of a served environment, where it is opened by the row's name.
- A row without an address is an `InputError`.
- Where nothing listens, connecting is a `CapabilityFault`. So it is where a peer says nothing,
  hangs up, or sends what is not the protocol, be it without end; never a hang: connecting has a
  limit of its own.
- A connect that is cancelled, at any moment, ends with `CancelledError` and leaves nothing behind.
- A daemon that dies while a client is used is a `CapabilityFault` there, and at every later use;
  closing is no error then (checked where `kill` is given).

A client whose `connect` takes `connect_timeout_s` is asked to be impatient where a rule waits for
its limit, so that the check takes seconds; others are waited for, for `connect_limit_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hud._core.errors import CapabilityFault, HudError, InputError
from hud.capabilities.base import CapabilityClient
from hud.clients.connect import connect
from hud.environment.environment import Environment
from hud.protocol.capability import Capability
from hud.runtimes.local import LocalRuntime
from hud.testing.census import SETTLE_S, Census
from hud.testing.strange_peer import GARBAGE, Then, strange_peer

C = TypeVar("C", bound=CapabilityClient)

_DEADLINE_S = 60.0
_IMPATIENCE = {"connect_timeout_s": 0.5}
_CANCEL_AFTER_TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
_CANCEL_AFTER_PARTS = 12


async def check_capability(
    client_class: type[C],
    capability: Capability,
    *,
    use: Callable[[C], Awaitable[object]],
    kill: Callable[[], Awaitable[object] | None] | None = None,
    prepare: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    parallel: int = 2,
    connect_limit_s: float = 60.0,
    impatient: Mapping[str, Any] | None = None,
    settle_s: float = SETTLE_S,
) -> None:
    """Run a client class through the whole contract; return when it keeps every rule.

    Args:
        client_class: The class under test.
        capability: A row that leads to a real daemon. It has to take clients one after the other,
            and `parallel` of them at once.
        use: Something that works on a connected client as long as the daemon lives; it is called
            again and again, also on several clients at once.
        kill: Ends the daemon as a crash would; called last. Left out: not checked.
        prepare: Called before each connection to the daemon; returns what `connect` takes besides
            the row, such as the token of a slot that is free now.
        parallel: How many clients to hold at once.
        connect_limit_s: How long a client may take to give up on a peer that says nothing.
        impatient: What to pass to `connect` to make it give up soon; found out when left out.
        settle_s: How long what is being closed may take to be gone.

    Raises:
        AssertionError: when a rule is broken, with the rule.
    """
    if impatient is None:
        takes = inspect.signature(client_class.connect).parameters
        impatient = _IMPATIENCE if takes.keys() >= _IMPATIENCE.keys() else {}
    case = _Case(
        client_class,
        capability,
        use,
        kill,
        prepare,
        parallel,
        connect_limit_s,
        impatient,
        settle_s,
    )
    rules: list[Callable[[_Case[C]], Awaitable[None]]] = [
        _it_connects_works_and_closes,
        _clients_side_by_side_leave_each_other_alone,
        _it_works_through_a_tunnel,
        _a_row_without_an_address_is_an_input_error,
        _where_nothing_listens_is_a_fault,
        _a_peer_that_does_not_speak_the_protocol_is_a_fault,
        _a_cancelled_connect_leaves_nothing_behind,
    ]
    if kill is not None:
        rules.append(_a_daemon_that_dies_is_a_fault)
    for rule in rules:
        sentence = rule.__name__.strip("_").replace("_", " ")
        limit = asyncio.timeout(_DEADLINE_S + 5 * connect_limit_s)
        try:
            async with limit:
                await rule(case)
        except Exception as error:
            if isinstance(error, AssertionError):
                raise
            reason = "not within the check's time" if limit.expired() else repr(error)
            raise AssertionError(f"{sentence}: {reason}") from error


@dataclass(slots=True)
class _Case(Generic[C]):
    """What is checked, and how long a good connect took when it was first tried."""

    cls: type[C]
    row: Capability
    use: Callable[[C], Awaitable[object]]
    kill: Callable[[], Awaitable[object] | None] | None
    prepare: Callable[[], Awaitable[Mapping[str, Any]]] | None
    parallel: int
    connect_limit_s: float
    impatient: Mapping[str, Any]
    settle_s: float
    connect_s: float = field(default=0.0)

    async def options(self) -> dict[str, Any]:
        return {} if self.prepare is None else dict(await self.prepare())

    async def connect(self) -> C:
        """Connect to the daemon."""
        options = await self.options()
        return await self.cls.connect(self.row, **options)

    def census(self) -> Census:
        return Census.take(self.settle_s, with_processes=False)

    def at(self, port: int) -> Capability:
        return self.row.with_address("127.0.0.1", port)


async def _it_connects_works_and_closes(case: _Case[C]) -> None:
    protocol: Any = getattr(case.cls, "protocol", None)
    assert protocol in (case.row.protocol, case.row.family), (
        f"a client names the protocol it speaks, or its family: {protocol!r} does not fit "
        f"a row of {case.row.protocol!r}"
    )
    await (await case.connect()).close()  # whatever is made once is made now
    before = case.census()
    loop = asyncio.get_running_loop()
    began = loop.time()
    client = await case.connect()
    case.connect_s = loop.time() - began
    assert isinstance(client, case.cls), f"connect returned {type(client).__name__}"
    assert client.capability == case.row, "a client keeps the row it was connected with"
    await case.use(client)
    await case.use(client)
    await client.close()
    await client.close()
    async with await case.connect() as client:
        await case.use(client)
    await client.close()
    await before.settle("after clients were used and closed")


async def _clients_side_by_side_leave_each_other_alone(case: _Case[C]) -> None:
    if case.parallel < 2:
        return
    before = case.census()
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(await case.connect()) for _ in range(case.parallel)
        ]
        await asyncio.gather(*(case.use(client) for client in clients))
        first, *others = clients
        await first.close()
        await asyncio.gather(*(case.use(client) for client in others))
    await before.settle("after clients side by side were closed")


async def _it_works_through_a_tunnel(case: _Case[C]) -> None:
    env = Environment(name="check-capability", capabilities=[case.row])

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "work"
        yield 1.0

    task = env.tasks["work"]()
    async with LocalRuntime(env) as runtime, runtime(task) as place, connect(place) as client:
        opened = await client.open(case.row.name, case.cls, **await case.options())
        await case.use(opened)
        await case.use(opened)


async def _a_row_without_an_address_is_an_input_error(case: _Case[C]) -> None:
    row = Capability(case.row.name, case.row.protocol, "", dict(case.row.params))
    await _expect(InputError, case, row, "a row without an address")


async def _where_nothing_listens_is_a_fault(case: _Case[C]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else gets this port meanwhile
        row = case.at(taken.getsockname()[1])
        await _expect(CapabilityFault, case, row, "a port where nothing listens")


async def _a_peer_that_does_not_speak_the_protocol_is_a_fault(case: _Case[C]) -> None:
    peers: tuple[tuple[str, bytes, Then], ...] = (
        ("a peer that hangs up at once", b"", "hang up"),
        ("a peer that sends garbage and hangs up", GARBAGE, "hang up"),
        ("a peer that sends garbage", GARBAGE, "wait"),
        ("a peer that sends garbage without end", GARBAGE, "go on"),
        ("a peer that says nothing", b"", "wait"),
    )
    for what, says, then in peers:
        before = case.census()
        async with strange_peer(says, then) as port:
            await _expect(CapabilityFault, case, case.at(port), what)
        await before.settle(f"after {what}")


async def _a_cancelled_connect_leaves_nothing_behind(case: _Case[C]) -> None:
    async with strange_peer(b"", "wait") as port:
        before = case.census()
        for turns in _CANCEL_AFTER_TURNS:
            work = asyncio.ensure_future(case.cls.connect(case.at(port)))
            for _ in range(turns):
                await asyncio.sleep(0)
            await _cancel(work, case)
            await before.settle(f"after a connect was cancelled at turn {turns} of the loop")
    for part in range(_CANCEL_AFTER_PARTS):
        options = await case.options()
        before = case.census()
        after_s = case.connect_s * part / (_CANCEL_AFTER_PARTS - 2)
        work = asyncio.ensure_future(case.cls.connect(case.row, **options))
        await asyncio.wait([work], timeout=after_s)
        await _cancel(work, case)
        await before.settle(f"after a connect was cancelled {after_s:.4f} s in")


async def _a_daemon_that_dies_is_a_fault(case: _Case[C]) -> None:
    assert case.kill is not None
    client = await case.connect()
    at_work = asyncio.Event()

    async def work_on() -> None:
        try:
            while True:
                await case.use(client)
                at_work.set()
                await asyncio.sleep(0)
        finally:
            at_work.set()

    work = asyncio.create_task(work_on())
    try:
        await at_work.wait()
        killed = case.kill()
        if killed is not None:
            await killed
        done, _ = await asyncio.wait([work], timeout=case.connect_limit_s)
        assert done, f"using a client hung for {case.connect_limit_s:g} s when its daemon died"
        _assert_fault(work.exception(), "using a client whose daemon died")
        with contextlib.suppress(CapabilityFault):
            async with asyncio.timeout(case.connect_limit_s):
                await case.use(client)
            raise AssertionError("a client works on after its daemon died")
    finally:
        work.cancel()
        await client.close()
        await client.close()
    await _expect(CapabilityFault, case, case.row, "a daemon that is dead")


async def _expect(kind: type[HudError], case: _Case[C], row: Capability, what: str) -> None:
    work = asyncio.ensure_future(case.cls.connect(row, **case.impatient))
    done, _ = await asyncio.wait([work], timeout=case.connect_limit_s)
    if not done:
        work.cancel()
        await asyncio.wait([work], timeout=_DEADLINE_S)
        raise AssertionError(f"connecting to {what} hung for {case.connect_limit_s:g} s")
    error = work.exception()
    if error is None:
        await work.result().close()
        raise AssertionError(f"connecting to {what} succeeded")
    _assert_fault(error, f"connecting to {what}", kind)


def _assert_fault(
    error: BaseException | None, what: str, kind: type[HudError] = CapabilityFault
) -> None:
    if not isinstance(error, kind):
        raise AssertionError(f"{what} raised {error!r}, no {kind.__name__}") from error
    assert error.message.strip(), f"{what} does not say why"


async def _cancel(work: asyncio.Future[C], case: _Case[C]) -> None:
    """Cancel a connect; one that was done already is closed."""
    work.cancel()
    done, _ = await asyncio.wait([work], timeout=case.connect_limit_s)
    assert done, f"a cancelled connect went on for {case.connect_limit_s:g} s"
    if work.cancelled():
        return
    error = work.exception()
    if error is not None:
        raise AssertionError(f"a cancelled connect ended with {error!r}") from error
    await work.result().close()
