"""RayRuntime on a real cluster of three nodes on this machine."""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Task, Taskset
from hud._core import processes
from hud._core.errors import EnvironmentFault, InputError
from hud._core.outcome import Outcome
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.clients import connect
from hud.environment.runtime_config import RuntimeConfig
from hud.eval.places import place_at
from hud.packaging.bundle import build_bundle
from hud.platform.builds.placing import Built
from hud.platform.leases.places import Places
from hud.platform.rollouts.engines import make_engine
from hud.platform.rollouts.ray_engine import RayEngine
from hud.runtimes.ray import RayRuntime
from hud.runtimes.ray.asks import Asks
from hud.runtimes.warm.wire import MARKER
from hud.testing.check_provider import check_provider
from tests.needs import need_module, need_program
from tests.ray_cluster import ENVIRONMENT, RayCluster, ray_cluster

SOURCE = """
import os
from hud import Environment
import beside

env = Environment(name="checked")

@env.template()
async def ask(word: str = "yes"):
    answer = yield f"say {word}"
    yield float(answer == word)

@env.template()
async def where():
    answer = yield f"{os.environ.get('RAY_JOB_ID')} {os.getcwd()} {os.getpid()} {beside.WORD}"
    yield 1.0
"""
BROKEN = f"{SOURCE}\n@env.initialize\nasync def fail():\n    raise OSError('no disk')\n"
UNIMPORTABLE = "raise RuntimeError('no weights')\n"
ROW = Task(env="checked", id="ask")
DEADLINE_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Generator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        ray = need_module("ray")  # which reads them when it is imported
        with ray_cluster(tmp_path_factory.mktemp("ray")) as running:
            ray.init(address=running.address, log_to_driver=False, logging_level="ERROR")
            try:
                _reach_every_node(ray)
                yield running
            finally:
                ray.shutdown()


