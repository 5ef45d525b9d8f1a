"""Declaring an environment: templates, hooks and capabilities."""

from __future__ import annotations

import asyncio
import functools
import logging
import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from hud._core.errors import EnvironmentFault, InputError
from hud.environment import Capability, Environment

Steps = AsyncGenerator[Any, Any]


async def two_steps(word: str = "x") -> Steps:
    """Say a word."""
    yield word
    yield 1


def test_a_template_carries_its_name_its_text_and_its_schema() -> None:
    env = Environment("e")
    template = env.template(input=int, returns=list[str])(two_steps)

    assert env.tasks == env.templates == {"two_steps": template}
    assert template.manifest_entry() == {
        "id": "two_steps",
        "description": "Say a word.",
        "args": {
            "type": "object",
            "properties": {"word": {"title": "Word", "type": "string", "default": "x"}},
            "additionalProperties": False,
        },
        "input": {"type": "integer"},
        "returns": {"type": "array", "items": {"type": "string"}},
    }
    assert env.template(id="other", description="d")(two_steps).manifest_entry()["description"] == (
        "d"
    )


def test_a_template_is_an_async_generator_function_with_an_id_of_its_own() -> None:
    env = Environment("e")

    async def no_generator() -> None: ...
    def no_coroutine() -> Any:
        yield 1

    for fn in (no_generator, no_coroutine, 5):
        with pytest.raises(TypeError, match="async generator function"):
            env.template()(fn)  # type: ignore[arg-type]
    env.template()(two_steps)
    with pytest.raises(ValueError, match="two templates 'two_steps'"):
        env.template()(two_steps)


def test_a_solution_is_in_no_manifest() -> None:
    env = Environment("e")

    async def solve(run: Any, **args: Any) -> str:
        return "x"

    template = env.template(solution=solve)(two_steps)

    assert template.solution is solve
    assert "solution" not in str(env.manifest())
    with pytest.raises(TypeError, match="solution must be"):
        env.template(id="b", solution="x")(two_steps)  # type: ignore[arg-type]


def test_a_minted_task_knows_its_environment_and_its_slug() -> None:
    env = Environment("e")
    template = env.template()(two_steps)

    assert template().to_row() == {"env": "e", "id": "two_steps"}
    assert template().slug == "two_steps"
    task = template(word="y")
    assert task.environment is env
    assert task.args == {"word": "y"}
    assert task.slug.startswith("two_steps-")
    assert task.slug == template("y").slug != template("z").slug


def test_an_unknown_template_is_refused_with_the_known_ones() -> None:
    env = Environment("e")
    env.template()(two_steps)

    with pytest.raises(InputError, match="no task 'three_steps'") as caught:
        env.find("three_steps")
    assert caught.value.hint == "its tasks: two_steps"


async def test_hooks_run_once_in_order_and_in_reverse() -> None:
    env, seen = Environment("e"), list[str]()

    async def note(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    for name in ("a", "b"):
        env.initialize(functools.partial(note, f"{name} up"))
        env.shutdown(functools.partial(note, f"{name} down"))
    await env.start()
    await env.start()
    await env.stop()
    await env.stop()

    assert seen == ["a up", "b up", "b down", "a down"]


@pytest.mark.parametrize("error", [OSError("no display"), SystemExit(3)])
async def test_an_initialize_hook_that_fails_is_named_and_the_shutdown_hooks_run(
    error: BaseException,
) -> None:
    env, seen = Environment("e"), list[str]()

    @env.initialize
    async def starts() -> None:
        raise error

    @env.initialize
    async def never() -> None:
        seen.append("never")

    @env.shutdown
    async def ends() -> None:
        seen.append("ends")

    with pytest.raises(EnvironmentFault, match="initialize hook 'starts' raised"):
        await env.start()
    await env.stop()
    assert seen == ["ends"]


async def test_an_interrupted_initialize_runs_the_shutdown_hooks() -> None:
    env, entered, seen = Environment("e"), asyncio.Event(), list[str]()

    @env.initialize
    async def starts() -> None:
        entered.set()
        await asyncio.Event().wait()

    @env.shutdown
    async def ends() -> None:
        seen.append("ends")

    starting = asyncio.create_task(env.start())
    await entered.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert seen == ["ends"]


async def test_a_shutdown_hook_that_fails_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env, seen = Environment("e"), list[str]()

    @env.shutdown
    async def last() -> None:
        seen.append("last")

    @env.shutdown
    async def raises() -> None:
        raise ValueError("x")

    @env.shutdown
    async def leaves() -> None:
        sys.exit(1)

    await env.start()
    with caplog.at_level(logging.WARNING):
        await env.stop()

    assert seen == ["last"]
    assert "'raises' raised ValueError" in caplog.text
    assert "'leaves' raised SystemExit" in caplog.text


async def test_capabilities_are_replaced_by_name_and_late_ones_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [Capability("a", "x/1", "x://h:1"), Capability("b", "x/1", "x://h:2")]
    env = Environment("e", capabilities=rows)
    env.add_capability(Capability("a", "x/1", "x://h:3"))

    assert env.capability("a").url == "x://h:3"
    assert env.capability_address("b") == ("h", 2)
    assert env.capability_address("c") is None
    assert len(env.capabilities) == 2
    with pytest.raises(KeyError):
        env.capability("c")
    with caplog.at_level(logging.WARNING):
        await env.start()
        assert "late" not in caplog.text
        env.add_capability(Capability("late", "x/1", "x://h:4"))
    assert "'late' was added after initialize" in caplog.text
    await env.stop()


def test_seeds_reach_every_reseed_hook_in_order() -> None:
    env, seen = Environment("e"), list[int]()
    env.reseed(seen.append)
    env.reseed(lambda seed: seen.append(-seed))
    env.apply_seed(7)
    assert seen == [7, -7]


async def test_a_capability_added_while_initializing_is_no_late_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    env = Environment(name="late")

    @env.initialize
    async def begin() -> None:
        env.add_capability(Capability.cdp(url="127.0.0.1:1"))

    await env.start()
    assert "after initialize" not in caplog.text
    env.add_capability(Capability.rfb(url="127.0.0.1:1"))
    assert "after initialize" in caplog.text
    await env.stop()
