"""Every provider keeps the contract of providers."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.server import bind
from hud.environment.task import Task
from hud.eval.running import LiveEnvironments
from hud.packaging.root import problem
from hud.runtimes.base import Provider, Runtime, Shared
from hud.runtimes.bundle import BundleRuntime
from hud.runtimes.local import LocalRuntime
from hud.runtimes.subprocess import SubprocessRuntime
from hud.testing.check_provider import check_provider, check_runtime
from tests.needs import missing

SOURCE = """
from hud import Environment

env = Environment(name="checked")

@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {word}"
    yield float(answer == word)
"""
BROKEN = f"{SOURCE}\n@env.initialize\nasync def fail():\n    raise OSError('no disk')\n"
WITH_SHELL = f"{SOURCE}\nenv.workspace('/tmp/shell')\n"

ROW = Task(env="checked", id="ask")


def make(_: Task | None = None) -> Environment:
    env = Environment(name="checked")

    @env.template()
    async def ask(word: str = "yes") -> AsyncGenerator[Any, Any]:
        answer = yield f"say {word}"
        yield float(answer == word)

    return env


def make_broken(_: Task) -> Environment:
    raise OSError("no disk")


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    good, broken = tmp_path / "good.py", tmp_path / "broken.py"
    good.write_text(SOURCE)
    broken.write_text(BROKEN)
    return good, broken


async def test_local_runtime_of_a_path(sources: tuple[Path, Path]) -> None:
    good, broken = sources
    await check_provider(LocalRuntime(good), ROW, broken=LocalRuntime(broken))


async def test_local_runtime_of_a_constructor() -> None:
    await check_provider(LocalRuntime(make), ROW, broken=LocalRuntime(make_broken))


async def test_subprocess_runtime_with_warm_forks(sources: tuple[Path, Path]) -> None:
    good, broken = sources
    await check_provider(SubprocessRuntime(good), ROW, broken=SubprocessRuntime(broken))


@pytest.mark.parametrize("warm", [0, 2])
async def test_bundle_runtime_with_a_shell_inside(tmp_path: Path, warm: int) -> None:
    if (why := problem()) is not None:
        missing(why)
    providers: list[BundleRuntime] = []
    for name, text in (("good", WITH_SHELL), ("broken", BROKEN)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tasks.py").write_text(text)
        providers.append(BundleRuntime(folder, store=tmp_path / "bundles", warm=warm))
    wanted = RuntimeConfig.model_validate({"resources": {"gpu": {"count": 1}}})
    await check_runtime(
        providers[0],
        ROW,
        broken=providers[1],
        broken_says="no disk",
        unsupported=ROW.model_copy(update={"runtime_config": wanted}),
    )


async def test_any_function_of_that_shape() -> None:
    @contextlib.asynccontextmanager
    async def provider(row: Task) -> AsyncGenerator[Runtime]:
        async with bind(make()) as url:
            yield Runtime(url)

    await check_provider(provider, ROW)


@pytest.mark.parametrize("kind", ["live", "several live", "address", "shared"])
async def test_a_place_that_is_shared_on_purpose_is_found_out(kind: str) -> None:
    env = make()
    async with contextlib.AsyncExitStack() as stack:
        provider: Provider
        match kind:
            case "live":
                provider = LocalRuntime(env)
            case "several live":
                provider = LiveEnvironments([env])
            case "address":
                provider = Runtime(await stack.enter_async_context(bind(env)))
            case _:
                provider = Shared(LocalRuntime(make), width=1)
        row = env.tasks["ask"]()
        with pytest.raises(AssertionError, match="a second acquire found the first one's task"):
            await check_provider(provider, row)
