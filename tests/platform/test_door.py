"""What comes to the door: other pages, other hosts, long and slow bodies, odd paths, secrets."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from hud._core.paths import make_home
from hud.platform.accounts import sessions, teams
from hud.platform.app import create_app
from hud.platform.config import PlatformConfig
from hud.platform.database import Database
from hud.platform.services import Services
from hud.platform.serving import sign_in_link
from hud.store.schema import metadata
from tests.platform.server import DEADLINE_S, Server, running
from tests.platform.surface import MARK, SOCKET, Owned, Place, own_everything, places

MIB = 1024 * 1024
PAGES = (
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "file://"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost.evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
)
"""How requests from pages of another origin look."""


@pytest.fixture(scope="module")
def owned(server: Server) -> Owned:
    return own_everything(server, "owners")


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    found = places(tmp_path_factory.mktemp("routes"))
    return [place for place in found if place.method != SOCKET]


@pytest.fixture
def cookie(server: Server) -> str:
    """Return the cookie of a browser that is signed in."""
    return _session_of(server)


def _session_of(server: Server) -> str:
    with contextlib.closing(Database(server.home, server.database)) as database:
        owner = teams.ensure_first_owner(database)
        with database.writing() as connection:
            return sessions.begin_session(connection, team="local", user_id=owner)


def address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def raw(server: Server, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the server closes or answers."""
    with socket.create_connection(address(server), timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


@pytest.mark.parametrize("headers", PAGES, ids=str)
def test_a_page_of_another_origin_is_refused_at_every_place(
    server: Server, owned: Owned, everywhere: list[Place], cookie: str, headers: dict[str, str]
) -> None:
    carried = {**headers, "Authorization": f"Bearer {owned.key}", "Cookie": f"hud_session={cookie}"}
    with server.client() as client:
        for place in everywhere:
            reply = client.request(place.method, owned.path(place), headers=carried)
            assert reply.status_code == 403, place
            assert "another origin" in reply.json()["detail"]


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:80", "", "127.0.0.1.nip.io"]
)
def test_a_name_that_is_not_the_servers_is_refused_at_every_place(
    server: Server, owned: Owned, everywhere: list[Place], host: str
) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {owned.key}"}
    with server.client() as client:
        for place in everywhere:
            reply = client.request(place.method, owned.path(place), headers=headers)
            assert reply.status_code == 421, place


@pytest.mark.parametrize("path", ["/v2/jobs", "/inference/chat/completions", "/runtime/tunnels/x"])
def test_a_websocket_from_another_page_or_to_nowhere_is_refused(server: Server, path: str) -> None:
    host, port = address(server)
    for origin, name in (
        ("http://evil.example", None),
        ("null", None),
        (None, "evil.example"),
        (server.url, None),
        (None, None),
    ):
        headers = {} if name is None else {"Host": name}
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(
                f"ws://{host}:{port}{path}",
                origin=None if origin is None else Origin(origin),
                additional_headers=headers,
                proxy=None,
            ),
        ):
            pass
        assert refused.value.response.status_code in (400, 401, 403)


def test_a_browser_signs_in_once_with_a_cookie_that_no_page_can_use(server: Server) -> None:
    with server.client() as browser:
        first = browser.get(server.sign_in_url)
        again = browser.get(server.sign_in_url)
    assert (first.status_code, again.status_code) == (303, 401)
    assert first.headers["location"] == "/"
    _check_cookie(first.headers["set-cookie"])
    assert "Secure" not in first.headers["set-cookie"]


