"""Claude's memory tool: notes of one run, within limits, and nothing else in reach."""

from __future__ import annotations

from typing import Any

import pytest

from hud.agents.tools import memory
from hud.agents.tools.base import ToolError
from hud.agents.tools.memory import ClaudeMemoryTool, Memory
from hud.trace.content import TextContent


async def do(tool: ClaudeMemoryTool, command: str, **arguments: Any) -> str:
    (block,) = (await tool.call({"command": command, **arguments})).content
    assert isinstance(block, TextContent)
    return block.text


async def test_notes_are_kept_edited_moved_and_forgotten() -> None:
    tool = ClaudeMemoryTool.alone()
    assert tool.native_spec() == {"type": "memory_20250818", "name": "memory"}
    assert "nothing is kept" in await do(tool, "view", path="/memories")

    await do(tool, "create", path="/memories/a/b/c.md", file_text="one\ntwo\n")
    await do(tool, "create", path="/memories//top.md", file_text="x")
    assert (await do(tool, "view", path="/memories/")).splitlines() == [
        "/memories/",
        "       8  a/",
        "       8  a/b/",
        "       1  top.md",
    ]
    path = "/memories/a/b/c.md"
    assert "     2\t2" in await do(tool, "str_replace", path=path, old_str="two", new_str="2")
    await do(tool, "insert", path=path, insert_line=0, insert_text="zero\n")
    assert await do(tool, "view", path=path, view_range=[1, 2]) == "     1\tzero\n     2\tone"

    await do(tool, "rename", old_path="/memories/a", new_path="/memories/z/y")
    assert tool.memory.files == {"/memories/z/y/b/c.md": "zero\none\n2\n", "/memories/top.md": "x"}
    await do(tool, "delete", path="/memories/z")
    assert tool.memory.files == {"/memories/top.md": "x"}
    await tool.close()


def test_two_runs_share_nothing() -> None:
    one, two = ClaudeMemoryTool.alone(), ClaudeMemoryTool.alone()
    one.memory.create("/memories/a", "x")
    assert not two.memory.files


@pytest.mark.parametrize(
    "path",
    ["", "/", "memories/a", "/memoriesx/a", "/etc/passwd", "/memories/../etc", "/memories/a/../b",
     "/memories/a\0", "/memories/" + "x" * 600],
)  # fmt: skip
def test_a_path_elsewhere_is_refused(path: str) -> None:
    notes = Memory()
    for attempt in (
        lambda: notes.view(path),
        lambda: notes.create(path, "x"),
        lambda: notes.rename("/memories/a", path),
    ):
        with pytest.raises(ToolError, match=r"under /memories|512 characters"):
            attempt()
    assert not notes.files


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"command": "create", "path": "/memories/a", "file_text": ""}, "is there already"),
        ({"command": "create", "path": "/memories/d", "file_text": ""}, "is there already"),
        ({"command": "create", "path": "/memories", "file_text": ""}, "is there already"),
        ({"command": "create", "path": "/memories/a/b", "file_text": ""}, "is a file"),
        ({"command": "view", "path": "/memories/no"}, "there is no"),
        ({"command": "delete", "path": "/memories/no"}, "there is no"),
        ({"command": "delete", "path": "/memories"}, "cannot be deleted"),
        ({"command": "rename", "old_path": "/memories", "new_path": "/memories/x"}, "itself"),
        ({"command": "rename", "old_path": "/memories/d", "new_path": "/memories/a"}, "there"),
        ({"command": "rename", "old_path": "/memories/d", "new_path": "/memories/d/x"}, "itself"),
        (
            {"command": "rename", "old_path": "/memories/d", "new_path": "/memories/a/x"},
            "in a file",
        ),
        ({"command": "str_replace", "path": "/memories/d", "old_str": "x"}, "is a folder"),
        ({"command": "str_replace", "path": "/memories/a", "old_str": "q"}, "nowhere"),
        ({"command": "insert", "path": "/memories/a", "insert_text": "q"}, "'insert_line'"),
        ({"command": "forget"}, "there is no command 'forget'"),
        ({}, "'command' is missing"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_told(
    arguments: dict[str, Any], says: str
) -> None:
    tool = ClaudeMemoryTool.alone()
    tool.memory.files.update({"/memories/a": "x\n", "/memories/d/e": "y\n"})
    before = dict(tool.memory.files)
    with pytest.raises(ToolError, match=says):
        await tool.call(arguments)
    assert tool.memory.files == before


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_FILE_CHARS", 10)
    monkeypatch.setattr(memory, "MAX_CHARS", 15)
    monkeypatch.setattr(memory, "MAX_FILES", 3)
    notes = Memory()
    notes.create("/memories/a", "x" * 10)
    with pytest.raises(ToolError, match="a file may have 10 characters, not 12"):
        notes.insert("/memories/a", 0, "y")
    with pytest.raises(ToolError, match="together may have 15"):
        notes.create("/memories/b", "x" * 6)
    notes.create("/memories/b", "")
    notes.create("/memories/c", "")
    with pytest.raises(ToolError, match="may be 3 files"):
        notes.create("/memories/d", "")
