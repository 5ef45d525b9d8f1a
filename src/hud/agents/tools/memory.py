"""Claude's memory tool: notes under /memories, kept in this process for one run.

They are the model's own notes, not part of the environment: kept here they need no capability,
are out of a grader's sight, and cannot reach any file. They end with the run, so that one rollout
never learns from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

from hud._core.errors import bounded
from hud.agents.tools import text_edits
from hud.agents.tools.arguments import optional_text, required_integer, span_of, text_of
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.capabilities.base import CapabilityClient
from hud.trace.content import MCPToolResult

ROOT = "/memories"
MAX_FILE_CHARS = 256 << 10
MAX_CHARS = 1 << 20
MAX_FILES = 1_000
_MAX_PATH_CHARS = 512
_VIEW_CHARS = 30_000
_COMMANDS = ("view", "create", "str_replace", "insert", "delete", "rename")


class Memory:
    """A tree of text files under /memories, within limits; folders are there while used.

    Every method raises `ToolError` for what the model has to do otherwise.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    def view(self, path: str, span: Sequence[int] | None = None) -> str:
        """Return a file with line numbers, or what lies in a folder, two levels deep."""
        path = resolved(path)
        if path in self.files:
            return text_edits.shown(self.files[path], span, _VIEW_CHARS)
        inside = self._inside(path)
        if not inside and path != ROOT:
            raise ToolError(f"there is no {bounded(path)!r}")
        sizes: dict[str, int] = {}
        for name in inside:
            parts = name[len(path) + 1 :].split("/")
            for depth in range(1, min(len(parts), 2) + 1):
                entry = "/".join(parts[:depth]) + ("/" if depth < len(parts) else "")
                sizes[entry] = sizes.get(entry, 0) + len(self.files[name])
        lines = [f"{path}/", *(f"{size:8}  {name}" for name, size in sorted(sizes.items()))]
        return "\n".join(lines if inside else [*lines, "(nothing is kept here yet)"])

    def create(self, path: str, text: str) -> str:
        """Keep a new file."""
        path = resolved(path)
        if path == ROOT or path in self.files or self._inside(path):
            raise ToolError(f"{bounded(path)!r} is there already; edit it, or delete it first")
        above = next((name for name in self.files if path.startswith(f"{name}/")), None)
        if above is not None:
            raise ToolError(f"{bounded(above)!r} is a file, so nothing can lie in it")
        self._keep(path, text)
        return f"created {bounded(path)}"

    def str_replace(self, path: str, old: str, new: str) -> str:
        """Replace the one place where a text stands in a file."""
        path, text = self._read(path)
        return self._edited(path, text_edits.replaced(text, old, new))

    def insert(self, path: str, after_line: int, new: str) -> str:
        """Insert lines after a line of a file; 0 is before the first."""
        path, text = self._read(path)
        return self._edited(path, text_edits.inserted(text, after_line, new))

    def delete(self, path: str) -> str:
        """Forget a file, or a folder with all in it."""
        path = resolved(path)
        if path == ROOT:
            raise ToolError(f"{ROOT} itself cannot be deleted")
        for name in self._named(path):
            del self.files[name]
        return f"deleted {bounded(path)}"

    def rename(self, path: str, to: str) -> str:
        """Move a file or a folder."""
        path, to = resolved(path), resolved(to)
        if path == ROOT or to == ROOT:
            raise ToolError(f"{ROOT} itself cannot be renamed or replaced")
        names = self._named(path)
        if to in self.files or self._inside(to):
            raise ToolError(f"{bounded(to)!r} is there already")
        if any(to.startswith(f"{name}/") for name in (*self.files, path)):
            raise ToolError(f"{bounded(to)!r} would lie in a file, or in itself")
        for name in names:
            self.files[to + name[len(path) :]] = self.files.pop(name)
        return f"renamed {bounded(path)} to {bounded(to)}"

    def _inside(self, path: str) -> list[str]:
        return [name for name in self.files if name.startswith(f"{path}/")]

    def _named(self, path: str) -> list[str]:
        """Return the files a path stands for: itself, or all in it."""
        names = [path] if path in self.files else self._inside(path)
        if not names:
            raise ToolError(f"there is no {bounded(path)!r}")
        return names

    def _read(self, path: str) -> tuple[str, str]:
        path = resolved(path)
        if path not in self.files:
            is_folder = path == ROOT or self._inside(path)
            raise ToolError(
                f"{bounded(path)!r} is a folder" if is_folder else f"there is no {bounded(path)!r}"
            )
        return path, self.files[path]

    def _edited(self, path: str, edited: text_edits.Edited) -> str:
        self._keep(path, edited.text)
        return f"edited {bounded(path)}; it now reads:\n{text_edits.around(edited)}"

    def _keep(self, path: str, text: str) -> None:
        others = sum(len(kept) for name, kept in self.files.items() if name != path)
        if len(text) > MAX_FILE_CHARS:
            raise ToolError(f"a file may have {MAX_FILE_CHARS} characters, not {len(text)}")
        if others + len(text) > MAX_CHARS:
            raise ToolError(f"all files together may have {MAX_CHARS} characters; delete some")
        if path not in self.files and len(self.files) >= MAX_FILES:
            raise ToolError(f"there may be {MAX_FILES} files; delete some")
        self.files[path] = text