def _check_cookie(text: str) -> None:
    words = {word.strip().lower() for word in text.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= words
    assert not any(word.startswith("domain") for word in words)


async def test_behind_tls_the_cookie_is_for_tls_only(home: Path) -> None:
    config = PlatformConfig(make_home(home), public_url="https://hud.example.org")
    with contextlib.closing(Services.open(config)) as services:
        link = sign_in_link(services, "https://hud.example.org")
        transport = httpx.ASGITransport(create_app(services))
        async with httpx.AsyncClient(transport=transport) as browser:
            reply = await browser.get(link)
    assert reply.status_code == 303
    _check_cookie(reply.headers["set-cookie"])
    assert "secure" in reply.headers["set-cookie"].lower()


def test_a_session_works_from_the_servers_own_pages_and_ends(server: Server, cookie: str) -> None:
    headers = {"Cookie": f"hud_session={cookie}"}
    with server.client() as client:
        assert client.get("/v2/auth/me", headers=headers).status_code == 200
        ours = {**headers, "Origin": server.url, "Sec-Fetch-Site": "same-origin"}
        made = client.post("/v2/projects", json={"name": "from a page"}, headers=ours)
        assert made.status_code in (201, 409)
        assert client.post("/sign-out", headers=ours).status_code == 200
        assert client.get("/v2/auth/me", headers=headers).status_code == 401


def test_a_cookie_calls_no_model(server: Server, cookie: str) -> None:
    with server.client() as client:
        reply = client.post(
            "/inference/chat/completions", json={}, headers={"Cookie": f"hud_session={cookie}"}
        )
    assert reply.status_code == 401


def test_every_reply_is_marked_for_browsers(
    server: Server, owned: Owned, everywhere: list[Place]
) -> None:
    with server.client(owned.key) as client:
        for place in everywhere:
            if place.method != "GET":
                continue
            with client.stream("GET", owned.path(place)) as reply:
                assert reply.headers["x-content-type-options"] == "nosniff", place
                assert reply.headers["x-frame-options"] == "DENY", place
                assert "access-control-allow-origin" not in reply.headers, place


def test_a_body_that_says_it_is_too_long_is_refused_before_it_comes(
    server: Server, owned: Owned, everywhere: list[Place]
) -> None:
    host, port = address(server)
    for place in everywhere:
        if place.method == "GET":
            continue
        too_long = 200 * MIB
        if place.path == "/v2/builds/{build_id}/context":  # a whole project may come there
            too_long = 1 << 40
        head = (
            f"{place.method} {owned.path(place)} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Content-Length: {too_long}\r\nConnection: close\r\n\r\n"
        )
        status = raw(server, head.encode()).split(b" ", 2)[1]
        assert status == b"413", place


def _pieces(total: int) -> Iterator[bytes]:
    piece = b" " * 65536
    for _ in range(total // len(piece)):
        yield piece


@pytest.mark.parametrize(
    ("path", "total"), [("/v2/projects", 4 * MIB), ("/v2/tasks/upload", 98 * MIB)]
)
def test_a_body_that_does_not_say_its_length_is_cut_off(
    server: Server, owned: Owned, path: str, total: int
) -> None:
    with server.client(owned.key) as client:
        try:
            reply = client.post(path, content=_pieces(total))
        except httpx.WriteError:
            return  # the server had enough while more was coming
        assert reply.status_code == 413
        assert "longer than" in reply.json()["detail"]


def test_without_a_key_no_long_body_is_read(
    server: Server, owned: Owned, everywhere: list[Place]
) -> None:
    """Of a body that never ends, nothing is waited for where no key came with it."""
    host, port = address(server)
    tried = 0
    for place in everywhere:
        path = owned.path(place)
        if place.method != "POST" or not path.startswith(
            ("/telemetry/v3/api/trace", "/v2/trace/", "/v2/tasks/upload", "/inference/")
        ):
            continue
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {50 * MIB}\r\n"
            "Content-Type: application/json\r\n\r\n{"
        )
        with socket.create_connection((host, port), timeout=DEADLINE_S) as connection:
            connection.sendall(head.encode())
            assert connection.recv(65536).split(b" ", 2)[1] == b"401", place
        tried += 1
    assert tried >= 4


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: -1",
        "Content-Length: 1e3",
        "Content-Length: " + "9" * 5_000,
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "X: " + "x" * 200_000,
        "X\x00Y: 1",
    ],
    ids=lambda head: head[:40],
)
def test_a_malformed_head_is_refused(server: Server, head: str) -> None:
    host, port = address(server)
    request = f"POST /v2/projects HTTP/1.1\r\nHost: {host}:{port}\r\n{head}\r\n\r\n".encode()
    with contextlib.suppress(ConnectionError):
        reply = raw(server, request)
        assert not reply.startswith((b"HTTP/1.1 2", b"HTTP/1.1 500")), reply[:200]
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_slow_clients_hold_up_nobody(server: Server, owned: Owned) -> None:
    """Heads that never end, bodies that never end, and readers that do not read."""
    host, port = address(server)
    big = [
        {"name": f"t{n}", "env": "e", "task_id": "t", "args": {"x": "x" * MIB}} for n in range(8)
    ]
    with server.client(owned.key) as client, contextlib.ExitStack() as open_sockets:
        upload = {"taskset_name": "big", "tasks": big}
        taskset = client.post("/v2/tasks/upload", json=upload).json()["taskset_id"]

        def leave(request: str) -> None:
            connection = socket.create_connection((host, port), timeout=DEADLINE_S)
            open_sockets.enter_context(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request.encode())

        common = f"Host: {host}:{port}\r\nAuthorization: Bearer {owned.key}\r\n"
        for _ in range(100):
            leave("GET /healthz HT")
            leave(f"POST /v2/tasks/upload HTTP/1.1\r\n{common}Content-Length: 1000\r\n\r\n{{")
            leave(f"POST /v2/projects HTTP/1.1\r\n{common}Content-Length: 1000\r\n\r\n{{")
            leave(f"GET /v2/tasksets/{taskset}/export HTTP/1.1\r\n{common}\r\n")
        for path in ("/healthz", "/v2/tasksets", "/v2/jobs", f"/v2/tasksets/{taskset}/export"):
            assert client.get(path).status_code == 200, path


