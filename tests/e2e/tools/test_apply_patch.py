"""Patches on files of a served workspace and of a daemon started by hand."""

from __future__ import annotations

from typing import Any

import pytest

from hud.agents.tools.apply_patch import ApplyPatchTool, OpenAIApplyPatchTool
from hud.agents.tools.base import ToolError
from hud.capabilities import SSHClient
from hud.errors import CapabilityFault
from tests.e2e.tools.places import context, text


@pytest.fixture
def tool(client: SSHClient) -> ApplyPatchTool:
    return ApplyPatchTool(client, context(client))


async def apply(tool: ApplyPatchTool, *lines: str) -> str:
    patch = "\n".join(["*** Begin Patch", *lines, "*** End Patch"])
    return text(await tool.call({"patch": patch}))


async def tree(client: SSHClient, folder: str) -> dict[str, str]:
    """Return the content of every file under a folder."""
    found = await client.execute(f"cd {folder} && find . -type f -print0 | sort -z")
    names = [name[2:] for name in found.stdout.split("\0") if name]
    return {name: await client.read_text(f"{folder}/{name}") for name in names}


async def test_a_patch_creates_updates_moves_and_deletes(
    tool: ApplyPatchTool, client: SSHClient, folder: str
) -> None:
    for name in ("changed", "moved", "gone", "only"):
        await client.write_text(f"{folder}/{name}", f"one {name}\ntwo\nthree\n")
    await client.execute(f"chmod 755 {folder}/moved")

    said = await apply(
        tool,
        f"*** Add File: {folder}/new/er/file", "+first", "+", "+last",
        f"*** Update File: {folder}/changed", "@@", " one changed", "-two", "+2", "+2.5",
        f"*** Update File: {folder}/moved", f"*** Move to: {folder}/to/there", "@@ two", "-three",
        f"*** Update File: {folder}/only", f"*** Move to: {folder}/renamed",
        f"*** Delete File: {folder}/gone",
    )  # fmt: skip

    assert said.splitlines() == [
        f"A {folder}/new/er/file",
        f"M {folder}/changed",
        f"R {folder}/moved -> {folder}/to/there",
        f"R {folder}/only -> {folder}/renamed",
        f"D {folder}/gone",
    ]
    assert await tree(client, folder) == {
        "changed": "one changed\n2\n2.5\nthree\n",
        "new/er/file": "first\n\nlast\n",
        "renamed": "one only\ntwo\nthree\n",
        "to/there": "one moved\ntwo\n",
    }
    assert (await client.execute(f"stat -c %a {folder}/to/there")).stdout == "755\n"


async def test_the_changes_of_a_patch_build_on_each_other(
    tool: ApplyPatchTool, client: SSHClient, folder: str
) -> None:
    await client.write_text(f"{folder}/f", "a\nb\n")
    await apply(
        tool,
        f"*** Update File: {folder}/f", "@@", "-a", "+A",
        f"*** Update File: {folder}/./f", f"*** Move to: {folder}/g", "@@", "-b", "+B",
        f"*** Add File: {folder}/f", "+anew",
        f"*** Update File: {folder}/g", "@@", " B", "+C",
        f"*** Add File: {folder}/x", "+x",
        f"*** Delete File: {folder}/x",
    )  # fmt: skip
    assert await tree(client, folder) == {"f": "anew\n", "g": "A\nB\nC\n"}


@pytest.mark.parametrize(
    ("last", "says"),
    [
        (["*** Update File: {}/f", "@@", "-nope", "+x"], "hunk 1 of 1 does not apply to .*'nope'"),
        (["*** Update File: {}/f", "@@ nope", "+x"], "no line of it is 'nope'"),
        (["*** Update File: {}/none", "@@", "-a", "+x"], "there is no '.*/none' to update"),
        (["*** Delete File: {}/none"], "there is no '.*/none' to delete"),
        (["*** Delete File: {}"], "is a folder"),
        (["*** Add File: {}/f", "+x"], "is there already"),
        (["*** Update File: {}/f", "*** Move to: {}/g"], "cannot be moved: .*/g' is there"),
        (["*** Add File: /proc/nowhere/x", "+x"], "nothing of the patch was applied"),
        (["*** Add File: {}/f/x", "+x"], "nothing of the patch was applied"),
        (["*** Add File: {}/f2", "x"], "must begin with '\\+'"),
        (["*** Rename File: {}/f"], "begins with none of|section begins with"),
    ],
)
async def test_a_patch_that_fails_anywhere_changes_nothing(
    tool: ApplyPatchTool, client: SSHClient, folder: str, last: list[str], says: str
) -> None:
    await client.write_text(f"{folder}/f", "a\nb\n")
    await client.write_text(f"{folder}/g", "g\n")
    await client.write_text(f"{folder}/h", "h\n")
    before = await tree(client, folder)

    with pytest.raises(ToolError, match=says):
        await apply(
            tool,
            f"*** Add File: {folder}/new", "+x",
            f"*** Update File: {folder}/f", "@@", "-a", "+A",
            f"*** Update File: {folder}/h", f"*** Move to: {folder}/i", "@@", "-h", "+H",
            *(line.format(folder) for line in last),
        )  # fmt: skip

    assert await tree(client, folder) == before


async def test_line_ends_and_bytes_that_are_no_utf8_survive(
    tool: ApplyPatchTool, client: SSHClient, folder: str
) -> None:
    await client.write_bytes(f"{folder}/f", b"caf\xe9\r\nb\r\nlast")
    await apply(tool, f"*** Update File: {folder}/f", "@@", "-b", "+B", "+C")
    assert await client.read_bytes(f"{folder}/f") == b"caf\xe9\r\nB\r\nC\r\nlast"

    with pytest.raises(ToolError, match="two encodings"):
        await apply(tool, f"*** Update File: {folder}/f", "@@", "-B", "+ü")
    await client.write_bytes(f"{folder}/bin", b"a\0b\n")
    with pytest.raises(ToolError, match="is binary"):
        await apply(tool, f"*** Update File: {folder}/bin", "@@", "-a", "+b")


async def test_the_operations_of_the_responses_api(client: SSHClient, folder: str) -> None:
    tool = OpenAIApplyPatchTool(client, context(client))
    path = f"{folder}/f.py"

    async def do(kind: str, diff: str | None = None) -> str:
        arguments: dict[str, Any] = {"type": kind, "path": path}
        return text(await tool.call(arguments if diff is None else {**arguments, "diff": diff}))

    assert await do("create_file", "+def f():\n+    return 1\n") == f"A {path}"
    assert await do("update_file", "@@ def f():\n-    return 1\n+    return 2\n") == f"M {path}"
    assert await client.read_text(path) == "def f():\n    return 2\n"
    with pytest.raises(ToolError, match="there already"):
        await do("create_file", "+x")
    with pytest.raises(ToolError, match="the diff is empty"):
        await do("update_file", "")
    with pytest.raises(ToolError, match="there is no operation 'move_file'"):
        await do("move_file", "")
    assert await do("delete_file") == f"D {path}"
    assert await client.listdir(folder) == []


async def test_a_connection_that_is_gone_is_a_fault(
    tool: ApplyPatchTool, client: SSHClient
) -> None:
    await client.close()
    with pytest.raises(CapabilityFault):
        await apply(tool, "*** Add File: f", "+x")
