"""Killing a command on a daemon that takes no signals for it: OpenSSH does not when root logs in.

The command then carries a mark in its environment, and another command kills whatever has it.
Daemons that take signals never see any of this.
"""

from __future__ import annotations

import secrets

import asyncssh

_NAME = "SSH_COMMAND_ID"


def takes_signals(conn: asyncssh.SSHClientConnection) -> bool:
    """Tell whether the daemon passes signals on to the commands of this connection."""
    version = str(conn.get_extra_info("server_version", ""))
    return "OpenSSH" not in version or conn.get_extra_info("username") != "root"


def new_mark() -> str:
    """Return a mark no other command has."""
    return secrets.token_hex(8)


def marked(line: bytes, mark: str) -> bytes:
    """Return a command line that hands its mark on to everything it starts."""
    return f"export {_NAME}={mark}\n".encode() + line


def kill_command(mark: str) -> bytes:
    """Return the command that kills all that carries a mark, by command line or environment."""
    # In brackets the pattern does not match the command line it stands in.
    pattern = f"{_NAME}=[{mark[0]}]{mark[1:]}"
    return (
        f"grep -als '{pattern}' /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
        " | cut -d/ -f3 | sort -u | xargs -r kill -KILL"
    ).encode()
