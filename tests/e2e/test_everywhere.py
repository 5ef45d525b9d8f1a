"""The same tasks and the same agent in every place: equal rewards, equal causes, nothing left.

The tasks take a shell over ssh, a browser over cdp, or neither; the places are `everywhere`'s.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hud import (
    HostedRuntime,
    HUDRuntime,
    LocalRuntime,
    SubprocessRuntime,
    Taskset,
)
from hud.agents.openai_chat import OpenAIChatAgent
from hud.agents.types import OpenAIChatConfig
from hud.eval.recording import close_stores
from hud.packaging.bundle import Bundle, load_bundle
from hud.packaging.root import problem
from hud.runtimes.bundle import BundleRuntime
from hud.runtimes.docker import DockerRuntime
from hud.runtimes.ray import RayRuntime
from hud.testing.model_server import ModelServer
from tests.docker_browser import add_browser
from tests.docker_engine import DockerEngine
from tests.e2e.everywhere.model import MODEL, work
from tests.e2e.everywhere.places import (
    Platform,
    bundled,
    descendants,
    image,
    platform,
    temporary,
    temporary_below,
    until,
    write_source,
)
from tests.needs import missing, need_module
from tests.platform.gateway.gatewayed import PROVIDER_KEY
from tests.platform.gateway.threaded import model_server
from tests.ray_cluster import ENVIRONMENT, RayCluster, ray_cluster

EXPECTED = {
    "shout": ("graded", 1.0),
    "order": ("graded", 1.0),
    "right": ("graded", 1.0),
    "near": ("graded", 0.5),
    "wrong": ("graded", 0.0),
    "misjudged": ("grader", None),
}
CAUSE = "[grading] template 'misjudged' raised OSError: the grader is broken while grading"


@pytest.fixture(scope="module")
def folder() -> Generator[Path]:
    """A folder whose name is short: sockets lie below it."""
    if (why := problem()) is not None:
        missing(why)
    made = Path(tempfile.mkdtemp(prefix="ev", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    return write_source(folder / "everywhere")


@pytest.fixture(scope="module")
def models() -> Generator[ModelServer]:
    with model_server(work, api_key=PROVIDER_KEY) as server:
        yield server


@pytest.fixture(scope="module")
def home(folder: Path, source: Path, models: ModelServer) -> Generator[Platform]:
    """A platform that builds bundles, which is where every place's model calls go as well."""
    with platform(folder / "p", source, models) as found:
        yield found


@pytest.fixture(scope="module")
def engine(container_engine: DockerEngine) -> DockerEngine:
    add_browser(container_engine)
    return container_engine


@pytest.fixture(scope="module")
def images(
    folder: Path, source: Path, models: ModelServer, engine: DockerEngine
) -> Generator[Platform]:
    """A platform that builds images."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine.environ.items():
            patch.setenv(name, value)
        with platform(folder / "i", source, models, "--builder", "docker") as found:
            yield found
    assert engine.containers() == []


@pytest.fixture(scope="module")
def built(engine: DockerEngine, source: Path) -> str:
    return image(engine, source)


@pytest.fixture(scope="module")
def bundle(folder: Path, source: Path) -> Bundle:
    return load_bundle(bundled(source, folder / "b"), store=folder / "b" / "bundles")


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Generator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray = need_module("ray")  # which reads them when it is imported
        (folder / "r").mkdir()
        with ExitStack() as stack:
            with temporary_below(folder / "r"):
                running = stack.enter_context(ray_cluster(folder))
            ray.init(address=running.address, log_to_driver=False, logging_level="ERROR")
            try:
                yield running
                every = ray.cluster_resources()["CPU"]
                until(lambda: ray.available_resources().get("CPU") != every)
            finally:
                ray.shutdown()
            until(lambda: temporary(folder / "r"))


@dataclass(frozen=True)
class Held:
    """What there is to make places of; asked of pytest when a place needs it."""

    request: pytest.FixtureRequest

    def __call__(self, name: str) -> Any:
        return self.request.getfixturevalue(name)


def _source(held: Held) -> Path:
    return held("source") / "env.py"


PLACES: dict[str, Callable[[Held], Any]] = {
    "local": lambda held: LocalRuntime(_source(held)),
    "subprocess": lambda held: SubprocessRuntime(_source(held)),
    "bundle": lambda held: BundleRuntime(held("source")),
    "docker": lambda held: DockerRuntime(held("built")),
    "docker, warm": lambda held: DockerRuntime(held("built"), warm=2),
    "ray": lambda held: RayRuntime(held("source"), address=held("cluster").address),
    "ray, of a bundle": lambda held: RayRuntime(held("bundle"), address=held("cluster").address),
    "hud": lambda held: HUDRuntime(),
    "hosted": lambda held: HostedRuntime(),
    "hud, of an image": lambda held: HUDRuntime(),
    "hosted, of an image": lambda held: HostedRuntime(),
}


@pytest.mark.parametrize("name", PLACES)
async def test_rewards_and_causes_are_the_same_and_nothing_is_left(
    name: str, request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(request)
    where: Platform = held("images" if name.endswith("image") else "home")
    runtime = PLACES[name](held)
    for variable, value in where.settings.items():
        monkeypatch.setenv(variable, value)
    if name.startswith("docker"):
        for variable, value in held("engine").environ.items():
            monkeypatch.setenv(variable, value)
    own = folder / name.replace(", ", "-").replace(" ", "-")
    own.mkdir()
    monkeypatch.setenv("HUD_HOME", str(own / "home"))
    (own / "t").mkdir()
    before = descendants(os.getpid())
    try:
        with temporary_below(own / "t"):
            tasks = Taskset.from_file(_source(held))
            agent = OpenAIChatAgent(OpenAIChatConfig(model=MODEL, gateway=True))
            job = await tasks.run(agent, runtime=runtime, retries=0)
    finally:
        close_stores()
    found = {
        run.slug: (str(run.outcome), run.reward if run.is_graded else None) for run in job.runs
    }
    assert found == EXPECTED, {run.slug: run.trace.error for run in job.runs}
    [broken] = [run for run in job.runs if not run.is_graded]
    assert broken.trace.error == CAUSE
    await asyncio.to_thread(until, lambda: _new(before, name, where))
    await asyncio.to_thread(until, lambda: temporary(own / "t"))
    await asyncio.to_thread(until, where.lent)
    if name.startswith("docker"):
        assert held("engine").containers() == []


def _new(before: dict[int, str | None], name: str, where: Platform) -> list[str]:
    """Return the processes that have come and do not belong to a platform."""
    assert where.server.process is not None
    theirs = descendants(where.server.process.pid)
    found: list[str] = []
    for pid, identity in descendants(os.getpid()).items():
        if before.get(pid) != identity:
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if pid not in theirs or "chrom" in words:
                found.append(f"{pid}: {words[:200]}")
    return found