class ClaudeMemoryTool(AgentTool[CapabilityClient]):
    """The memory tool Claude was trained on; it needs no capability: make it with `alone`."""

    name = "memory"
    description = (
        f"Keep notes for yourself in files under {ROOT}: view, create, str_replace, insert, "
        "delete, rename."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": list(_COMMANDS)},
            "path": {"type": "string"},
            "view_range": {"type": "array", "items": {"type": "integer"}},
            "file_text": {"type": "string"},
            "old_str": {"type": "string"},
            "new_str": {"type": "string"},
            "insert_line": {"type": "integer"},
            "insert_text": {"type": "string"},
            "old_path": {"type": "string"},
            "new_path": {"type": "string"},
        },
        "required": ["command"],
    }

    def __init__(self, client: CapabilityClient, context: ToolContext) -> None:
        super().__init__(client, context)
        self.memory = Memory()

    @classmethod
    def alone(cls) -> Self:
        """Make the tool of one run; it has no client and no context, and uses neither."""
        return cls(cast("CapabilityClient", None), cast("ToolContext", None))

    def native_spec(self) -> dict[str, Any]:
        return {"type": "memory_20250818", "name": self.name}

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        memory = self.memory
        match text_of(arguments, "command"):
            case "view":
                span = span_of(arguments, "view_range")
                said = memory.view(optional_text(arguments, "path") or ROOT, span)
            case "create":
                said = memory.create(text_of(arguments, "path"), text_of(arguments, "file_text"))
            case "str_replace":
                old, new = text_of(arguments, "old_str"), optional_text(arguments, "new_str") or ""
                said = memory.str_replace(text_of(arguments, "path"), old, new)
            case "insert":
                line = required_integer(arguments, "insert_line")
                new = text_of(arguments, "insert_text")
                said = memory.insert(text_of(arguments, "path"), line, new)
            case "delete":
                said = memory.delete(text_of(arguments, "path"))
            case "rename":
                old, new = text_of(arguments, "old_path"), text_of(arguments, "new_path")
                said = memory.rename(old, new)
            case command:
                raise ToolError(
                    f"there is no command {bounded(command)!r}; there are {', '.join(_COMMANDS)}"
                )
        return text_result(said)


def resolved(path: str) -> str:
    """Return a path as it is kept, without doubled or closing slashes.

    Raises:
        ToolError: when it leads elsewhere than under /memories.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not path.startswith("/") or f"/{parts[0] if parts else ''}" != ROOT or ".." in parts:
        raise ToolError(f"{bounded(path)!r} is not under {ROOT}, where all paths must lie")
    if "\0" in path or len(path) > _MAX_PATH_CHARS:
        raise ToolError(f"a path may have {_MAX_PATH_CHARS} characters and no NUL")
    return "/" + "/".join(parts)
