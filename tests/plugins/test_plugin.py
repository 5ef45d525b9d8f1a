"""A third party's protocol works once its package is installed, and only then.

The package in `hud_line` is built and installed as any other, into a folder of its own.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.capabilities import Capability
from hud.clients import connect
from hud.errors import InputError
from hud.runtimes.local import LocalRuntime
from hud.testing import check_capability
from tests.needs import need_module
from tests.plugins.line_daemon import line_daemon

PACKAGE = Path(__file__).parent / "hud_line"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder into which pip has installed the package."""
    for module in ("pip", "hatchling"):
        need_module(module)
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PACKAGE, folder / "source")
    target = folder / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    patch: Any = monkeypatch
    patch.syspath_prepend(installed)
    yield
    sys.modules.pop("hud_line", None)


async def ask(row: Capability) -> str:
    """Open a hand-declared row of an environment by its family, and ask its daemon something."""
    env = Environment("with lines", capabilities=[row])

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "work"
        yield 1.0

    task = env.tasks["work"]()
    async with LocalRuntime(env) as runtime, runtime(task) as place, connect(place) as client:
        opened: Any = await client.open("line")
        return await opened.ask("who is there?")


@pytest.mark.usefixtures("path")
async def test_an_installed_protocol_is_opened_like_a_built_in_one(installed: Path) -> None:
    async with line_daemon() as daemon:
        assert await ask(daemon.row) == "WHO IS THERE?"

    module = importlib.import_module("hud_line")
    assert Path(str(module.__file__)).is_relative_to(installed)


async def test_without_the_package_its_protocol_is_unknown() -> None:
    async with line_daemon() as daemon:
        with pytest.raises(InputError, match="no client drives capability 'line'"):
            await ask(daemon.row)


@pytest.mark.usefixtures("path")
async def test_its_client_keeps_the_contract() -> None:
    client_class: Any = importlib.import_module("hud_line").LineClient

    async def use(client: Any) -> None:
        assert await client.ask("hello") == "HELLO"

    async with line_daemon() as daemon:
        await check_capability(client_class, daemon.row, use=use, kill=daemon.kill)


def test_a_program_finds_it_too(installed: Path) -> None:
    """As a fresh interpreter does, where nothing has touched the registry yet."""
    program = (
        "from hud.capabilities import Capability\n"
        "from hud.capabilities.registry import client_class, known\n"
        "assert 'line' in known()\n"
        "row = Capability('wire', 'line/1', 'line://127.0.0.1:1')\n"
        "print(client_class(row).__module__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(installed)},
        timeout=60,
    )
    assert done.stdout == "hud_line\n", done.stderr
