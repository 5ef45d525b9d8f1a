"""What a browser can be told, as one row shared by `Browser` and `Environment.browser`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from hud.sandbox.spec import Isolation, Limits, Peer

if TYPE_CHECKING:
    from hud.environment.workspace import Workspace


class BrowserOptions(TypedDict, total=False):
    """Keyword arguments of a browser; all may be left out.

    Attributes:
        executable: The Chromium to run; found on PATH, or named by `HUD_CHROMIUM`, when None.
        headless: Whether it runs without a display; otherwise `env` says which `DISPLAY` it has.
        width, height: What its pages see as their window, in CSS pixels.
        args: Further command-line flags.
        url: The page every episode begins with.
        env: Variables of its process.
        downloads: Folder that downloads go to. On this machine; a new one for every episode when
            None. With a workspace it is relative to the workspace, and `downloads` when None.
        workspace: Run it in this workspace's sandbox, where servers that the shell starts are
            reachable; what follows is then the workspace's.
        network: Whether the public internet is reachable, through the egress proxy.
        allowed_hosts: Hosts that are reachable; more than nothing without `network`.
        peers: Services outside that are reachable under a name.
        limits: Memory, processes.
        isolation: None takes the strongest there is; "none" is no sandbox at all.
    """

    executable: Path | str | None
    headless: bool
    width: int
    height: int
    args: Sequence[str]
    url: str | None
    env: Mapping[str, str] | None
    downloads: Path | str | None
    workspace: Workspace | None
    network: bool
    allowed_hosts: Collection[str] | None
    peers: Sequence[Peer]
    limits: Limits | None
    isolation: Isolation | None


OF_THE_SANDBOX = ("network", "allowed_hosts", "peers", "limits", "isolation")
