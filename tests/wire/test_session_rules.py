"""Section 2 of the protocol: what a control session may do, and when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from hud.environment import Environment
from tests.wire.harness import Place, Steps, own_tasks, until, waited


class Gate:
    """An environment whose templates stop where a test wants them to, and tell what they did."""

    def __init__(self) -> None:
        self.env = Environment("gate", version="1")
        self.seen: list[str] = []
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

        @self.env.template()
        async def quick(name: str = "quick") -> Steps:
            try:
                answer = yield f"prompt of {name}"
                self.seen.append(f"answer {answer}")
                yield 1.0
            finally:
                self.seen.append(f"{name} ended")

        @self.env.template()
        async def slow_start() -> Steps:
            try:
                await self._wait()
                yield "at last"
                yield 0.5
            finally:
                self.seen.append("slow_start ended")

        @self.env.template()
        async def slow_grade() -> Steps:
            try:
                yield "now grade"
                await self._wait()
                yield 0.25
            finally:
                self.seen.append("slow_grade ended")

    async def _wait(self) -> None:
        self.entered.set()
        await self.release.wait()

    def ended(self, name: str) -> bool:
        return f"{name} ended" in self.seen


@pytest.fixture
async def gate() -> Gate:
    return Gate()


async def test_hello_says_who_serves_and_what_is_bound(place: Place, gate: Gate) -> None:
    wire = await place.connect(await place.serve(gate.env))

    hello = await wire.result("hello", {"unknown": 1, "connections": []})

    assert hello["env"] == {"name": "gate", "version": "1"}
    assert hello["bindings"] == []
    assert hello["session_id"]
    assert hello["protocol_version"]


async def test_every_template_is_listed_with_its_schema(place: Place, gate: Gate) -> None:
    wire = await place.connect(await place.serve(gate.env))

    tasks = (await wire.result("tasks.list"))["tasks"]

    assert [task["id"] for task in tasks] == ["quick", "slow_start", "slow_grade"]
    assert tasks[0]["args"]["properties"]["name"] == {
        "title": "Name",
        "type": "string",
        "default": "quick",
    }
    assert tasks[0]["args"]["additionalProperties"] is False


async def test_a_task_is_started_graded_once_and_then_gone(place: Place, gate: Gate) -> None:
    wire = await place.connect(await place.serve(gate.env))

    assert await wire.result("tasks.start", {"id": "quick"}) == {"prompt": "prompt of quick"}
    assert await wire.result("tasks.grade", {"answer": "a", "other": 1}) == {"score": 1.0}
    assert gate.seen == ["answer a", "quick ended"]
    error = await wire.error("tasks.grade", {"answer": "a"})
    assert (error["code"], error["message"]) == (-32600, "no task in progress")


async def test_a_grade_before_any_start_finds_no_task(place: Place, gate: Gate) -> None:
    wire = await place.connect(await place.serve(gate.env))

    assert (await wire.error("tasks.grade", {"answer": "a"}))["message"] == "no task in progress"


async def test_a_new_start_closes_the_task_before_it(place: Place, gate: Gate) -> None:
    wire = await place.connect(await place.serve(gate.env))
    await wire.result("tasks.start", {"id": "quick", "args": {"name": "one"}})

    await wire.result("tasks.start", {"id": "quick", "args": {"name": "two"}})

    assert gate.seen == ["one ended"]
    assert await wire.result("tasks.grade", {"answer": "b"}) == {"score": 1.0}
    assert gate.seen == ["one ended", "answer b", "two ended"]


@pytest.mark.parametrize("params", [{"id": "nobody"}, {"id": "quick", "args": {"nmae": 1}}])
async def test_a_start_that_names_nothing_leaves_the_task_alone(
    place: Place, gate: Gate, params: dict[str, Any]
) -> None:
    wire = await place.connect(await place.serve(gate.env))
    await wire.result("tasks.start", {"id": "quick"})

    assert (await wire.error("tasks.start", params))["code"] == -32602
    assert await wire.result("tasks.grade", {"answer": "b"}) == {"score": 1.0}


@pytest.mark.parametrize("template", ["slow_start", "slow_grade"])
async def test_while_a_call_runs_only_heartbeat_cancel_and_bye_pass(
    place: Place, gate: Gate, template: str
) -> None:
    wire = await place.connect(await place.serve(gate.env))
    session = (await wire.result("hello"))["session_id"]
    call = wire.send("tasks.start", {"id": template})
    if template == "slow_grade":
        await wire.reply()
        call = wire.send("tasks.grade", {"answer": 1})
    await waited(gate.entered)

    for method, params in [
        ("tasks.list", {}),
        ("tasks.start", {"id": "quick"}),
        ("tasks.grade", {"answer": 1}),
        ("hello", {"session_id": "another"}),
    ]:
        error = await wire.error(method, params)
        assert error["code"] == -32600
        assert "still running" in error["message"]
    assert (await wire.result("hello", {"session_id": session}))["session_id"] == session
    assert (await wire.result("hello"))["session_id"] == session

    gate.release.set()
    reply = await wire.reply()
    assert reply["id"] == call
    assert "result" in reply


@pytest.mark.parametrize("template", ["slow_start", "slow_grade"])
@pytest.mark.parametrize("method", ["tasks.cancel", "bye"])
async def test_cancel_and_bye_interrupt_running_code(
    place: Place, gate: Gate, template: str, method: str
) -> None:
    wire = await place.connect(await place.serve(gate.env))
    call = wire.send("tasks.start", {"id": template})
    if template == "slow_grade":
        await wire.reply()
        call = wire.send("tasks.grade", {"answer": 1})
    await waited(gate.entered)

    ending = wire.send(method)

    interrupted = await wire.reply()
    assert (interrupted["id"], interrupted["error"]["code"]) == (call, -32000)
    assert interrupted["error"]["data"] == {"boundary": "cancelled"}
    assert gate.ended(template)
    last = await wire.reply()
    assert last["id"] == ending
    if method == "bye":
        assert last["result"] == {"goodbye": True}
        assert await wire.ended() == b""
    else:
        assert last["result"] == {"cancelled": True}
        assert (await wire.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"
        assert "result" in await wire.call("tasks.start", {"id": "quick"})


@pytest.mark.parametrize("method", ["tasks.cancel", "bye"])
async def test_cancel_and_bye_close_a_suspended_task(place: Place, gate: Gate, method: str) -> None:
    url = await place.serve(gate.env)
    wire = await place.connect(url)
    session = (await wire.result("hello"))["session_id"]
    await wire.result("tasks.start", {"id": "quick"})

    await wire.result(method)

    assert gate.seen == ["quick ended"]
    other = await place.connect(url)
    assert (await other.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"
    if method == "bye":
        assert (await other.error("hello", {"session_id": session}))["code"] == -32600


async def test_a_client_that_says_bye_and_hangs_up_at_once_leaves_no_task(
    place: Place, gate: Gate
) -> None:
    url = await place.serve(gate.env)
    wire = await place.connect(url)
    await wire.result("tasks.start", {"id": "quick"})
    wire.send("bye")
    await wire.close()

    await until(lambda: gate.ended("quick"))

    other = await place.connect(url)
    assert (await other.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"


async def test_nothing_after_bye_is_carried_out(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    wire = await place.connect(url)
    wire.send("bye")
    wire.send("tasks.start", {"id": "quick"})

    assert (await wire.reply())["result"] == {"goodbye": True}
    assert await wire.ended() == b""
    other = await place.connect(url)
    assert (await other.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"


async def test_code_that_swallows_its_cancellation_is_left_behind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hud.environment.connection.CANCEL_GRACE_S", 0.01)
    entered, release, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    env = Environment("stubborn")

    @env.template()
    async def stubborn() -> Steps:
        try:
            yield "p"
            entered.set()
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            yield 1.0
        finally:
            closed.set()

    @env.template()
    async def fine() -> Steps:
        yield "fine"
        yield 1.0

    wire = await place.connect(await place.serve(env))
    await wire.result("tasks.start", {"id": "stubborn"})
    call = wire.send("tasks.grade", {"answer": 1})
    await waited(entered)

    cancel = wire.send("tasks.cancel")

    interrupted = await wire.reply()
    assert (interrupted["id"], interrupted["error"]["code"]) == (call, -32000)
    assert (await wire.reply())["id"] == cancel
    assert await wire.result("tasks.start", {"id": "fine"}) == {"prompt": "fine"}
    release.set()
    await waited(closed)
    assert await wire.result("tasks.grade", {"answer": 1}) == {"score": 1.0}


async def test_a_start_that_outlives_its_cancellation_starts_nothing(place: Place) -> None:
    entered = asyncio.Event()
    env = Environment("late")

    @env.template()
    async def late() -> Steps:
        entered.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield "too late"
        yield 1.0

    wire = await place.connect(await place.serve(env))
    wire.send("tasks.start", {"id": "late"})
    await waited(entered)
    wire.send("tasks.cancel")

    assert (await wire.reply())["error"]["code"] == -32000
    assert (await wire.reply())["result"] == {"cancelled": True}
    assert (await wire.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"


async def test_code_that_cancels_itself_is_the_environments_fault(place: Place) -> None:
    env = Environment("self")

    @env.template()
    async def gives_up() -> Steps:
        yield "p"
        raise asyncio.CancelledError
        yield 1.0

    wire = await place.connect(await place.serve(env))
    await wire.result("tasks.start", {"id": "gives_up"})

    error = await wire.error("tasks.grade", {"answer": 1})

    assert error["data"]["boundary"] == "environment"


async def test_a_dropped_connection_parks_its_task_for_its_session_id(
    place: Place, gate: Gate
) -> None:
    url = await place.serve(gate.env)
    first = await place.connect(url)
    session = (await first.result("hello"))["session_id"]
    await first.result("tasks.start", {"id": "quick"})
    second = await place.connect(url)
    error = await second.error("hello", {"session_id": session})
    assert error["code"] == -32600
    assert "live" in error["message"]
    await first.close()

    while "error" in (reply := await second.call("hello", {"session_id": session})):
        assert "live" in reply["error"]["message"]

    assert reply["result"]["session_id"] == session
    assert gate.seen == []
    assert await second.result("tasks.grade", {"answer": "x"}) == {"score": 1.0}
    assert gate.seen == ["answer x", "quick ended"]


async def test_a_session_without_a_task_is_forgotten_with_its_connection(
    place: Place, gate: Gate
) -> None:
    url = await place.serve(gate.env)
    first = await place.connect(url)
    session = (await first.result("hello"))["session_id"]
    await first.close()
    second = await place.connect(url)

    while "live" in (error := await second.error("hello", {"session_id": session}))["message"]:
        pass

    assert error["code"] == -32600
    assert "unknown session" in error["message"]


@pytest.mark.parametrize("greets", [False, True], ids=["plain", "after hello"])
async def test_the_one_parked_task_is_graded_from_a_new_connection(
    place: Place, gate: Gate, greets: bool
) -> None:
    url = await place.serve(gate.env)
    first = await place.connect(url)
    await first.result("tasks.start", {"id": "quick"})
    await first.close()
    second = await place.connect(url)
    session = (await second.result("hello"))["session_id"] if greets else None

    reply = await second.call("tasks.grade", {"answer": "x"})
    while "error" in reply:
        assert reply["error"]["message"] == "no task in progress"
        reply = await second.call("tasks.grade", {"answer": "x"})

    assert reply["result"] == {"score": 1.0}
    if session:
        assert (await second.result("hello"))["session_id"] == session
    assert (await second.error("tasks.grade", {"answer": "x"}))["code"] == -32600


async def test_several_parked_tasks_must_be_told_apart(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    ids: list[str] = []
    for name in ("one", "two", "three"):
        wire = await place.connect(url)
        ids.append((await wire.result("hello"))["session_id"])
        await wire.result("tasks.start", {"id": "quick", "args": {"name": name}})
        await wire.close()
    holder = await place.connect(url)
    for session in ids:  # moving on to the next session parks the one held before
        while "error" in (reply := await holder.call("hello", {"session_id": session})):
            assert "live" in reply["error"]["message"]
    last = await place.connect(url)

    error = await last.error("tasks.grade", {"answer": 1})

    assert error["code"] == -32600
    assert [session in error["message"] for session in ids] == [True, True, False]
    assert gate.seen == []
    await last.result("hello", {"session_id": ids[1]})
    assert await last.result("tasks.grade", {"answer": "b"}) == {"score": 1.0}
    assert gate.seen == ["answer b", "two ended"]


async def test_a_connection_that_graded_its_own_task_takes_no_other(
    place: Place, gate: Gate
) -> None:
    url = await place.serve(gate.env)
    own = await place.connect(url)
    await own.result("tasks.start", {"id": "quick", "args": {"name": "own"}})
    other = await place.connect(url)
    session = (await other.result("hello"))["session_id"]
    await other.result("tasks.start", {"id": "quick", "args": {"name": "parked"}})
    await other.close()
    await own.result("tasks.grade", {"answer": 1})

    assert (await own.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"

    again = await place.connect(url)
    while "error" in (reply := await again.call("hello", {"session_id": session})):
        pass
    assert "result" in reply
    assert not gate.ended("parked")


async def test_a_hang_up_during_start_lets_it_finish_and_parks_it(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    first = await place.connect(url)
    session = (await first.result("hello"))["session_id"]
    first.send("tasks.start", {"id": "slow_start"})
    await waited(gate.entered)
    await first.close()
    second = await place.connect(url)
    assert (await second.error("hello", {"session_id": session}))["code"] == -32600
    gate.release.set()

    while "error" in await second.call("hello", {"session_id": session}):
        pass

    assert await second.result("tasks.grade", {"answer": 1}) == {"score": 0.5}


async def test_a_hang_up_during_grade_ends_it(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    first = await place.connect(url)
    session = (await first.result("hello"))["session_id"]
    await first.result("tasks.start", {"id": "slow_grade"})
    first.send("tasks.grade", {"answer": 1})
    await waited(gate.entered)

    await first.close()

    await until(lambda: gate.ended("slow_grade"))
    second = await place.connect(url)
    error = await second.error("hello", {"session_id": session})
    assert error["code"] == -32600
    assert (await second.error("tasks.grade", {"answer": 1}))["message"] == "no task in progress"


async def test_finally_blocks_run_when_the_server_stops(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    parked = await place.connect(url)
    await parked.result("tasks.start", {"id": "quick", "args": {"name": "parked"}})
    await parked.close()
    held = await place.connect(url)
    await held.result("tasks.start", {"id": "quick", "args": {"name": "held"}})
    grading = await place.connect(url)
    await grading.result("tasks.start", {"id": "slow_grade"})
    grading.send("tasks.grade", {"answer": 1})
    await waited(gate.entered)

    await place.stop()

    assert {name for name in ("parked", "held", "slow_grade") if gate.ended(name)} == {
        "parked",
        "held",
        "slow_grade",
    }


async def test_a_clean_up_under_way_is_not_interrupted_when_the_server_stops(
    place: Place,
) -> None:
    cleaning, cleaned = asyncio.Event(), asyncio.Event()
    env = Environment("tidy")

    @env.template()
    async def tidy() -> Steps:
        try:
            yield "p"
            yield 1.0
        finally:
            cleaning.set()
            for _ in range(50):
                await asyncio.sleep(0)
            cleaned.set()

    wire = await place.connect(await place.serve(env))
    await wire.result("tasks.start", {"id": "tidy"})
    wire.send("bye")
    await waited(cleaning)

    await place.stop()

    assert cleaned.is_set()


async def test_stopping_the_server_leaves_no_task_behind(place: Place, gate: Gate) -> None:
    before = own_tasks()
    url = await place.serve(gate.env)
    for _ in range(5):
        wire = await place.connect(url)
        await wire.result("tasks.start", {"id": "quick"})

    await place.stop()

    await until(lambda: own_tasks() <= before)


async def test_many_sessions_share_the_port(place: Place, gate: Gate) -> None:
    url = await place.serve(gate.env)
    wires = [await place.connect(url) for _ in range(50)]

    ids = {(await wire.result("hello"))["session_id"] for wire in wires}
    prompts = [
        await wire.result("tasks.start", {"id": "quick", "args": {"name": str(number)}})
        for number, wire in enumerate(wires)
    ]
    grades = await asyncio.gather(*(wire.result("tasks.grade", {"answer": 1}) for wire in wires))

    assert len(ids) == 50
    assert [prompt["prompt"] for prompt in prompts] == [f"prompt of {n}" for n in range(50)]
    assert grades == [{"score": 1.0}] * 50
