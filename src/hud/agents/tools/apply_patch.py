"""Patches carried out on files behind an SSH client: all of a call or nothing.

The format is `patch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

from hud._core.errors import bounded
from hud.agents.tools.arguments import optional_text, text_of
from hud.agents.tools.base import AgentTool, ToolContext, ToolError, text_result
from hud.agents.tools.patch import Change, apply_hunks, parse_diff, parse_new_file, parse_patch
from hud.agents.tools.shell import has_posix_shell
from hud.agents.tools.text_files import MAX_TEXT_BYTES, FileAccess, decoded, encoded
from hud.capabilities.ssh import SSHClient
from hud.trace.content import MCPToolResult


@dataclass(slots=True)
class _File:
    """A file as it is, and as it shall be.

    Attributes:
        path: As the patch spells it.
        before: Its content; None where there is none.
        after: The same when the patch is done.
        source: Path of the file that is moved here.
    """

    path: str
    before: bytes | None
    after: bytes | None
    source: str | None = None
    is_moved_away: bool = False


class Patcher:
    """Changes of files of one client; one call at a time.

    Everything is read and worked out before anything is written, and what was written is undone
    when a write fails; only a capability that breaks down, or a call that is cancelled, in between
    leaves half of a patch.
    """

    def __init__(self, client: SSHClient, *, timeout_s: float | None = None) -> None:
        self._files = FileAccess(client, timeout_s=timeout_s)
        self._turn = asyncio.Lock()

    async def apply(self, changes: Sequence[Change]) -> str:
        """Carry out changes and return one line for each: A, M, D or R, and the path.

        Raises:
            ToolError: when one cannot be carried out; none is then.
            CapabilityFault: when the capability fails.
        """
        async with self._turn:
            files: dict[str, _File] = {}
            said = [await self._work_out(change, files) for change in changes]
            await self._write(list(files.values()))
        return "\n".join(said)

    async def _work_out(self, change: Change, files: dict[str, _File]) -> str:
        """Note what becomes of a file."""
        file = await self._known(change.path, files)
        name = bounded(change.path)
        if change.kind == "create":
            if file.after is not None:
                raise ToolError(f"{name!r} is there already; update it, or delete it first")
            file.after = encoded(change.text)
            return f"A {name}"
        if file.after is None:
            raise ToolError(f"there is no {name!r} to {change.kind}")
        if change.kind == "delete":
            file.after = None
            return f"D {name}"
        if change.hunks:
            text = decoded(change.path, file.after)
            after = apply_hunks(text.text, change.hunks, of=repr(name))
            file.after = text.encoded(after, "".join(hunk.added for hunk in change.hunks))
        if change.move_to is None:
            return f"M {name}"
        target = await self._known(change.move_to, files)
        if target is file:
            return f"M {name}"
        if target.after is not None:
            raise ToolError(f"{name!r} cannot be moved: {bounded(change.move_to)!r} is there")
        target.after, file.after = file.after, None
        if target.before is None and file.before is not None and not file.is_moved_away:
            target.source, file.is_moved_away = file.path, True
        return f"R {name} -> {bounded(change.move_to)}"

    async def _known(self, path: str, files: dict[str, _File]) -> _File:
        """Return a file as the changes so far leave it, read when it is met first."""
        if not path:
            raise ToolError("the path of a file is empty")
        key = posixpath.normpath(path)
        if key not in files:
            is_there = await self._files.exists(path)
            data = await self._files.read(path, max_bytes=MAX_TEXT_BYTES) if is_there else None
            files[key] = _File(path, data, data)
        return files[key]

    async def _write(self, files: list[_File]) -> None:
        """Make files what they shall be, or leave them as they are."""
        undo: list[Callable[[], Awaitable[None]]] = []
        try:
            for file in files:
                if file.source is not None and file.after is not None:
                    await self._files.move(file.source, file.path)
                    undo.append(_call(self._files.move, file.path, file.source))
            for file in files:
                await self._write_one(file, files, undo)
        except ToolError as error:
            for step in reversed(undo):
                with contextlib.suppress(ToolError):
                    await step()
            raise ToolError(f"{error}; nothing of the patch was applied") from error

    async def _write_one(
        self, file: _File, files: list[_File], undo: list[Callable[[], Awaitable[None]]]
    ) -> None:
        there = file.before
        if file.source is not None and file.after is not None:
            there = next(one.before for one in files if one.path == file.source)
        elif file.is_moved_away and self._has_left(file, files):
            there = None
        if file.after == there:
            return
        if file.after is None:
            assert there is not None
            await self._files.remove(file.path)
            undo.append(_call(self._files.write, file.path, there))
            return
        # Noted first: a write that fails may have made the file.
        if there is None:
            undo.append(_call(self._files.remove, file.path))
            await self._files.write(file.path, file.after)
        else:
            undo.append(_call(self._files.write, file.path, there))
            await self._files.write(file.path, file.after)

    @staticmethod
    def _has_left(file: _File, files: list[_File]) -> bool:
        return any(one.source == file.path and one.after is not None for one in files)


class ApplyPatchTool(AgentTool[SSHClient]):
    """Patches as a function, for models that write them without a native tool."""

    protocol: ClassVar[str] = "ssh"
    name = "apply_patch"
    description = (
        "Change files by a patch: '*** Begin Patch', then for each file '*** Add File: PATH', "
        "'*** Delete File: PATH' or '*** Update File: PATH' (and '*** Move to: PATH' to rename "
        "it), at the end '*** End Patch'. An update consists of hunks: '@@', optionally with a "
        "line to look after, then lines that begin with ' ' (context, about three on either "
        "side), '-' or '+'. In a new file every line begins with '+'. A patch applies as a whole "
        "or not at all."
    )
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {"patch": {"type": "string"}},
        "required": ["patch"],
    }

    def __init__(self, client: SSHClient, context: ToolContext) -> None:
        super().__init__(client, context)
        self.patcher = Patcher(client, timeout_s=context.config.tool_timeout_seconds)

    @classmethod
    async def bind(cls, client: SSHClient, context: ToolContext) -> Sequence[Self]:
        """Return the tool; none where the shell is no POSIX one."""
        return [cls(client, context)] if has_posix_shell(client) else []

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        changes = parse_patch(text_of(arguments, "patch"))
        return text_result(await self.patcher.apply(changes))


class OpenAIApplyPatchTool(ApplyPatchTool):
    """The patch tool of the Responses API; its arguments are a call's `operation`."""

    description = "Create, update or delete one file by a diff."
    parameters: dict[str, Any] = {  # noqa: RUF012 -- replaced, never changed
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            "path": {"type": "string"},
            "diff": {"type": "string"},
        },
        "required": ["type", "path"],
    }

    def native_spec(self) -> dict[str, Any]:
        return {"type": "apply_patch"}

    async def call(self, arguments: dict[str, Any]) -> MCPToolResult:
        operation = arguments.get("operation", arguments)
        if not isinstance(operation, dict):
            raise ToolError("the argument 'operation' must be an object")
        change = operation_of(cast("dict[str, Any]", operation))
        return text_result(await self.patcher.apply([change]))


def operation_of(operation: dict[str, Any]) -> Change:
    """Read an operation of the Responses API.

    Raises:
        ToolError: when it is none.
    """
    kind, path = text_of(operation, "type"), text_of(operation, "path")
    match kind:
        case "create_file":
            text = parse_new_file(optional_text(operation, "diff") or "")
            return Change("create", path, text=text)
        case "update_file":
            hunks = parse_diff(text_of(operation, "diff"))
            if not hunks:
                raise ToolError("the diff is empty")
            return Change("update", path, hunks=hunks)
        case "delete_file":
            return Change("delete", path)
        case _:
            raise ToolError(f"there is no operation {bounded(kind)!r}")


def _call(method: Callable[..., Awaitable[None]], *args: Any) -> Callable[[], Awaitable[None]]:
    return lambda: method(*args)
