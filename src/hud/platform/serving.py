"""Running the server: bind, say where it is, serve until told to stop, let go of everything."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from urllib.parse import quote

import uvicorn
import uvloop
from starlette.types import ASGIApp

from hud._core.errors import InputError
from hud._core.garbage import spare_what_is_loaded, without_collections
from hud.platform.accounts import sessions
from hud.platform.config import PlatformConfig
from hud.platform.running import noted
from hud.platform.services import Services
from hud.store import LOCAL_TEAM

_GRACE_S = 10


@dataclass(frozen=True, slots=True)
class Ready:
    """A server that answers: its address, and a link that signs a browser in once."""

    url: str
    sign_in_url: str


def serve(config: PlatformConfig, on_ready: Callable[[Ready], None], *, to: str = "/") -> None:
    """Serve until SIGINT or SIGTERM; requests under way get 10 s to end, or until a second signal.

    Args:
        config: Where, and on what.
        on_ready: Called once it answers.
        to: The page that the link leads to.

    Raises:
        InputError: when the address cannot be listened on.
        StoreError: when the store cannot be used.
    """
    with _listening(config) as listener:
        services = Services.open(config)
        try:
            uvloop.run(_serve(config, services, listener, on_ready, to))
        finally:
            services.close()


async def _serve(
    config: PlatformConfig,
    services: Services,
    listener: socket.socket,
    on_ready: Callable[[Ready], None],
    to: str,
) -> None:
    with without_collections():
        from hud.platform.app import create_app

        app = create_app(services)
    server = _server(app)
    spare_what_is_loaded()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        # Whoever listens would hold the server up.
        app.state.live.end()
        app.state.builds.end()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    port: int = listener.getsockname()[1]
    url = config.url(port)
    if app.state.rollouts.worker is not None:
        app.state.rollouts.worker.gateway_url = f"{config.near_url(port)}/inference"
    with noted(config.home, url):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[listener]))
            on_ready(Ready(url, sign_in_link(services, url, to)))


def sign_in_link(services: Services, url: str, to: str = "/") -> str:
    """Return a link that signs the owner's browser in once, within 15 minutes, and leads `to`."""
    with services.database.writing() as connection:
        code = sessions.make_link_code(connection, team=LOCAL_TEAM, user_id=services.owner_id)
    onward = "" if to == "/" else f"&to={quote(to, safe='/')}"
    return f"{url}/sign-in?code={code}{onward}"


class _Server(uvicorn.Server):
    """A server whose signals are handled by whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _server(app: ASGIApp) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_S,
        # A slow client holds a connection, nothing else.
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
        ws_max_size=64 * 1024 * 1024,
        # Whoever vanished without a word is noticed within both together.
        ws_ping_interval=10,
        ws_ping_timeout=20,
    )
    return _Server(config)


@contextlib.contextmanager
def _listening(config: PlatformConfig) -> Generator[socket.socket]:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
    except OSError as error:
        raise InputError(f"{config.host} is no address to listen on: {error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise InputError(
                f"{config.host}:{config.port} cannot be listened on: {error.strerror}",
                hint="is a platform running there already? --port 0 takes any free port",
            ) from error
        listener.listen(2048)
        yield listener
