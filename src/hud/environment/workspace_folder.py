"""The folder of a workspace: whose it is, and reading and writing it while an agent may fight that.

Where it is shown to the agent and what runs over it is `workspace`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from hud._core.errors import CapabilityFault, InputError
from hud.sandbox import files, folders


class WorkspaceFolder:
    """A folder on this machine, given or made for every start.

    Attributes:
        name: What messages call the workspace.
    """

    name: str

    def __init__(
        self, root: Path | str | None, template: Path | str | None, guest_path: str
    ) -> None:
        """Prepare the folder.

        Args:
            root: The folder; None for one that is made at every start and removed at the end.
            template: Folder whose content a made one begins with.
            guest_path: What the agent knows it as.

        Raises:
            InputError: when there is both a root and a template.
        """
        if root is not None and template is not None:
            raise InputError("a workspace has either a root or files to begin with, not both")
        self._guest_path = guest_path
        self._template = None if template is None else Path(template)
        self._given_root = None if root is None else Path(root).expanduser().absolute()
        self._own_root: Path | None = None
        self._private: list[Path] = []

    @property
    def root(self) -> Path:
        """The folder on this machine.

        Raises:
            CapabilityFault: before the start of a workspace that makes its own.
        """
        root = self._given_root or self._own_root
        if root is None:
            raise CapabilityFault(f"workspace {self.name!r} has no folder before it is started")
        return root

    def keep_private(self, source: str | Path | None) -> None:
        """Make sure that a file of the environment's own cannot be read by the agent.

        Raises:
            InputError: when it lies in the workspace.
        """
        if source is None:
            return
        path = Path(os.path.realpath(source))
        if self._given_root is not None and path.is_relative_to(os.path.realpath(self._given_root)):
            raise InputError(
                f"the workspace {str(self._given_root)!r} holds the environment's own source "
                f"({path.name}), which the agent could read and change",
                hint="give the workspace a folder of its own, such as a subfolder",
            )
        self._private.append(path)

    def read_bytes(self, path: str, *, max_bytes: int = 16 << 20) -> bytes:
        """Return a file's content without following a link the agent may have made.

        Args:
            path: Relative to the workspace, or absolute as the agent sees it.
            max_bytes: The most that is read.

        Raises:
            UnsafePath: when a link or a special file is in the way, or the path leads outside.
            FileNotFoundError: when it does not exist.
        """
        return files.read_bytes(self.root, self._inside(path), max_bytes=max_bytes)

    def read_text(self, path: str, *, max_bytes: int = 16 << 20) -> str:
        """Return a file's content as text; what is no UTF-8 is replaced. See `read_bytes`."""
        return self.read_bytes(path, max_bytes=max_bytes).decode("utf-8", "replace")

    def write_bytes(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file as the agent's own, without following a link. See `read_bytes`."""
        files.write_bytes(self.root, self._inside(path), data, mode=mode, owner=self._owner())

    def write_text(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a text file. See `write_bytes`."""
        self.write_bytes(path, text.encode(), mode=mode)

    async def _make_root(self) -> None:
        """Make the folder, filled from the template.

        Raises:
            CapabilityFault: when the template cannot be copied.
        """
        if self._given_root is not None:
            self._given_root.mkdir(parents=True, exist_ok=True)
            return
        self._own_root = folders.make("workspace")
        if self._template is not None:
            try:
                await asyncio.to_thread(files.copy_tree, self._template, self._own_root)
            except OSError as error:
                raise CapabilityFault(
                    f"workspace {self.name!r} cannot begin with {str(self._template)!r}: {error}"
                ) from error

    async def _remove_root(self) -> None:
        """Remove a folder that was made."""
        own, self._own_root = self._own_root, None
        if own is not None:
            await asyncio.to_thread(files.remove_tree, own)

    def _owner(self) -> tuple[int, int] | None:
        """Return whom new files belong to; None for this process's own user."""
        return None

    def _inside(self, path: str) -> str:
        """Return a path relative to the workspace."""
        for prefix in (self._guest_path, str(self.root)):
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                return path[len(prefix) :].lstrip("/") or "."
        return path
