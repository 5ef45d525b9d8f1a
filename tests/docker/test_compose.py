"""Rollouts in Compose projects: an environment and its sidecars on a real Docker engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Taskset
from hud._core import json
from hud._core.outcome import Outcome
from hud._core.owner import own_label
from hud.agents import NoopAgent
from hud.clients import connect
from hud.environment.compose import ComposeProject
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task
from hud.errors import EnvironmentFault, InputError, RuntimeFault
from hud.protocol.frames import HudProtocolError
from hud.runtimes.docker import DockerRuntime
from hud.testing.check_provider import check_provider
from tests.docker.conftest import Build, grading, hud
from tests.docker_engine import DockerEngine
from tests.needs import need_program

SOURCE = """
import asyncio
import contextlib
import os
import socket
import urllib.request
from pathlib import Path

from hud import Environment

env = Environment(name="shop")


def asked(path="", data=None):
    with urllib.request.urlopen(f"http://web:8080/{path}", data=data, timeout=10) as answer:
        return answer.read().decode()


@env.template()
async def count(times: int = 1):
    yield "count"
    for _ in range(times):
        said = await asyncio.to_thread(asked, "", b"+")
    yield {"score": float(said == str(times)), "info": {"said": said}}


@env.template()
async def look(address: str = "", port: int = 80):
    yield "look"
    try:
        socket.create_connection((address, port), 3).close()
        reached = True
    except OSError:
        reached = False
    try:
        socket.getaddrinfo("example.com", 80)
        named = True
    except OSError:
        named = False
    limit = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").read_text().strip()
    web = await asyncio.to_thread(asked, "facts")
    told = os.environ.get("GIVEN")
    note = Path("/note").read_text() if Path("/note").exists() else ""
    yield {"score": 1.0, "info": {
        "reached": reached, "named": named, "memory": limit, "web": web, "given": told,
        "note": note, "folder": sorted(os.listdir("/run/hud")),
        "socket": os.path.exists("/var/run/docker.sock"),
    }}


@env.template()
async def wait():
    yield "wait"
    print("grading begins", flush=True)
    await asyncio.sleep(3600)
    yield 1.0
"""
SERVER = r"""
import http.server
import json
import os
import sys
from pathlib import Path

held = Path("/data/count")
print("web listens", flush=True)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        limit = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").read_text().strip()
        self.answer(json.dumps({"memory": limit, "greeting": os.environ.get("GREETING")}))

    def do_POST(self):
        if self.path == "/stop":
            os._exit(1)
        count = int(held.read_text()) + 1 if held.exists() else 1
        held.write_text(str(count))
        self.answer(str(count))

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())


http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""
SHOP = """
services:
  main:
    image: shop
    depends_on: [web]
  web:
    image: hud-test-base
    command: python3 /server.py
    volumes:
      - ./server.py:/server.py:ro
      - data:/data
    environment:
      GREETING: ${GREETING:-hello}
volumes:
  data:
"""
ROW = Task(env="shop", id="count")
Shop = Callable[..., ComposeProject]


@pytest.fixture(scope="session")
def image(build: Build) -> str:
    need_program("docker-compose")
    return build("shop", {"env.py": SOURCE})


@pytest.fixture
def shop(engine: DockerEngine, image: str, tmp_path: Path) -> Shop:
    """Write the project and return it."""

    def make(text: str = SHOP, name: str = "compose.yaml") -> ComposeProject:
        (tmp_path / "server.py").write_text(SERVER)
        (tmp_path / name).write_text(text)
        return ComposeProject(document=tmp_path / name)

    return make


def running(project: ComposeProject, **more: Any) -> DockerRuntime:
    config = RuntimeConfig(compose=project)
    return DockerRuntime(runtime_config=config, **more)


async def test_it_keeps_the_contract_of_providers(shop: Shop) -> None:
    good = shop()
    broken = shop(SHOP.replace("python3 /server.py", "sh -c 'echo no disk; exit 3'"), "broken.yaml")
    await check_provider(
        running(good),
        ROW,
        broken=running(broken),
        broken_says="no disk",
        unsupported=Task.model_validate(
            {**ROW.to_row(), "runtime_config": {"resources": {"gpu": {"count": 1}}}}
        ),
        parallel=2,
        timeout_s=300,
    )