def _reach_every_node(ray: Any) -> None:
    """Have Ray make the connections to nodes that a driver keeps, so that none is new later."""
    strategy: Any = need_module("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
    pinned: list[Any] = [
        ray.remote(_nothing).options(
            num_cpus=1, scheduling_strategy=strategy(node["NodeID"], soft=False)
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    ray.get([task.remote() for task in pinned], timeout=DEADLINE_S)


def _nothing() -> None:
    """Run on a node."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("good", SOURCE), ("broken", BROKEN), ("unimportable", UNIMPORTABLE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "env.py").write_text(text)
        (tmp_path / name / "beside.py").write_text("WORD = 'beside'\n")
    (tmp_path / "good" / ".env").write_text("API_KEY=not-for-the-nodes\n")
    return tmp_path


@pytest.fixture(autouse=True)
async def nothing_stays() -> AsyncGenerator[None]:
    """Every process and folder of a warm parent on any node is gone after each test."""
    before = _left()
    yield
    deadline = asyncio.get_running_loop().time() + 20.0
    while left := _left() - before:
        assert asyncio.get_running_loop().time() < deadline, f"left on the nodes: {left}"
        await asyncio.sleep(0.05)


def _left() -> set[str]:
    found = {str(path) for path in Path("/tmp").glob("hud-ray-*")}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            held = (entry / "environ").read_bytes()
            if MARKER.encode() in held and b"RAY_JOB_ID" in held:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.add(f"{processes.identity_of(int(entry.name))} {command}")
        except OSError:
            continue
    return found


class Say(Agent):
    """Answer with one word."""

    async def __call__(self, run: Run) -> None:
        run.trace.content = "yes"


class Hold(Agent):
    """Say that a rollout is under way, and answer when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, run: Run) -> None:
        self.started.set()
        await self.go_on.wait()
        run.trace.content = "yes"


async def test_it_keeps_the_contract_of_providers(cluster: RayCluster, folder: Path) -> None:
    good = RayRuntime(folder / "good", address=cluster.address, warm=4)
    broken = RayRuntime(folder / "broken", address=cluster.address)
    await check_provider(good, ROW, broken=broken, timeout_s=DEADLINE_S)


async def test_rollouts_of_a_taskset_are_graded_across_the_nodes(
    cluster: RayCluster, folder: Path
) -> None:
    runtime = RayRuntime(folder / "good", address=cluster.address, width=2)
    job = await Taskset("words", [ROW]).run(Say(), runtime=runtime, group=24, max_concurrent=24)
    assert [run.reward for run in job.runs] == [1.0] * 24


async def test_a_rollout_runs_from_the_source_as_it_was_sent(
    cluster: RayCluster, folder: Path
) -> None:
    runtime = RayRuntime(folder / "good", address=cluster.address)
    async with runtime(Task(env="checked", id="where")) as place, connect(place) as client:
        started = await client.start_task("where", {})
        _, cwd, pid, word = str(started["prompt"]).split()
        assert word == "beside"
        assert Path(cwd) != folder / "good"
        assert (Path(cwd) / "env.py").read_text() == SOURCE
        assert not (Path(cwd) / ".env").exists(), "a secret was sent to the nodes"
        assert int(pid) != os.getpid()


async def test_a_node_that_is_killed_ends_its_rollouts_with_runtime_and_no_grade(
    cluster: RayCluster, folder: Path
) -> None:
    node = await asyncio.to_thread(lambda: cluster.add_node(gpus=1))
    row = ROW.model_copy(
        update={"runtime_config": RuntimeConfig.model_validate({"resources": {"gpu": {}}})}
    )
    agent = Hold()
    async with RayRuntime(folder / "good", address=cluster.address) as runtime:
        work = asyncio.create_task(Taskset("words", [row]).run(agent, runtime=runtime))
        async with asyncio.timeout(DEADLINE_S):
            await agent.started.wait()
            await asyncio.to_thread(cluster.kill_node, node)
            agent.go_on.set()
            job = await work
        (run,) = job.runs
        assert run.outcome is Outcome.RUNTIME
        assert math.isnan(run.reward)
        assert node[:12] in str(run.trace.error)
        # The runtime goes on with the nodes that are left.
        job = await Taskset("words", [ROW]).run(Say(), runtime=runtime)
        assert [run.reward for run in job.runs] == [1.0]


async def test_an_actor_that_is_killed_is_replaced(cluster: RayCluster, folder: Path) -> None:
    where = Task(env="checked", id="where")
    async with RayRuntime(folder / "good", address=cluster.address, actors=1) as runtime:
        async with runtime(where) as place:
            worker = place.params["exit_reason"]._worker
            os.kill(worker.opened.pid, 9)
            reason = await place.params["exit_reason"].wait(DEADLINE_S)
            assert reason is not None
        async with runtime(ROW) as place, connect(place) as client:
            assert client.manifest is not None


async def test_who_lacks_the_secret_of_a_place_gets_nothing_from_the_port(
    cluster: RayCluster, folder: Path
) -> None:
    async with RayRuntime(folder / "good", address=cluster.address)(ROW) as place:
        worker = place.params["exit_reason"]._worker
        name = place.params["exit_reason"]._name
        for opening in (b"{}\n" * 40, name + os.urandom(16), os.urandom(32)):
            reader, writer = await asyncio.open_connection(worker.opened.host, worker.opened.port)
            writer.write(opening + os.urandom(32) + b'{"jsonrpc":"2.0","id":1}\n')
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                said = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert b"jsonrpc" not in said
        async with connect(place) as client:
            assert client.manifest is not None


async def test_the_port_is_on_the_address_of_the_node_only(
    cluster: RayCluster, folder: Path
) -> None:
    async with RayRuntime(folder / "good", address=cluster.address)(ROW) as place:
        opened = place.params["exit_reason"]._worker.opened
        with socket.socket() as other:
            assert opened.host == "127.0.0.1"
            assert other.connect_ex(("127.0.0.2", opened.port)) != 0


async def test_the_platforms_engine_places_a_deployed_bundle_on_the_nodes(
    cluster: RayCluster, folder: Path, tmp_path: Path
) -> None:
    need_program("bwrap")
    bundles = tmp_path / "bundles"
    bundle = await build_bundle(folder / "good", store=bundles)
    built = Built("team", "build", "checked", bundle.uri, bundles, {"COLOUR": "red"})
    image = Built("team", "other", "checked", "docker:words", bundles)
    found = {"checked": built, "imaged": image}
    engine = make_engine(
        f"ray:{cluster.address}", Places(), lambda team, name: found[name], width=4
    )
    assert isinstance(engine, RayEngine)
    async with engine:
        for _ in range(2):
            async with engine.place("team", ROW) as place, connect(place) as client:
                await client.start_task("ask", {})
                assert (await client.grade({"answer": "yes"}))["score"] == 1.0
        with pytest.raises(InputError, match="docker:words"):
            async with engine.place("team", Task(env="imaged", id="ask")):
                pass


async def test_what_no_node_could_hold_is_refused(cluster: RayCluster, folder: Path) -> None:
    async with RayRuntime(folder / "good", address=cluster.address) as runtime:
        for resources, says in (
            ({"cpu": 64}, "64 CPU"),
            ({"gpu": {"type": "H100"}}, "H100"),
            ({"storage_mb": 10}, "storage_mb"),
            ({"os": "windows"}, "windows"),
        ):
            config = RuntimeConfig.model_validate({"resources": resources})
            row = ROW.model_copy(update={"runtime_config": config})
            with pytest.raises(InputError, match=says):
                async with runtime(row):
                    pass


async def test_a_source_that_cannot_be_imported_says_why(cluster: RayCluster, folder: Path) -> None:
    runtime = RayRuntime(folder / "unimportable", address=cluster.address)
    with pytest.raises((EnvironmentFault, InputError), match="no weights"):
        async with runtime(ROW):
            pass


async def test_other_asks_take_the_room_of_idle_actors(cluster: RayCluster, folder: Path) -> None:
    config = RuntimeConfig.model_validate({"resources": {"cpu": 4, "memory_mb": 100}})
    large = ROW.model_copy(update={"runtime_config": config, "slug": "large"})
    rows = [ROW, large]
    async with RayRuntime(folder / "good", address=cluster.address, warm=12) as runtime:
        job = await Taskset("words", rows).run(Say(), runtime=runtime, group=6)
    assert [run.reward for run in job.runs] == [1.0] * 12


def test_a_command_line_names_a_cluster(folder: Path) -> None:
    runtime = place_at("ray:head.example:6379", folder / "good")
    assert isinstance(runtime, RayRuntime)
    assert runtime.address == "head.example:6379"
    assert place_at("ray", folder / "good").address is None  # type: ignore[attr-defined]


def test_asks_are_read_from_a_row() -> None:
    asked = {"cpu": 0.5, "memory_mb": 64, "gpu": {"count": 2, "type": ["A100", "H100"]}}
    config = RuntimeConfig.model_validate({"resources": asked})
    asks = Asks.of(ROW.model_copy(update={"runtime_config": config}))
    assert asks.options(2, [{"accelerator_type:H100": 1.0}]) == {
        "num_cpus": 1.0,
        "num_gpus": 4,
        "memory": 128 << 20,
        "accelerator_type": "H100",
    }


_ALONE = """
import asyncio
from hud.runtimes.ray.cluster import Cluster

async def main():
    cluster = Cluster(None)
    await cluster.open()
    print(cluster.ray.get_runtime_context().gcs_address)
    await cluster.aclose()

asyncio.run(main())
"""


def test_without_an_address_the_ray_is_ones_own_also_where_another_runs(
    cluster: RayCluster,
) -> None:
    """Ray by itself would join the other; and nobody else's machine can reach this one."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    address = done.stdout.strip()
    assert address.startswith("127."), address
    assert address != cluster.address
