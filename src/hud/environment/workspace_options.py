"""What a workspace can be told, as one row shared by `Workspace` and `Environment.workspace`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from hud.sandbox.spec import DEFAULT_SYSTEM_MOUNTS, Isolation, Limits, Mount, Peer, SandboxSpec


class WorkspaceOptions(TypedDict, total=False):
    """Keyword arguments of a workspace; all may be left out.

    Attributes:
        files: Folder whose content every new workspace begins with (with no `root` alone).
        mounts: Further mounts.
        network: Whether the public internet is reachable, through the egress proxy.
        allowed_hosts: Hosts that are reachable; more than nothing without `network`.
        peers: Services outside that are reachable under a name.
        env: Variables of every command.
        system_mounts: The rest of the file system; `DEFAULT_SYSTEM_MOUNTS` when None.
        guest_path: Where the folder appears to the agent.
        cwd: Where commands start; `guest_path` when None.
        limits: Memory, processes, disk.
        isolation: None takes the strongest there is; "none" is no sandbox at all.
        require_isolation: Refuse anything but "bwrap".
        python: Whether this Python and its packages are visible, and first on PATH.
        host, port: Where the SSH server listens.
        user: Name inside, and of the SSH login.
        host_key_path: Private key of the server; a new one is made when None.
        authorized_client_keys: Public keys that may log in beside the generated one.
        credentials_dir: Folder for the generated client key as a file.
        shell_uid, shell_gid: Identity on the host, when this process is root.
        hand_over_root: Whether files of the folder are given to that identity.
    """

    files: Path | str | None
    mounts: Sequence[Mount]
    network: bool
    allowed_hosts: Collection[str] | None
    peers: Sequence[Peer]
    env: Mapping[str, str] | None
    system_mounts: Sequence[Mount] | None
    guest_path: str
    cwd: str | None
    limits: Limits
    isolation: Isolation | None
    require_isolation: bool
    python: bool
    host: str
    port: int
    user: str
    host_key_path: Path | None
    authorized_client_keys: Sequence[Path] | None
    credentials_dir: Path | str | None
    shell_uid: int | None
    shell_gid: int | None
    hand_over_root: bool


def spec_of(options: WorkspaceOptions, root: Path | None, private: tuple[Path, ...]) -> SandboxSpec:
    """Return the sandbox that these options describe.

    Args:
        root: The workspace's folder, when it is known.
        private: What must not be readable inside.

    Raises:
        InputError: when they contradict each other.
    """
    system = options.get("system_mounts")
    return SandboxSpec(
        root=root,
        guest_path=options.get("guest_path", "/workspace"),
        mounts=tuple(options.get("mounts") or ()),
        system_mounts=DEFAULT_SYSTEM_MOUNTS if system is None else tuple(system),
        env=dict(options.get("env") or {}),
        cwd=options.get("cwd"),
        network=options.get("network", False),
        allowed_hosts=options.get("allowed_hosts"),
        peers=tuple(options.get("peers") or ()),
        limits=options.get("limits") or Limits(),
        isolation=options.get("isolation"),
        uid=options.get("shell_uid"),
        gid=options.get("shell_gid"),
        user=options.get("user", "agent"),
        python=options.get("python", False),
        private=private,
    )
