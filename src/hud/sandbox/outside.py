"""What a sandbox may reach outside of itself: the egress proxy and declared peers.

The listening sockets lie inside the sandbox's network namespace, the code that serves them here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hud.sandbox.sandbox import Sandbox

PROXY_PORT = 3128


class Outside:
    """The openings of one running sandbox. `close` it with the sandbox.

    Attributes:
        env: Variables that tell programs where the proxy is.
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
                listener = await sandbox.listen(sandbox.proxy_port)
                proxy = EgressProxy(policy)
                self._stack.push_async_callback(proxy.aclose)
                await proxy.serve(listener)
                self.env.update(proxy.env(sandbox.proxy_port))
                direct = ",".join([self.env["NO_PROXY"], *(peer.name for peer in spec.peers)])
                self.env |= {"NO_PROXY": direct, "no_proxy": direct}
            for peer in spec.peers:
                listener = await sandbox.listen(peer.port)
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