ODD = (
    "../../../../etc/passwd",
    "..\\..\\..\\windows\\win.ini",
    "/etc/passwd",
    "....//....//etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "\x00",
    "a\x00b",
    "a\r\nX-Injected: 1",
    "'; DROP TABLE tasks; --",
    "<script>alert(1)</script>",
    "\u202e\ufeff\U0010ffff",
    "\x1b[2J",
    "-1",
    "9" * 400,
    "x" * 3_000,
    "%",
    "*",
    "{taskset_id}",
)


def _escaped(text: str) -> str:
    """Percent-encode everything, dots too, so that no library tidies the path up."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_no_path_parameter_leads_out_of_where_it_belongs(
    server: Server, owned: Owned, everywhere: list[Place]
) -> None:
    body = {"role": "viewer", "reason": "odd", "job_id": "odd", "task_slug": "odd"}
    with server.client(owned.key) as client:
        for place in everywhere:
            for name in place.parameters:
                for odd in ODD:
                    path = place.path
                    for other in place.parameters:
                        value = odd if other == name else owned.at(place)[other]
                        path = path.replace(f"{{{other}:path}}", _escaped(value))
                        path = path.replace(f"{{{other}}}", _escaped(value))
                    reply = client.request(
                        place.method,
                        path,
                        params=owned.query.get(place.path),
                        json=None if place.method in ("GET", "DELETE") else body,
                    )
                    where = f"{place} with {name} = {odd!r}"
                    is_unbuilt = place.is_page and reply.status_code == 503
                    assert reply.status_code < 500 or reply.status_code == 501 or is_unbuilt, where
                    assert "root:" not in reply.text, where
                    assert "x-injected" not in reply.headers, where
                    if place.method == "GET" and reply.status_code == 200 and not place.is_page:
                        assert "/rl/" in path or "items" in reply.text, f"{where}: {reply.text}"


@pytest.mark.parametrize(
    "path", ["/nothing", "/v2", "/v2/", "/v2/tasksets/", "//v2/tasksets", "/v2/../etc", "/%00"]
)
def test_what_is_not_there_is_a_404_in_the_one_shape_and_never_a_redirect(
    server: Server, owned: Owned, path: str
) -> None:
    host, port = address(server)
    head = f"Host: {host}:{port}\r\nAuthorization: Bearer {owned.key}\r\nConnection: close\r\n"
    reply = raw(server, f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    assert reply.split(b" ", 2)[1] == b"404"
    assert b'"code":"not_found"' in reply


def test_a_method_that_a_place_does_not_have_is_a_405_in_the_one_shape(server: Server) -> None:
    with server.client() as client:
        reply = client.request("PATCH", "/v2/tasksets")
    assert reply.status_code == 405
    assert reply.json()["code"] == "method_not_allowed"


def test_no_secret_is_in_an_error_the_log_or_the_description(
    home: Path, everywhere: list[Place]
) -> None:
    with running(home, "-vv") as server:
        owned = own_everything(server, "owners")
        told = _everything_told(server, owned, everywhere)
        cookie = _session_of(server)
        with server.client() as client:
            client.get("/v2/auth/me", headers={"Cookie": f"hud_session={cookie}"})
        told += [_broken_audit(server, owned), server.said()]
    assert "GET /v2/audit failed" in told[-1]
    assert "Traceback" in told[-1]
    _, _, code = server.sign_in_url.partition("code=")
    for secret in (owned.key, cookie, code, f"sk-{MARK}"):
        for text in told:
            assert secret not in text, text[:500]


def _broken_audit(server: Server, owned: Owned) -> str:
    """Make the server fail at a request that carries a key in its address, and return its reply."""
    audit = metadata.tables["audit"]
    with (
        contextlib.closing(Database(server.home, server.database)) as database,
        database.writing() as connection,
    ):
        connection.execute(
            audit.update().where(audit.c.team == owned.team).values(detail="no JSON")
        )
    with server.client(owned.key) as client:
        reply = client.get("/v2/audit", params={"key": owned.key})
    assert reply.status_code == 500
    return reply.text


def _everything_told(server: Server, owned: Owned, everywhere: list[Place]) -> list[str]:
    """Send a key in every place that does not want one, and return all that is said of it."""
    secret = owned.key
    with server.client(secret) as client:
        told = [client.get("/openapi.json").text]
        for place in everywhere:
            values = dict.fromkeys(place.parameters, secret)
            query = {"key": secret, "cursor": secret, "limit": secret, "search": secret}
            body = {"name": secret, "taskset_name": secret, "tasks": secret, "job_id": secret}
            for path, params in ((place.filled(values), None), (owned.path(place), query)):
                request = client.build_request(place.method, path, params=params, json=body)
                reply = client.send(request, stream=True)
                if "event-stream" not in reply.headers.get("content-type", ""):
                    reply.read()
                    if reply.status_code >= 400:
                        told.append(reply.text)
                reply.close()
        odd = (f"/healthz?key={secret}", f"/{secret}", f"/v2/{secret}")
        told += [client.get(path).text for path in odd]
    return told
