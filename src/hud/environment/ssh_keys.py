"""The keys of one workspace's SSH server: made for it, held in memory, in a file only if asked.

Who may log in with them is `ssh_server`'s decision.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import asyncssh

from hud._core.errors import CapabilityFault

_ALGORITHM = "ssh-ed25519"


class Keys:
    """The server's key, the client's, and whoever else may log in.

    Attributes:
        host: Private key of the server.
        allowed: Public or private keys that may log in, the generated one first.
        path: Where the client's private key lies as a file, or None.
    """

    def __init__(self, host_key: Path | None = None, more: Sequence[Path] = ()) -> None:
        """Make the keys.

        Raises:
            CapabilityFault: when a key file cannot be read.
        """
        make = cast("Callable[[str], asyncssh.SSHKey]", vars(asyncssh)["generate_private_key"])
        try:
            self.host = (
                make(_ALGORITHM) if host_key is None else asyncssh.read_private_key(str(host_key))
            )
            others = [asyncssh.read_public_key(str(path)) for path in more]
        except (OSError, ValueError) as error:
            raise CapabilityFault(f"a key of the workspace cannot be read: {error}") from error
        self._client = make(_ALGORITHM)
        self.allowed = [self._client, *others]
        self.path: Path | None = None

    @property
    def host_public(self) -> str:
        """The server's public key, in OpenSSH's format."""
        return self.host.export_public_key().decode().strip()

    @property
    def client_private(self) -> str:
        """The generated client's private key, in OpenSSH's format."""
        return self._client.export_private_key("openssh").decode()

    def write(self, folder: Path, name: str) -> None:
        """Write the client's key to a new file that only its owner can read."""
        path = folder / f"{name}_ed25519"
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with open(path, "xb", opener=lambda p, flags: os.open(p, flags, 0o600)) as file:
            file.write(self.client_private.encode())
        self.path = path

    def remove(self) -> None:
        """Remove the file, if there is one."""
        path, self.path = self.path, None
        if path is not None:
            path.unlink(missing_ok=True)
