"""Making and closing an SSH connection with a row's keys, and nothing of this machine's user.

No configuration file, agent, default key or list of known hosts is read; the daemon's host key is
the one in the row, never one learned on first use.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh

from hud._core.errors import CapabilityFault, InputError, bounded
from hud.protocol.capability import Capability

ANY_HOST_KEY = "*"
"""As a row's `host_pubkey`: accept whatever key the daemon shows."""
KEEPALIVE_S = 15.0
KEEPALIVE_MISSES = 4
_CLOSE_GRACE_S = 5.0


async def open_connection(cap: Capability, limit_s: float) -> asyncssh.SSHClientConnection:
    """Connect and log in, within `limit_s` seconds.

    Raises:
        CapabilityFault: when that fails.
        InputError: when the row has no address, or a key that cannot be used.
    """
    options = _options(cap)
    try:
        async with asyncio.timeout(limit_s):
            return await asyncssh.connect(**options, connect_timeout=None, login_timeout=0)
    except asyncssh.HostKeyNotVerifiable as error:
        raise _unreachable(cap, "its host key is not the one in the row") from error
    except asyncssh.PermissionDenied as error:
        user = options["username"]
        raise _unreachable(cap, f"it refused user {user!r} and the row's key") from error
    except TimeoutError as error:
        raise _unreachable(cap, f"no SSH session within {limit_s:g} s") from error
    except (asyncssh.Error, OSError) as error:
        raise _unreachable(cap, str(error) or type(error).__qualname__) from error
    except ValueError as error:
        # asyncssh asks for it even where it is not used.
        raise CapabilityFault(
            f"capability {cap.name!r}: cannot connect to {cap.url}: {error}",
            hint="a process whose user has no name needs the variable LOGNAME",
        ) from error


async def disconnect(conn: asyncssh.SSHClientConnection) -> None:
    """Close a connection, by force when it takes too long or the caller is cancelled."""
    try:
        conn.close()
        async with asyncio.timeout(_CLOSE_GRACE_S):
            await conn.wait_closed()
    except TimeoutError:
        conn.abort()
        await conn.wait_closed()
    except BaseException:
        conn.abort()
        raise


def _unreachable(cap: Capability, reason: str) -> CapabilityFault:
    return CapabilityFault(f"capability {cap.name!r}: cannot connect to {cap.url}: {reason}")


def _options(cap: Capability) -> dict[str, Any]:
    address = cap.address
    if address is None:
        raise InputError(
            f"capability {cap.name!r}: {bounded(cap.url)!r} has no host and port",
            hint="an ssh row's url is ssh://host:port",
        )
    return {
        "host": address[0],
        "port": address[1],
        "username": str(cap.params.get("user") or "agent"),
        "known_hosts": _host_keys(cap),
        "client_keys": _client_keys(cap),
        "config": None,
        "agent_path": None,
        "agent_forwarding": False,
        "x11_forwarding": False,
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "gss_auth": False,
        "gss_kex": False,
        "host_based_auth": False,
        "kbdint_auth": False,
        "password_auth": False,
        # By far the fastest where the processor has AES, which is nearly everywhere.
        "encryption_algs": "^aes128-gcm@openssh.com",
        "compression_algs": ["none"],
        "send_env": None,
        "errors": "replace",
        "keepalive_interval": KEEPALIVE_S,
        "keepalive_count_max": KEEPALIVE_MISSES,
    }


def _host_keys(cap: Capability) -> tuple[list[asyncssh.SSHKey], list[Any], list[Any]] | None:
    text = str(cap.params.get("host_pubkey") or "").strip()
    if text == ANY_HOST_KEY:
        return None
    if not text:
        raise InputError(
            f"capability {cap.name!r} names no host key, so its daemon cannot be recognised",
            hint="put the daemon's public host key into the row's host_pubkey "
            f"({ANY_HOST_KEY!r} accepts any key)",
        )
    lines = [text] if text.startswith("--") else text.splitlines()
    try:
        return [asyncssh.import_public_key(line) for line in lines if line.strip()], [], []
    except (asyncssh.KeyImportError, ValueError) as error:
        raise InputError(
            f"capability {cap.name!r}: host_pubkey is no public key: {bounded(text, 60)!r}",
            hint="it looks like: ssh-ed25519 AAAA…",
        ) from error


def _client_keys(cap: Capability) -> list[asyncssh.SSHKey] | None:
    key, path = cap.params.get("client_key"), cap.params.get("client_key_path")
    if not key and not path:
        return None
    try:
        content = str(key) if key else Path(str(path)).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"capability {cap.name!r}: its client key cannot be read from {bounded(str(path))!r}: "
            f"{error}",
            hint="a row that travels between machines carries the key itself, as client_key",
        ) from error
    try:
        return [asyncssh.import_private_key(content)]
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        raise InputError(
            f"capability {cap.name!r}: its client key is no private key without passphrase: {error}"
        ) from error
