"""The editor's tools on files of a served workspace and of a daemon started by hand."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import pytest

from hud.agents.tools.base import ToolError
from hud.agents.tools.editor import ClaudeEditTool, EditTool, ReadFileTool
from hud.agents.tools.text_files import MAX_TEXT_BYTES
from hud.capabilities import SSHClient
from hud.errors import CapabilityFault
from hud.trace.content import ImageContent
from tests.e2e.tools.places import context, text
from tests.needs import need_module


@pytest.fixture
def tool(client: SSHClient) -> EditTool:
    return ClaudeEditTool(client, context(client))


async def do(tool: EditTool, command: str, path: str, **arguments: Any) -> str:
    return text(await tool.call({"command": command, "path": path, **arguments}))


async def test_a_file_is_created_with_its_folders_and_viewed(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    path = f"{folder}/a/b/it's a file.py"

    assert (await do(tool, "create", path, file_text="one\ntwo\n")).startswith("created ")
    assert await client.read_text(path) == "one\ntwo\n"
    assert await do(tool, "view", path) == "     1\tone\n     2\ttwo"
    assert await do(tool, "view", path, view_range=[2, -1]) == "     2\ttwo"

    assert (await do(tool, "create", path, file_text="")).startswith("replaced ")
    assert await do(tool, "view", path) == "(the file is empty)"


async def test_a_relative_path_begins_where_commands_begin(
    tool: EditTool, client: SSHClient
) -> None:
    try:
        await do(tool, "create", "-of tools.txt", file_text="here\n")
        assert (await client.execute("cat ./'-of tools.txt'")).stdout == "here\n"
        assert await do(tool, "view", "-of tools.txt") == "     1\there"
    finally:
        await client.execute("rm -f ./'-of tools.txt'")


async def test_text_is_replaced_and_inserted(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    path = f"{folder}/f"
    await client.write_text(path, "a\nb\nc\n")
    await client.execute(f"chmod 750 {path}")

    said = await do(tool, "str_replace", path, old_str="b\n", new_str="B1\nB2\n")
    assert "     2\tB1\n     3\tB2\n     4\tc" in said
    await do(tool, "insert", path, insert_line=0, insert_text="top")
    await do(tool, "insert", path, insert_line="5", insert_text="end\n")
    await do(tool, "str_replace", path, old_str="B2\n")

    assert await client.read_text(path) == "top\na\nB1\nc\nend\n"
    assert (await client.execute(f"stat -c %a {path}")).stdout == "750\n"


async def test_edits_of_one_file_at_once_are_all_kept(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    path = f"{folder}/f"
    await client.write_text(path, "".join(f"<{n}>\n" for n in range(6)))
    edits = [do(tool, "str_replace", path, old_str=f"<{n}>", new_str=f"[{n}]") for n in range(6)]
    await asyncio.gather(*edits)
    assert await client.read_text(path) == "".join(f"[{n}]\n" for n in range(6))


async def test_bytes_that_are_no_utf8_survive_an_edit(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    path = f"{folder}/latin"
    await client.write_bytes(path, b"caf\xe9\r\nx = 1\r\n")

    assert await do(tool, "view", path) == "     1\tcaf\ufffd\n     2\tx = 1"
    await do(tool, "str_replace", path, old_str="x = 1\n", new_str="x = 2\ny = 3\n")
    assert await client.read_bytes(path) == b"caf\xe9\r\nx = 2\r\ny = 3\r\n"

    with pytest.raises(ToolError, match="is not UTF-8, and the new text is not ASCII"):
        await do(tool, "insert", path, insert_line=0, insert_text="ü")
    assert await client.read_bytes(path) == b"caf\xe9\r\nx = 2\r\ny = 3\r\n"


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        (None, {"command": "view"}, "there is no '.*/f'"),
        (None, {"command": "str_replace", "old_str": "a", "new_str": "b"}, "there is no"),
        ("x\nx\nxx\n", {"command": "str_replace", "old_str": "x", "new_str": "y"}, "4 times"),
        ("x\n", {"command": "str_replace", "old_str": "y", "new_str": "z"}, "nowhere in the file"),
        ("x\n", {"command": "insert", "insert_line": 2, "insert_text": "z"}, "the file has 1"),
        ("x\n", {"command": "insert", "insert_text": "z"}, "'insert_line' is missing"),
        ("x\n", {"command": "view", "view_range": [2, 3]}, "the file has 1 lines"),
        ("x\n", {"command": "view", "view_range": "all"}, "must be a list"),
        ("x\n", {"command": "undo_edit"}, "there is no command 'undo_edit'"),
        ("a\0b", {"command": "view"}, "is binary"),
        ("a\0b", {"command": "insert", "insert_line": 0, "insert_text": "z"}, "is binary"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_is_told_and_changes_nothing(
    tool: EditTool,
    client: SSHClient,
    folder: str,
    content: str | None,
    arguments: dict[str, Any],
    says: str,
) -> None:
    path = f"{folder}/f"
    if content is not None:
        await client.write_text(path, content)

    with pytest.raises(ToolError, match=says):
        await tool.call({"path": path, **arguments})

    assert await client.listdir(folder) == ([] if content is None else ["f"])
    if content is not None:
        assert await client.read_text(path) == content


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/proc/version", "/proc/version"),
        ("/", "is a folder|Is a directory"),
        ("/f\0", "NUL"),
        ("", "the path is empty"),
        ("/dev/null/x", "Not a directory"),
    ],
)
async def test_a_file_that_cannot_be_written_is_told(tool: EditTool, path: str, says: str) -> None:
    with pytest.raises(ToolError, match=says):
        await do(tool, "create", path, file_text="x")


async def test_a_file_that_is_too_long_is_told(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    await client.execute(f"truncate -s {MAX_TEXT_BYTES + 1} {folder}/f")
    with pytest.raises(ToolError, match=f"longer than {MAX_TEXT_BYTES} bytes; look at parts"):
        await do(tool, "insert", f"{folder}/f", insert_line=0, insert_text="x")


async def test_a_long_text_is_shown_up_to_the_limit(client: SSHClient, folder: str) -> None:
    tool = EditTool(client, context(client, max_output_chars=1000))
    await client.execute(f"seq 5000 > {folder}/f")

    shown = await do(tool, "view", f"{folder}/f")

    *lines, notice = shown.splitlines()
    assert len(shown) <= 1000
    assert notice == f"[lines 1 to {len(lines)} of 5000; view_range shows others]"
    assert (
        await do(tool, "view", f"{folder}/f", view_range=[4999, 9999])
        == "  4999\t4999\n  5000\t5000"
    )


async def test_a_folder_is_shown_two_levels_deep(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    await client.execute(
        f"cd {folder} && mkdir -p a/b/c .git/x node_modules/m 'with blank' && touch a/b/c/deep "
        "a/f .hidden top 'with blank/new\nline'"
    )
    await client.execute(f"ln -s {folder} {folder}/link")

    assert (await do(tool, "view", folder)).splitlines() == [
        f"{folder}/", "  a/", "  a/b/", "  a/f", "  link", "  top", "  with blank/",
        "  with blank/new", "line",
    ]  # fmt: skip
    assert "  top" in await do(tool, "view", f"{folder}/link/")
    await client.execute(f"cd {folder}/a/b && touch $(seq 900)")
    lines = (await do(tool, "view", f"{folder}/a/b")).splitlines()
    assert (len(lines), lines[-1]) == (501, "[more is left out; view a folder inside it]")


async def test_pictures_are_shown_and_large_ones_made_smaller(
    tool: EditTool, client: SSHClient, folder: str
) -> None:
    pillow = need_module("PIL.Image")
    data = io.BytesIO()
    pillow.new("RGB", (6, 4), "red").save(data, "PNG")
    await client.write_bytes(f"{folder}/small", data.getvalue())
    (block,) = (await tool.call({"command": "view", "path": f"{folder}/small"})).content
    assert isinstance(block, ImageContent)
    assert (block.mimeType, base64.b64decode(block.data)) == ("image/png", data.getvalue())

    data = io.BytesIO()
    pillow.new("RGB", (8000, 400), "red").save(data, "JPEG")
    await client.write_bytes(f"{folder}/large", data.getvalue())
    reader = ReadFileTool(client, context(client))
    (block,) = (await reader.call({"path": f"{folder}/large"})).content
    assert isinstance(block, ImageContent)
    assert pillow.open(io.BytesIO(base64.b64decode(block.data))).size == (2000, 100)

    await client.write_bytes(f"{folder}/broken", data.getvalue()[:300])
    with pytest.raises(ToolError, match="the picture cannot be shown"):
        await do(tool, "view", f"{folder}/broken")


async def test_a_file_is_read_by_lines(client: SSHClient, folder: str) -> None:
    reader = ReadFileTool(client, context(client))
    await client.write_text(f"{folder}/f", "a\nb\nc\n")
    assert (
        text(await reader.call({"path": f"{folder}/f", "start_line": 2})) == "     2\tb\n     3\tc"
    )
    assert text(await reader.call({"path": f"{folder}/f", "end_line": 1})) == "     1\ta"


async def test_a_connection_that_is_gone_is_a_fault(tool: EditTool, client: SSHClient) -> None:
    await client.close()
    for command in ({"command": "view"}, {"command": "create", "file_text": ""}):
        with pytest.raises(CapabilityFault):
            await tool.call({"path": "f", **command})
