"""A server that was killed while it built builds again; one that is stopped leaves it waiting."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hud._core.processes import find_marked
from tests.platform.builds.building import (
    following,
    frames,
    packed,
    source,
    triggered,
    uploaded,
)
from tests.platform.server import Server

WAITING = """
import time
print("asleep", flush=True)
time.sleep(600)
"""
ONCE = """
import time
print("begun", flush=True)
time.sleep(3)
"""


@pytest.fixture
def own(home: Path) -> Generator[Server]:
    """Return a server of the test's own, for it to start and to end."""
    server = Server(home)
    server.start()
    yield server
    server.close()


def _until(server: Server, key: str, build_id: str, word: str, *, times: int = 1) -> None:
    for frame in following(server, key, build_id):
        times -= word in frame.get("message", "")
        if not times:
            return
    raise AssertionError(f"the log never says {word!r}")


def test_a_build_is_made_again_when_its_server_was_killed(own: Server) -> None:
    key = own.key()
    with own.client(key) as client:
        build = triggered(client, uploaded(client, packed(source(before=ONCE))))
    _until(own, key, build["id"], "begun")
    own.kill()
    own.start()
    heard = frames(own, key, build["id"])
    text = " ".join(frame.get("message", "") for frame in heard)
    assert "it is built again" in text
    assert heard[-1]["final_status"] == "SUCCEEDED"
    with own.client(key) as client:
        assert client.get(f"/v2/builds/{build['id']}/status").json()["version"] == 1
    assert not [path for path in (own.home / "bundles").iterdir() if "making" in path.name]


def test_a_server_that_is_stopped_leaves_a_build_to_the_next(own: Server) -> None:
    key = own.key()
    with own.client(key) as client:
        build = triggered(client, uploaded(client, packed(source(before=ONCE))))
    _until(own, key, build["id"], "begun")
    assert own.stop() == 0
    own.start()
    assert frames(own, key, build["id"])[-1]["final_status"] == "SUCCEEDED"


def test_a_build_whose_server_dies_again_and_again_is_given_up(own: Server) -> None:
    key = own.key()
    with own.client(key) as client:
        build = triggered(client, uploaded(client, packed(source(before=WAITING))))
    for number in range(1, 4):
        _until(own, key, build["id"], "asleep", times=number)
        own.kill()
        own.start()
    last = frames(own, key, build["id"])[-1]
    assert last["type"] == "error"
    assert "3 times" in last["error"]
    assert own.process is not None
    assert find_marked("HUD_HOME", str(own.home)) == [own.process.pid]


def test_a_context_that_nobody_triggers_is_forgotten(own: Server) -> None:
    with own.client(own.key()) as client:
        build_id = uploaded(client, packed(source()))
        assert client.get(f"/v2/builds/{build_id}").json()["status"] == "UPLOADING"
        assert client.post(f"/v2/builds/{build_id}/cancel").json()["status"] == "STOPPED"
        reply = client.post("/v2/builds/trigger", json={"build_id": build_id, "name": "x"})
    assert reply.status_code == 409
    assert not list((own.home / "builds").iterdir())
