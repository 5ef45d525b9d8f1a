"""What a sandbox may reach outside of itself: the egress proxy and declared peers.

The listening sockets lie inside the sandbox's network namespace, the code that serves them here.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import TYPE_CHECKING

from hud._core.errors import CapabilityFault
from hud.sandbox.link import CannotStart
from hud.sandbox.spec import Peer

if TYPE_CHECKING:
    from hud.sandbox.sandbox import Sandbox

PROXY_PORT = 3128


class Outside:
    """The openings of one running sandbox. `close` it with the sandbox.

    Attributes:
        env: Variables that tell programs where the proxy and the peers are.
    """

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self._stack = contextlib.AsyncExitStack()

    @classmethod
    async def open(cls, sandbox: Sandbox) -> Outside:
        """Open what the sandbox's spec allows."""
        self = cls()
        spec = sandbox.spec
        if not spec.has_egress and not spec.peers:
            return self
        from hud.sandbox.egress import EgressPolicy, EgressProxy, Forward

        try:
            if spec.has_egress:
                policy = EgressPolicy(spec.allowed_hosts)
                listener = await _listen(sandbox, sandbox.proxy_port, "127.0.0.1", "the proxy")
                proxy = EgressProxy(policy)
                self._stack.push_async_callback(proxy.aclose)
                await proxy.serve(listener)
                self.env.update(proxy.env(sandbox.proxy_port))
                names = {peer.name: None for peer in spec.peers}
                if spec.peers:
                    names[sandbox.peer_host] = None
                direct = ",".join([self.env["NO_PROXY"], *names])
                self.env |= {"NO_PROXY": direct, "no_proxy": direct}
            for peer in spec.peers:
                what = f"peer {peer.name!r}"
                listener = await _listen(sandbox, peer.port, sandbox.peer_host, what)
                host = peer.name if sandbox.isolation == "bwrap" else sandbox.peer_host
                self.env[variable_of(peer)] = f"{host}:{peer.port}"
                forward = Forward(listener, peer.address)
                self._stack.push_async_callback(forward.aclose)
                await forward.start()
            return self
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close every opening."""
        await self._stack.aclose()


def variable_of(peer: Peer) -> str:
    """Return the variable that holds a peer's address inside, as host and port."""
    return re.sub(r"\W", "_", peer.name.upper(), flags=re.ASCII) + "_ADDRESS"


async def _listen(sandbox: Sandbox, port: int, host: str, what: str) -> socket.socket:
    try:
        return await sandbox.listen(port, host)
    except CannotStart as error:
        raise CapabilityFault(
            f"{what} cannot be reached from the sandbox at port {port}: {error}",
            hint="where loopback is shared with this machine, choose another port for it"
            if sandbox.isolation != "bwrap"
            else "give every peer a port of its own",
        ) from error
