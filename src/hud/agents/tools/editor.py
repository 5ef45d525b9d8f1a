"""Looking at files and editing them by command, in the shapes models were trained on.

What an edit does to a text is `text_edits`, how files are read and written `text_files`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

from hud._core.errors import bounded
from hud.agents.tools import pictures, text_edits
from hud.agents.tools.arguments import (
    optional_integer,
    optional_text,
    required_integer,
    span_of,
    text_of,
)
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.agents.tools.shell import has_posix_shell
from hud.agents.tools.text_files import FileAccess, NotAFile, decoded, encoded, printable
from hud.capabilities.ssh import SSHClient
from hud.trace.content import MCPToolResult

COMMANDS = ("view", "create", "str_replace", "insert")
_TREE_BYTES = 256 << 10
_TREE_AT_MOST = 500
_NOTICE_CHARS = 100


class Editor:
    """Files of one client, shown with line numbers and edited; one edit at a time.

    Every method raises `ToolError` for what the model has to do otherwise, and `CapabilityFault`
    when the capability fails. Paths are relative to where the client's commands begin.
    """

    def __init__(
        self, client: SSHClient, *, max_chars: int = 30_000, timeout_s: float | None = None
    ) -> None:
        self._files = FileAccess(client, timeout_s=timeout_s)
        self._max_chars = max_chars
        self._turn = asyncio.Lock()

    async def view(self, path: str, span: Sequence[int] | None = None) -> MCPToolResult:
        """Show a text file with line numbers, a picture, or a folder two levels deep.

        Args:
            span: First and last line of a text, 1-based; a last of -1 is the end.
        """
        _check_path(path)
        try:
            data = await self._files.read(path, max_bytes=pictures.MAX_FILE_BYTES)
        except NotAFile:
            return text_result(await self._tree(path))
        if pictures.mime_type_of(data) is not None:
            return MCPToolResult(content=[await pictures.shown(data)])
        shown = text_edits.shown(decoded(path, data).text, span, self._max_chars)
        return text_result(printable(shown))

    async def create(self, path: str, text: str) -> str:
        """Write a file whole, made or replaced, with the folders it lies in."""
        _check_path(path)
        async with self._turn:
            was_there = await self._files.exists(path)
            await self._files.write(path, encoded(text))
        return f"{'replaced' if was_there else 'created'} {bounded(path)}"

    async def str_replace(self, path: str, old: str, new: str) -> str:
        """Replace the one place where a text stands in a file."""
        return await self._edit(path, new, lambda text: text_edits.replaced(text, old, new))

    async def insert(self, path: str, after_line: int, new: str) -> str:
        """Insert lines after a line of a file; 0 is before the first."""
        return await self._edit(path, new, lambda text: text_edits.inserted(text, after_line, new))

    async def run(self, arguments: dict[str, Any]) -> MCPToolResult:
        """Carry out a call whose argument `command` says what to do."""
        command = text_of(arguments, "command")
        path = text_of(arguments, "path")
        match command:
            case "view":
                return await self.view(path, span_of(arguments, "view_range"))
            case "create":
                said = await self.create(path, text_of(arguments, "file_text"))
            case "str_replace":
                new = optional_text(arguments, "new_str") or ""
                said = await self.str_replace(path, text_of(arguments, "old_str"), new)
            case "insert":
                line = required_integer(arguments, "insert_line")
                # `new_str` is what earlier versions of the tool called it.
                new = optional_text(arguments, "insert_text")
                new = text_of(arguments, "new_str") if new is None else new
                said = await self.insert(path, line, new)
            case _:
                raise ToolError(
                    f"there is no command {bounded(command)!r}; there are {', '.join(COMMANDS)}"
                )
        return text_result(said)

    async def _edit(self, path: str, new: str, edit: Callable[[str], text_edits.Edited]) -> str:
        _check_path(path)
        async with self._turn:
            file = await self._files.read_text(path)
            edited = edit(file.text)
            data = file.encoded(edited.text, new)
            await self._files.write(path, data, before=file.data)
        return f"edited {bounded(path)}; it now reads:\n{self._excerpt(edited)}"

    def _excerpt(self, edited: text_edits.Edited) -> str:
        excerpt = printable(text_edits.around(edited))
        if len(excerpt) <= self._max_chars:
            return excerpt
        return f"{excerpt[: self._max_chars]}\n[the rest is left out]"

    async def _tree(self, path: str) -> str:
        names, is_all = await self._files.tree(path, max_bytes=_TREE_BYTES)
        lines = [path if path.endswith("/") else f"{path}/", *(f"  {name}" for name in names)]
        if len(lines) > _TREE_AT_MOST or not is_all:
            lines = [*lines[:_TREE_AT_MOST], "[more is left out; view a folder inside it]"]
        return "\n".join(lines)


class EditTool(AgentTool[SSHClient]):
    """The editor as a function, for any model."""

    protocol: ClassVar[str] = "ssh"
    has_fit_pictures: ClassVar[bool] = True
    name = "edit_file"
    description = (
        "Look at and edit files. view: a text with line numbers (all of it or view_range), a "
        "picture, or a folder. create: write file_text, replacing what is there. str_replace: put "
        "new_str for old_str, which must stand in the file exactly once. insert: add insert_text "
        "after the line insert_line (0: at the beginning)."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": list(COMMANDS)},
            "path": {"type": "string"},
            "view_range": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "view: first and last line; -1 is the end.",
            },
            "file_text": {"type": "string", "description": "create: the whole content."},
            "old_str": {"type": "string", "description": "str_replace: to the letter."},
            "new_str": {"type": "string", "description": "str_replace: nothing removes old_str."},
            "insert_line": {"type": "integer", "description": "insert: after this line."},
            "insert_text": {"type": "string", "description": "insert: whole lines."},
        },
        "required": ["command", "path"],
    }

    def __init__(self, client: SSHClient, context: ToolContext) -> None:
        super().__init__(client, context)
        chars = max(context.config.max_output_chars - _NOTICE_CHARS, _NOTICE_CHARS)
        timeout_s = context.config.tool_timeout_seconds
        self.editor = Editor(client, max_chars=chars, timeout_s=timeout_s)

    @classmethod
    async def bind(cls, client: SSHClient, context: ToolContext) -> Sequence[Self]:
        """Return the tool; none where the shell is no POSIX one."""
        return [cls(client, context)] if has_posix_shell(client) else []

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        return await self.editor.run(arguments)


class ClaudeEditTool(EditTool):
    """The text editor Claude was trained on."""

    name = "str_replace_based_edit_tool"

    def native_spec(self) -> dict[str, Any]:
        return {
            "type": "text_editor_20250728",
            "name": self.name,
            "max_characters": self.context.config.max_output_chars,
        }


class ReadFileTool(EditTool):
    """A file to look at, for a model that reads with one function and writes with another."""

    name = "read_file"
    description = (
        "Return a text file with line numbers (all of it, or from start_line to end_line), or show "
        "a picture (PNG, JPEG, GIF, WebP), or list a folder."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "start_line": {"type": "integer", "description": "From 1."},
            "end_line": {"type": "integer"},
        },
        "required": ["path"],
    }

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        first = optional_integer(arguments, "start_line")
        last = optional_integer(arguments, "end_line")
        span = None if first is None and last is None else (first or 1, last or -1)
        return await self.editor.view(text_of(arguments, "path"), span)


def _check_path(path: str) -> None:
    if not path:
        raise ToolError("the path is empty")
