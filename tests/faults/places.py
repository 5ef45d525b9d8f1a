"""The runtimes that faults are tried on, each with what it needs and what it can leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hud.packaging.bundle import build_bundle
from hud.packaging.root import problem
from tests.docker_engine import DockerEngine
from tests.faults.census import Count
from tests.kubernetes_api import KubernetesApi
from tests.needs import missing, need_module
from tests.platform.registry.known import know
from tests.platform.remote.conftest import RemoteServer, Team
from tests.platform.server import Server
from tests.ray_cluster import ENVIRONMENT, RayCluster

SOURCE = Path(__file__).parent / "sources" / "tasks.py"
ALL = ("subprocess", "bundle", "docker", "ray", "kubernetes", "hud")


@dataclass(frozen=True, slots=True)
class Ground:
    """A runtime that is ready to be broken.

    Attributes:
        argument: What `hud eval --runtime` takes.
        env: Variables for whoever uses it.
        counts: What it can leave besides processes and files.
        alone: What of a killed eval's is gone without anybody's doing; None for all of it.
        others: What is the next command's.
    """

    argument: str
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    counts: Mapping[str, Count] = field(default_factory=dict[str, Count])
    alone: tuple[str, ...] | None = None
    others: str = ""


@contextlib.contextmanager
def ground(name: str, request: pytest.FixtureRequest, folder: Path) -> Generator[Ground]:
    """Yield what is needed to use a runtime; engines and clusters are the session's."""
    match name:
        case "subprocess":
            yield Ground("subprocess")
        case "bundle":
            need_walls()
            bundle = asyncio.run(build_bundle(_sources(folder), store=folder / "bundles"))
            # What is walled in goes with the eval; the kernel sees to that.
            alone = ("processes", "sockets", "mounts")
            yield Ground(f"bundle:{bundle.folder}", alone=alone, others="folder and control group")
        case "docker":
            engine: DockerEngine = request.getfixturevalue("container_engine")
            image: str = request.getfixturevalue("build")("faulted", {"env.py": SOURCE.read_text()})
            counts = {"containers": engine.containers}
            yield Ground(f"docker:{image}", engine.environ, counts)
        case "ray":
            cluster: RayCluster = request.getfixturevalue("cluster")
            alone = ("processes", "sockets", "actors")
            counts = {"actors": actors}
            yield Ground(f"ray:{cluster.address}", ENVIRONMENT, counts, alone, "folder")
        case "kubernetes":
            with kubernetes(_sources(folder), folder) as (api, env):
                counts = {"pods": lambda: list(api.pods)}
                yield Ground("kubernetes:good", env, counts, (), "pods and folder")
        case "hud":
            server: Server = request.getfixturevalue("platform")
            team = team_with(server, _sources(folder), f"team-{uuid.uuid4().hex[:8]}")
            counts = {"leases": lambda: leases(team)}
            alone = ("processes", "sockets", "leases")
            yield Ground("hud", team.settings(), counts, alone, "folder")
        case _:
            raise ValueError(name)


def need_walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    if (why := problem()) is not None:
        missing(why)


def tasks_file(folder: Path) -> Path:
    """Return the source's file, alone in a folder."""
    return _sources(folder) / "tasks.py"


def _sources(folder: Path) -> Path:
    """Return a folder that holds the source and nothing else."""
    top = folder / "faulted"
    top.mkdir(exist_ok=True)
    (top / "tasks.py").write_text(SOURCE.read_text())
    return top


def actors() -> list[str]:
    """Return the actors that hold environments, on whatever node of this machine."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().startswith(b"ray::Keeper"):
                found.append(entry.name)
    return [*found, *map(str, Path("/tmp").glob("hud-ray-*"))]


def team_with(server: Server, source: Path, name: str) -> Team:
    """Return a new team that has deployed a source as a bundle."""
    need_walls()
    bundle = asyncio.run(build_bundle(source, store=server.home / "bundles"))
    key = server.key(team=name)
    know(server, name, "faulted", [{"id": "work"}, {"id": "held"}], uri=bundle.uri)
    return Team(server, name, key)


def leases(team: Team) -> list[str]:
    """Return the leases of a team that are not over."""
    with team.client() as client:
        return [one["id"] for one in client.get("/runtime/sessions").json()["items"]]


@contextlib.contextmanager
def platform_at(home: Path) -> Generator[Server]:
    """Run a platform until the block ends."""
    server = RemoteServer(home)
    try:
        server.start("--rollouts", "2")
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def kubernetes(image: Path, folder: Path) -> Generator[tuple[KubernetesApi, dict[str, str]]]:
    """Serve the API of Kubernetes from a thread, with one image, and say how it is reached."""
    need_module("kubernetes")
    with running_loop() as run:
        api = KubernetesApi({"good": image})
        serving = api.serving()
        run(serving.__aenter__())
        try:
            path = api.kubeconfig(folder / "kubeconfig")
            yield api, {"KUBECONFIG": str(path)}
        finally:
            run(serving.__aexit__(None, None, None))


@contextlib.contextmanager
def running_loop() -> Generator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Run an event loop in a thread, and yield what has a coroutine run in it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:

        def run(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(120)

        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
