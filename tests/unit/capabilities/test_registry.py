"""Which class drives a row: built-in, registered, or brought along by an installed package."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import hud.capabilities
from hud.capabilities import Capability, CapabilityClient, registry
from hud.capabilities.registry import client_class, register
from hud.errors import InputError

Install = Callable[..., Path]
_names = itertools.count()

CLIENT = """
from hud.capabilities import CapabilityClient

class {name}(CapabilityClient):
    protocol = {protocol!r}

    @classmethod
    async def connect(cls, cap): ...
    async def close(self): ...
"""


def row(protocol: str) -> Capability:
    return Capability("thing", protocol, "thing://127.0.0.1:1")


def make(protocol: str) -> type[CapabilityClient]:
    space: dict[str, type[CapabilityClient]] = {}
    exec(CLIENT.format(name="Made", protocol=protocol), space)
    return space["Made"]


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Install]:
    """Return a function that installs a distribution, as pip leaves it behind."""

    def put(source: str, name: str = "", **points: str) -> Path:
        number = next(_names)
        folder = tmp_path / f"site-{number}"
        module = name or f"plugin_{number}"
        info = folder / f"{module}-{number}.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: {number}.0\n"
        )
        lines = [f"{key.replace('__', '/')} = {module}:{value}" for key, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[hud.capabilities]", *lines]))
        patch: Any = monkeypatch
        patch.syspath_prepend(folder)
        return folder

    yield put
    for module in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        ("ssh/2", "SSHClient"),
        ("mcp/2025-11-25", "MCPClient"),
        ("mcp/2024-11-05", "MCPClient"),
        ("cdp/1.3", "CDPClient"),
        ("rfb/3.8", "RFBClient"),
        ("openpi/0", "RobotClient"),
        ("openpi", "RobotClient"),
    ],
)
def test_the_five_families_have_their_clients(protocol: str, name: str) -> None:
    found = client_class(row(protocol))

    assert found.__name__ == name
    assert found is getattr(hud.capabilities, name)


def test_no_client_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys, hud.clients, hud.capabilities.registry\n"
        "heavy = {'asyncssh', 'mcp', 'numpy', 'PIL', 'websockets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_protocol_names_the_known_ones(install: Install) -> None:
    install(CLIENT.format(name="Line", protocol="line"), line="Line")

    with pytest.raises(InputError, match=r"'thing'.*'telex/1'") as caught:
        client_class(row("telex/1"))

    assert caught.value.hint is not None
    for protocol in ("ssh/2", "openpi/0", "line"):
        assert protocol in caught.value.hint


def test_a_plugin_drives_every_version_of_its_family(install: Install) -> None:
    install(CLIENT.format(name="Line", protocol="line"), line="Line")

    assert client_class(row("line/1")) is client_class(row("line/2"))
    assert client_class(row("line/1")).__name__ == "Line"


def test_a_full_id_comes_before_its_family(install: Install) -> None:
    install(CLIENT.format(name="Any", protocol="line"), line="Any")
    install(CLIENT.format(name="Second", protocol="line/2"), line__2="Second")
    install(CLIENT.format(name="Newer", protocol="ssh/3"), ssh__3="Newer")

    assert client_class(row("line/1")).__name__ == "Any"
    assert client_class(row("line/2")).__name__ == "Second"
    assert client_class(row("ssh/3")).__name__ == "Newer"
    assert client_class(row("ssh/2")).__name__ == "SSHClient"


def test_an_installed_package_takes_no_built_in_protocol_over(install: Install) -> None:
    install(CLIENT.format(name="Evil", protocol="ssh"), ssh="Evil", ssh__2="Evil")

    assert client_class(row("ssh/2")).__name__ == "SSHClient"
    assert client_class(row("ssh/9")).__name__ == "SSHClient"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import a_package_that_is_not_there", "a_package_that_is_not_there"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("", "has no attribute 'Broken'"),
        ("class Broken: ...", "no subclass of CapabilityClient"),
        ("Broken = 3", "no subclass of CapabilityClient"),
        (CLIENT.format(name="Broken", protocol=""), "its protocol must be an id"),
        ("def Broken(:", "SyntaxError"),
    ],
)
def test_a_broken_plugin_is_named_and_breaks_no_other(
    install: Install, source: str, reason: str
) -> None:
    install(source, "plugin_broken", broken="Broken")
    install(CLIENT.format(name="Line", protocol="line"), line="Line")

    with pytest.raises(InputError, match=f"plugin_broken:Broken of plugin_broken .*{reason}"):
        client_class(row("broken/1"))

    assert client_class(row("line/1")).__name__ == "Line"
    assert client_class(row("ssh/2")).__name__ == "SSHClient"
    with pytest.raises(InputError, match="no client drives"):
        client_class(row("telex/1"))


def test_two_plugins_for_one_protocol_are_both_named(install: Install) -> None:
    install(CLIENT.format(name="One", protocol="line"), "plugin_one", line="One")
    install(CLIENT.format(name="Two", protocol="line"), "plugin_two", line="Two")

    with pytest.raises(InputError, match="2 plugins") as caught:
        client_class(row("line/1"))

    assert "plugin_one" in caught.value.message
    assert "plugin_two" in caught.value.message


def test_a_registered_class_comes_first(install: Install) -> None:
    install(CLIENT.format(name="Line", protocol="line"), line="Line")
    own, second, shell = make("line"), make("line/2"), make("ssh/2")
    for cls in (own, second, shell):
        assert register(cls) is cls

    assert client_class(row("line/1")) is own
    assert client_class(row("line/2")) is second
    assert client_class(row("ssh/2")) is shell
    assert client_class(row("ssh/1")).__name__ == "SSHClient"

    again = register(make("line"))
    assert client_class(row("line/1")) is again


@pytest.mark.parametrize("thing", [object, 3, make(""), CapabilityClient])
def test_what_is_no_client_class_cannot_be_registered(thing: type[CapabilityClient]) -> None:
    with pytest.raises(TypeError, match="register: "):
        register(thing)
