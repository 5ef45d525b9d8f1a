"""What a workspace can be told, as one row shared by `Workspace` and `Environment.workspace`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict

from hud._core.errors import InputError
from hud.sandbox.spec import DEFAULT_SYSTEM_MOUNTS, Isolation, Limits, Mount, Peer, SandboxSpec


class WorkspaceOptions(TypedDict, total=False):
    """Keyword arguments of a workspace; all may be left out.

    Attributes:
        files: Folder whose content every new workspace begins with (with no `root` alone).
        mounts: Further mounts.
        network: Whether the public internet is reachable, through the egress proxy.
        allowed_hosts: Hosts that are reachable; more than nothing without `network`.
        peers: Services outside that are reachable under a name.
        local_aliases: Further names of the sandbox's own loopback; needs namespaces.
        ports: Ports that the agent's programs listen on and this machine's loopback reaches, at
            the same number. By uid they can listen on no others.
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
        hosts_path: Not offered; the sandbox's file of hosts follows from the peers and aliases.
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
    local_aliases: Collection[str]
    ports: Collection[int]
    hosts_path: Path | str | None


class RunOptions(TypedDict, total=False):
    """Keyword arguments of `Workspace.run` that HUD has and that mean something here.

    Attributes:
        inherit_workspace_env: Whether the command gets the variables given for the workspace; when
            left out, where it runs among the agent's and not when `isolated`.
        identity: `"workspace"` alone: commands run as whom the workspace's files belong to.
        allowed_hosts: None or nothing: the network is the workspace's own, or none at all.
        no_new_privs: True alone.
        scope: `"session"` alone: commands end with the episode.
        writable_hosts: False alone.
    """

    inherit_workspace_env: bool
    identity: int | tuple[int, int] | Literal["workspace"] | None
    allowed_hosts: Collection[str] | None
    no_new_privs: bool
    scope: Literal["session", "environment"]
    writable_hosts: bool


def check_run(options: RunOptions, *, isolated: bool) -> None:
    """Refuse what a command cannot have here.

    Raises:
        InputError: saying what, and what there is instead.
        TypeError: for an option that there is not.
    """
    for name in options:
        if name not in RunOptions.__annotations__:
            raise TypeError(f"Workspace.run has no option {name!r}")
    if not isolated and options.get("inherit_workspace_env") is False:
        raise _refused("inherit_workspace_env=False", "run the command with isolated=True")
    if options.get("identity", "workspace") != "workspace":
        raise _refused("another identity", "give the workspace a shell_uid")
    if options.get("allowed_hosts"):
        raise _refused("allowed_hosts", "give them to the workspace, or name a peer")
    if options.get("no_new_privs") is False:
        raise _refused("no_new_privs=False", "do what takes rights in the environment itself")
    if options.get("scope", "session") != "session":
        raise _refused("scope='environment'", "start what outlives episodes in env.initialize")
    if options.get("writable_hosts"):
        raise _refused("writable_hosts", "give names as peers or local_aliases")


def _refused(what: str, instead: str) -> InputError:
    return InputError(f"a workspace's command cannot have {what}", hint=instead)


def spec_of(options: WorkspaceOptions, root: Path | None, private: tuple[Path, ...]) -> SandboxSpec:
    """Return the sandbox that these options describe.

    Args:
        root: The workspace's folder, when it is known.
        private: What must not be readable inside.

    Raises:
        InputError: when they contradict each other.
    """
    system = options.get("system_mounts")
    if options.get("hosts_path") is not None:
        raise InputError(
            "a workspace takes no hosts_path: its /etc/hosts is made for it",
            hint="name services as peers, and names of its loopback as local_aliases",
        )
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
        ports=tuple(sorted(options.get("ports") or ())),
        aliases=tuple(options.get("local_aliases") or ()),
        limits=options.get("limits") or Limits(),
        isolation=options.get("isolation"),
        uid=options.get("shell_uid"),
        gid=options.get("shell_gid"),
        user=options.get("user", "agent"),
        python=options.get("python", False),
        private=private,
    )
