"""How an environment declares what it exposes: a workspace, tools, a browser, a desktop, a robot.

Each of them is a daemon in a module of its own, imported when the first one is declared.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from hud.environment.daemon import Daemon
from hud.environment.daemons import Daemons

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from hud.environment.browser import Browser
    from hud.environment.browser_options import BrowserOptions
    from hud.environment.desktop import Desktop
    from hud.environment.desktop_options import DesktopOptions
    from hud.environment.robot import RobotEndpoint
    from hud.environment.tools import ToolServer
    from hud.environment.workspace import Workspace
    from hud.environment.workspace_options import WorkspaceOptions

D = TypeVar("D", bound=Daemon)
F = TypeVar("F", bound=Callable[..., Any])


class Exposing(ABC):
    """The declaring half of an environment. Everything declared starts and stops with it."""

    daemons: Daemons

    @abstractmethod
    def add_daemon(self, daemon: D) -> D:
        """Have a daemon started and stopped with this environment, and its row shown to agents."""

    def workspace(
        self,
        root: Path | str | None = None,
        *,
        name: str = "shell",
        track_files: bool | None = None,
        **kwargs: Unpack[WorkspaceOptions],
    ) -> Workspace:
        """Expose a folder with a shell over SSH, in a sandbox (`ssh`).

        Args:
            root: The folder; a new one for every start of the environment when None.
            name: Name of the capability.
            track_files: Whether changes of its files are recorded on the trace; None follows the
                setting `file_tracking_enabled`.
            kwargs: As `WorkspaceOptions` has them.

        Raises:
            InputError: when the folder holds this environment's own source.
        """
        from hud.environment.workspace import Workspace

        workspace = Workspace(root, name=name, track_files=track_files, **kwargs)
        workspace.keep_private(_source_of(inspect.currentframe()))
        self.add_daemon(workspace)
        if workspace.tracker is not None:
            self.add_daemon(workspace.tracker)
        return workspace

    def browser(self, name: str = "browser", **kwargs: Unpack[BrowserOptions]) -> Browser:
        """Expose a Chromium over the DevTools protocol, in a sandbox, fresh per episode (`cdp`).

        Args:
            name: Name of the capability.
            kwargs: As `BrowserOptions` has them.
        """
        from hud.environment.browser import Browser

        browser = Browser(name, **kwargs)
        browser.keep_private(_source_of(inspect.currentframe()))
        return self.add_daemon(browser)

    def desktop(self, name: str = "screen", **kwargs: Unpack[DesktopOptions]) -> Desktop:
        """Expose a virtual desktop with a window manager over VNC, in a sandbox (`rfb`).

        Args:
            name: Name of the capability.
            kwargs: As `DesktopOptions` has them.
        """
        from hud.environment.desktop import Desktop

        desktop = Desktop(name, **kwargs)
        desktop.keep_private(_source_of(inspect.currentframe()))
        return self.add_daemon(desktop)

    def gym(
        self, target: Any, *, name: str = "robot", num_envs: int | None = None, **kwargs: Any
    ) -> RobotEndpoint:
        """Expose a simulator's observations and actions (`robot`), in a process of its own.

        In a template `info = await robot.reset(…)` begins an episode and
        `result = await robot.result(token=info["token"])` says how it went.

        Args:
            target: A Gymnasium id, a simulator, what makes one, or `module:attribute`.
            name: Name of the capability.
            num_envs: Simulators side by side, stepped together; each episode claims one.
            kwargs: `fps`, `contract` and what else `GymBridge` takes; the rest goes to the
                simulator's constructor.
        """
        from hud.environment.robot.endpoint import gym_endpoint

        return self.add_daemon(gym_endpoint(target, name=name, num_envs=num_envs, **kwargs))

    @overload
    def tool(self, fn: F) -> F: ...
    @overload
    def tool(
        self,
        fn: None = None,
        *,
        name: str | None = None,
        description: str = "",
        server: str = "tools",
    ) -> Callable[[F], F]: ...
    def tool(
        self,
        fn: F | None = None,
        *,
        name: str | None = None,
        description: str = "",
        server: str = "tools",
    ) -> F | Callable[[F], F]:
        """Serve a function as an MCP tool while the environment runs (`mcp`).

        Used as `@env.tool` or `@env.tool(name=…)`. The function runs in the environment's own
        process, a sync one in a thread; its schema comes from its annotations.

        Args:
            fn: The function, async or not.
            name: Name of the tool; the function's own otherwise.
            description: What models read; the docstring otherwise.
            server: Name of the capability it belongs to.

        Raises:
            ValueError: when the name is taken, or the server's name another capability's.
        """

        def register(function: F) -> F:
            return self._tool_server(server).add(function, name=name, description=description)

        return register if fn is None else register(fn)

    def _tool_server(self, name: str) -> ToolServer:
        from hud.environment.tools import ToolServer

        held = self.daemons.find(name)
        if held is None:
            return self.add_daemon(ToolServer(name))
        if not isinstance(held, ToolServer):
            raise ValueError(f"capability {name!r} is no tool server")
        return held


def _source_of(frame: FrameType | None) -> str | None:
    """Return the file of the code that called the function of this frame."""
    caller = None if frame is None else frame.f_back
    return None if caller is None else caller.f_globals.get("__file__")