async def test_projects_beside_each_other_share_neither_services_nor_volumes(shop: Shop) -> None:
    rows = [Task(env="shop", id="count", args={"times": times}) for times in (1, 2)]
    job = await Taskset(rows).run(NoopAgent(), runtime=running(shop()), group=2)
    assert [run.outcome for run in job.runs] == [Outcome.GRADED] * 4
    assert job.reward == 1.0


async def test_services_reach_each_other_and_nothing_else(
    shop: Shop, engine: DockerEngine, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("GREETING=ahoy\n")
    (tmp_path / "note").write_text("from $HOME")
    text = SHOP.replace("    depends_on: [web]\n", "    configs: [note]\n") + (
        "configs:\n  note: {file: ./note}\n"
    )
    config = {"compose": shop(text), "resources": {"memory_mb": 256, "cpu": 0.5}}
    row = {"env": "shop", "id": "look", "runtime_config": config}
    with listening(engine) as (address, port):
        task = Task.model_validate({**row, "args": {"address": address, "port": port}})
        # The last is a setting of the command that starts the project, and none of its business.
        given = {"GIVEN": "to $main", "DOCKER_HOST": "unix:///nowhere"}
        info = await looked(task, DockerRuntime("other", env_vars=given))
        assert (await looked(task, DockerRuntime("other", network="bridge")))["reached"]
    web = json.decode(info.pop("web"))
    assert web == {"memory": str(256 << 20), "greeting": "ahoy"}
    assert info == {
        "reached": False,
        "named": False,
        "memory": str(256 << 20),
        "given": "to $main",
        "note": "from $HOME",
        "folder": ["control", "ready"],
        "socket": False,
    }


async def looked(task: Task, runtime: DockerRuntime) -> dict[str, Any]:
    job = await Taskset([task]).run(NoopAgent(), runtime=runtime, retries=0)
    assert job.runs[0].outcome is Outcome.GRADED, job.runs[0].trace.error
    return job.runs[0].grade.info


@contextlib.contextmanager
def listening(engine: DockerEngine) -> Generator[tuple[str, int]]:
    """Listen on all addresses where the engine is, and return one of them."""
    form = "{{(index .IPAM.Config 0).Gateway}}"
    address = engine.docker("network", "inspect", "bridge", "--format", form)
    program = (
        "import socket, sys\n"
        "listener = socket.create_server(('0.0.0.0', 0))\n"
        "print(listener.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    assert engine.process is not None
    process = subprocess.Popen(
        [
            *("nsenter", f"--net=/proc/{engine.process.pid}/ns/net"),
            *(sys.executable, "-c", program),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield address, int(process.stdout.readline())
    finally:
        process.communicate("")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("    privileged: true\n", "privileged"),
        ("    network_mode: host\n", "network_mode host"),
        ("    pid: host\n", "pid"),
        ("    ipc: host\n", "ipc"),
        ("    cap_add: [SYS_ADMIN]\n", "cap_add"),
        ("    devices: [/dev/kvm]\n", "devices"),
        ("    security_opt: [seccomp=unconfined]\n", "security_opt seccomp=unconfined"),
        ("    volumes: [/var/run/docker.sock:/s:ro]\n", "outside the project's folder"),
        ("    volumes: [../:/up:ro]\n", "outside the project's folder"),
        ("    volumes: [./link:/up:ro]\n", "outside the project's folder"),
        ("    volumes: [./server.py:/server.py]\n", "read-only"),
        ("    env_file: /etc/passwd\n", "outside its project"),
        ("    build: ..\n", "outside the project's folder"),
        ("    extends: {file: other.yaml, service: x}\n", "extends"),
        ("    deploy: {replicas: 3}\n", "replicas"),
        ("    mem_limit: ${UNKNOWN}\n", "UNKNOWN"),
        ("networks: {default: {external: true}}\n", "external"),
        ("networks: {default: {driver: host}}\n", "driver"),
        ("volumes: {d: {driver_opts: {type: none, o: bind, device: /}}}\n", "driver_opts"),
        ("include: [other.yaml]\n", "include"),
    ],
)
async def test_what_reaches_out_of_a_project_is_refused_before_anything_starts(
    shop: Shop, engine: DockerEngine, tmp_path: Path, change: str, named: str
) -> None:
    (tmp_path / "link").symlink_to("/etc")
    text = "services:\n  main:\n    image: shop\n  web:\n    image: hud-test-base\n" + change
    with pytest.raises(InputError) as caught:
        async with running(shop(text))(ROW):
            pass
    assert named in f"{caught.value.message} {caught.value.hint}"
    assert engine.leftovers() == []


async def test_the_engine_is_reached_only_where_the_runtime_says_so(
    shop: Shop, engine: DockerEngine
) -> None:
    project = shop().model_copy(update={"service_access": True})
    row = Task(env="shop", id="look")
    with pytest.raises(InputError, match="service_access"):
        async with running(project)(row):
            pass
    socket = engine.host.removeprefix("unix://")
    info = await looked(row, running(project, compose_service_socket=socket))
    assert info["socket"] is True


async def test_a_start_that_fails_shows_what_every_service_printed(shop: Shop) -> None:
    text = SHOP.replace("image: shop", "image: shop\n    command: sh -c 'echo I am main; cat'")
    text = text.replace("python3 /server.py", "sh -c 'echo no disk; sleep 1; exit 3'")
    text = text.replace("    depends_on: [web]", "    stdin_open: true")
    with pytest.raises(RuntimeFault) as caught:
        async with running(shop(text))(ROW):
            pass
    for said in ("service web", "status 3", "web last printed: no disk", "I am main"):
        assert said in caught.value.message


UNWELL = SHOP.replace("[web]", "{web: {condition: service_healthy}}").replace(
    "    environment:",
    "    healthcheck: {test: [CMD, 'false'], interval: 1s, retries: RETRIES}\n    environment:",
)


async def test_a_sidecar_that_is_never_well_fails_the_start(shop: Shop) -> None:
    with pytest.raises(RuntimeFault, match=r"unhealthy.*web listens"):
        async with running(shop(UNWELL.replace("RETRIES", "1")))(ROW):
            pass


async def test_a_wait_for_sidecars_can_be_given_up(shop: Shop, engine: DockerEngine) -> None:
    project = shop(UNWELL.replace("RETRIES", "9999"))

    async def hold() -> None:
        async with running(project)(ROW):
            pass

    work = asyncio.create_task(hold())
    async with asyncio.timeout(60):
        while "Up" not in await asyncio.to_thread(engine.docker, "ps", "--format", "{{.Status}}"):
            assert not work.done()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert engine.leftovers() == []


async def test_a_sidecar_that_the_agent_breaks_is_the_environments_to_judge(shop: Shop) -> None:
    row = Task(env="shop", id="count")
    async with running(shop())(row) as place, connect(place) as client:
        await client.start_task("count", {})
        done = await asyncio.to_thread(
            subprocess.run,
            ["docker", "exec", place.params["container"], "python3", "-c", _STOP],
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "stopped", done.stderr
        assert place.params["exit_reason"]() is None
        with pytest.raises(HudProtocolError, match="URLError"):
            await client.grade({"answer": ""})


_STOP = """
import urllib.request
try:
    urllib.request.urlopen("http://web:8080/stop", data=b"+")
except OSError:
    print("stopped")
"""


async def test_a_project_whose_main_service_is_killed_in_grading_is_no_zero(
    shop: Shop, engine: DockerEngine
) -> None:
    row = Task(env="shop", id="wait")
    work = asyncio.create_task(Taskset([row]).run(NoopAgent(), runtime=running(shop()), retries=0))
    name = await grading(engine)
    await asyncio.to_thread(engine.docker, "kill", name)
    run = (await work).runs[0]
    assert run.outcome is Outcome.RUNTIME
    assert "killed" in str(run.trace.error) and "web last printed" in str(run.trace.error)


async def test_services_are_built_once_from_the_projects_folder(
    shop: Shop, engine: DockerEngine, tmp_path: Path
) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "server.py").write_text(SERVER)
    recipe = "FROM hud-test-base\nARG SAID\nCOPY server.py /server.py\nENV GREETING=$SAID\n"
    (tmp_path / "web" / "Dockerfile").write_text(recipe)
    text = (
        "services:\n  main: {build: .}\n"
        "  web:\n    build: {context: web, args: {SAID: built, DOCKER_HOST: 'tcp://no'}}\n"
        "    command: python3 /server.py\n"
    )
    row = Task(env="shop", id="look")
    info = await looked(row, running(shop(text)))
    assert json.decode(info["web"])["greeting"] == "built"
    (tmp_path / "web" / "Dockerfile").write_text("FROM hud-test-base\nRUN echo broken; exit 9\n")
    with pytest.raises(EnvironmentFault, match="service web"):
        async with running(shop(text))(row):
            pass


async def test_a_warm_pool_holds_projects_too(shop: Shop) -> None:
    async with running(shop(), warm=1) as runtime:
        await runtime.fill(ROW)
        for _ in range(2):
            async with runtime(ROW) as place, connect(place) as client:
                await client.start_task("count", {})
                assert (await client.grade({"answer": ""}))["score"] == 1.0


async def test_an_engine_without_addresses_for_one_more_network_says_what_to_do(
    shop: Shop, engine: DockerEngine
) -> None:
    made = [f"filling-{number}" for number in range(64)]
    try:
        for name in made:
            engine.docker("network", "create", "--internal", name, check=False)
        with pytest.raises(RuntimeFault, match="no addresses") as caught:
            async with running(shop())(ROW):
                pass
        assert "--max-concurrent" in str(caught.value.hint)
    finally:
        engine.docker("network", "rm", *made, check=False)


def test_a_compose_file_is_named_on_the_command_line(
    shop: Shop, engine: DockerEngine, tmp_path: Path
) -> None:
    shop()
    (tmp_path / "rows.json").write_text('[{"env": "shop", "id": "count"}]')
    for place in ("docker:compose.yaml", "docker:."):
        done = hud(engine, "eval", "rows.json", "noop", "--runtime", place, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "1 of 1 graded" in done.stdout + done.stderr


OWNER = """
import asyncio
from hud.environment.task import Task
from hud.runtimes.docker import named

async def main():
    async with named(FILE, None, None)(Task(env="shop", id="count")) as place:
        print(place.url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["while it starts", "while it runs"])
async def test_a_killed_owners_projects_are_removed_by_its_guard(
    shop: Shop, engine: DockerEngine, tmp_path: Path, moment: str
) -> None:
    shop()
    program = tmp_path / "owner.py"
    program.write_text(OWNER.replace("FILE", repr(str(tmp_path / "compose.yaml"))))
    owner = subprocess.Popen(  # noqa: ASYNC220 -- its pid is killed below
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout as lines:
        if moment == "while it runs":
            assert lines.readline().startswith("unix://")
            kinds = {left.split()[0] for left in engine.leftovers()}
            assert kinds == {"container", "network", "volume"}
        else:
            while not engine.leftovers():
                assert owner.poll() is None
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    label = f"hud.owner={own_label().rpartition('/')[0]}/"
    async with asyncio.timeout(60):
        while engine.leftovers() or label in engine.docker("ps"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_what_is_left_without_a_guard_is_removed_by_the_next_command(
    shop: Shop, engine: DockerEngine
) -> None:
    label = ("--label", f"hud.owner={own_label().rpartition('/')[0]}/{os.getpid()}:1")
    engine.docker("network", "create", *label, "left-over")
    engine.docker("volume", "create", *label, "left-over")
    words = ("--network", "left-over", "--volume", "left-over:/data", "hud-test-base", "sleep")
    engine.docker("run", "-d", *label, *words, "600")
    async with running(shop())(ROW), asyncio.timeout(60):
        while "left-over" in engine.docker("volume", "ls", "-q"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert engine.leftovers() == []
