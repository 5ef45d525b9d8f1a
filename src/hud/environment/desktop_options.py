"""What a desktop can be told, as one row shared by `Desktop` and `Environment.desktop`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from hud.sandbox.spec import Isolation, Limits, Mount, Peer

if TYPE_CHECKING:
    from hud.environment.workspace import Workspace

Program = str | Sequence[str]


class DesktopOptions(TypedDict, total=False):
    """Keyword arguments of a desktop; all may be left out.

    Attributes:
        width, height: Size of the screen in pixels.
        depth: Bits a pixel, 24 or 16.
        programs: What every episode begins with, in this order: command lines, or lists of program
            and arguments. Each has a window, or has ended with exit code 0, before the next one is
            started. The last one has the keyboard.
        window_manager: Its command line; `openbox` when None, "none" for a screen without one.
        server: `tigervnc`, or `xvfb+x11vnc`; None takes the first that is installed.
        display: Number of the X display; the first free one when None.
        keep_running: Leave the screen as it is for the grader, which looks at it through
            `Desktop.client`, instead of stopping everything before grading.
        env: Variables of the programs.
        start_timeout_s: How long the server, the window manager and each program may take.
        workspace: Run it in this workspace's sandbox, so that programs see its files; what follows
            is then the workspace's.
        mounts: Further mounts.
        network: Whether the public internet is reachable, through the egress proxy.
        allowed_hosts: Hosts that are reachable; more than nothing without `network`.
        peers: Services outside that are reachable under a name.
        limits: Memory, processes.
        isolation: None takes the strongest there is; "none" is no sandbox at all.
    """

    width: int
    height: int
    depth: Literal[16, 24]
    programs: Sequence[Program]
    window_manager: Program | None
    server: Literal["tigervnc", "xvfb+x11vnc"] | None
    display: int | None
    keep_running: bool
    env: Mapping[str, str] | None
    start_timeout_s: float
    workspace: Workspace | None
    mounts: Sequence[Mount]
    network: bool
    allowed_hosts: Collection[str] | None
    peers: Sequence[Peer]
    limits: Limits | None
    isolation: Isolation | None


OF_THE_SANDBOX = ("mounts", "network", "allowed_hosts", "peers", "limits", "isolation")
