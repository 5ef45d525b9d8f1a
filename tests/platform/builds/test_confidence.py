"""What is given to a build in confidence is told to nobody, and a build sees nothing of others."""

from __future__ import annotations

import contextlib

import httpx

from hud.platform.builds.secrecy import Secrecy
from hud.platform.builds.variables import variables_of
from hud.platform.database import Database
from hud.platform.secrets import SecretBox
from tests.faults.table import Record
from tests.platform.builds.building import built, source
from tests.platform.registry.known import team_of
from tests.platform.server import Server

VALUE = "correct-horse-battery-staple"
BEFORE = """
import os
print("seen", os.environ.get("MY_SETTING"), flush=True)
"""


PRIED = (
    ("list `HUD_HOME`, and the bundles and contexts of other builds in it", "they do not exist"),
    ("read the platform's secret key", "it does not exist"),
    ("connect to the platform's port", "refused: its loopback is its own"),
    ("signal the server's process", "there is no such process"),
    ("find the temporary files of others", "it finds none"),
)


def test_a_variable_reaches_the_code_and_neither_log_nor_reply_nor_disk(
    server: Server, client: httpx.Client
) -> None:
    done = built(
        server,
        client,
        source(before=BEFORE),
        environment_variables={"MY_SETTING": VALUE},
        build_secrets={"token": f"{VALUE}-2"},
        build_args={"ARG": "plain"},
    )
    assert done["status"] == "SUCCEEDED"
    assert "seen [redacted]" in done["log"]
    detail = client.get(f"/v2/builds/{done['id']}").text
    assert VALUE not in detail
    assert '"environment_variables":["MY_SETTING"]' in detail
    place = f"/v2/registry/{done['registry_id']}/variables"
    assert client.get(place).json() == {"names": ["MY_SETTING"]}
    for path in server.home.rglob("*"):
        if path.is_file():
            assert VALUE.encode() not in path.read_bytes(), path
    with (
        contextlib.closing(Database(server.home)) as database,
        database.reading() as connection,
    ):
        kept = variables_of(
            connection,
            SecretBox(server.home),
            team_of(server, client),
            done["registry_id"].replace("-", ""),
        )
    assert kept == {"MY_SETTING": VALUE}


def test_variables_that_are_not_given_again_are_kept(server: Server, client: httpx.Client) -> None:
    first = built(server, client, source(), environment_variables={"ONE": "1", "TWO": "2"})
    built(server, client, source(after="X = 1"), environment_variables={"TWO": "3"})
    place = f"/v2/registry/{first['registry_id']}/variables"
    assert client.get(place).json() == {"names": ["ONE", "TWO"]}
    changed = client.patch(place, json={"set": {"THREE": "3"}, "remove": ["ONE", "NONE"]})
    assert changed.json() == {"names": ["THREE", "TWO"]}
    assert client.patch(place, json={"set": {"not a name": ""}}).status_code == 400


def test_a_build_that_fails_changes_no_variable(server: Server, client: httpx.Client) -> None:
    first = built(server, client, source())
    failed = built(server, client, source(before="1/0"), environment_variables={"NEW": "1"})
    assert failed["status"] == "FAILED"
    names = client.get(f"/v2/registry/{first['registry_id']}/variables").json()
    assert names == {"names": []}


def test_a_build_sees_neither_the_platforms_home_nor_its_socket_nor_other_builds(
    server: Server, client: httpx.Client, attempt_row: Record
) -> None:
    built(server, client, source("other"), "other")
    prying = f"""
import os, socket
def attempt(what, work):
    try:
        print(what, "GOT", work(), flush=True)
    except BaseException as error:
        print(what, "refused", type(error).__name__, flush=True)
attempt("home", lambda: os.listdir({str(server.home)!r}))
attempt("key", lambda: open({str(server.home / "secret.key")!r}).read())
attempt("bundles", lambda: os.listdir({str(server.home / "bundles")!r}))
attempt("contexts", lambda: os.listdir({str(server.home / "builds")!r}))
attempt("socket", lambda: socket.create_connection(("127.0.0.1", {server.port}), 5))
attempt("parent", lambda: os.kill({server.process.pid if server.process else 0}, 0))
print("others", [name for name in os.listdir("/tmp") if name.startswith("hud-")], flush=True)
print("variables", sorted(name for name in os.environ if name.startswith("HUD_")), flush=True)
"""
    done = built(server, client, source(before=prying))
    assert done["status"] == "SUCCEEDED", done["log"]
    assert "GOT" not in done["log"], done["log"]
    assert done["log"].count("refused") == 6
    assert "others []" in done["log"]
    for what, came in PRIED:
        attempt_row(by="a build", what=what, came=came)


def test_a_build_that_takes_all_memory_fails_and_the_platform_goes_on(
    server: Server, client: httpx.Client
) -> None:
    # What it writes is kept in memory too, so this stands for a full disk as well.
    flood = """
with open("/tmp/flood", "wb") as file:
    while True:
        file.write(bytes(64 << 20))
"""
    done = built(server, client, source(before=flood))
    assert done["status"] == "FAILED"
    assert built(server, client, source())["status"] == "SUCCEEDED"


def test_secrets_of_several_lines_are_taken_out_line_by_line() -> None:
    secrecy = Secrecy(["first-line-of-it\nsecond-line-of-it\n", "abc"])
    assert secrecy.clean("x first-line-of-it y") == "x [redacted] y"
    assert secrecy.clean("second-line-of-it") == "[redacted]"
    assert secrecy.clean("abc") == "abc"
