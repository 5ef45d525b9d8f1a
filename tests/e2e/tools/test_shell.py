"""Shell tools in a served workspace and on a daemon started by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from hud.agents.tools.base import ToolError
from hud.agents.tools.shell import BashTool, ClaudeBashTool, OpenAIShellTool
from hud.capabilities import SSHClient
from hud.errors import CapabilityFault
from tests.e2e.tools.places import context, text


@pytest.fixture
async def bash(client: SSHClient) -> AsyncGenerator[BashTool]:
    bash = BashTool(client, context(client))
    yield bash
    await bash.close()


async def sh(tool: BashTool, command: str, **arguments: Any) -> str:
    return text(await tool.call({"command": command, **arguments}))


async def test_folder_variables_and_functions_carry_over(bash: BashTool, folder: str) -> None:
    await sh(bash, f"cd {folder} && mkdir 'in ner' && cd 'in ner'")
    await sh(bash, 'export A="two\nlines"; b="plain $"; arr=(1 "2 3"); f() { echo "f:$1"; }')

    assert await sh(bash, "pwd") == f"{folder}/in ner"
    assert await sh(bash, "printenv A; echo $b ${#arr[@]}; f x") == "two\nlines\nplain $ 2\nf:x"
    assert await sh(bash, 'cd .. && cd - >/dev/null && basename "$PWD"') == "in ner"
    assert await sh(bash, "cd ..; cd 'in ner'; cd -") == folder


async def test_a_variable_that_was_unset_stays_so(bash: BashTool) -> None:
    assert await sh(bash, "echo ${HOME:+there}") == "there"
    await sh(bash, "unset HOME")
    assert await sh(bash, "echo ${HOME-gone}") == "gone"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("echo out; exit 3", "out\n[exit code 3]"),
        ("false", "[exit code 1]"),
        ("true", "[no output]"),
        ("set -e; false; echo not", "[exit code 1]"),
        ("set -eu; echo ${nope}", "nope: unbound variable"),
        ("echo (", "syntax error"),
        ("for x in; do", "syntax error"),
        ("nosuchcommand", "line 1: nosuchcommand: command not found\n[exit code 127]"),
        ("kill -9 $$", "[killed by SIGKILL]"),
        ("kill $$", "[killed by SIGTERM]"),
        ("exec true", "[no output]"),
        ("trap 'echo bye' EXIT; echo said", "said\nbye"),
        ("PATH=; IFS=/; set -- a b", "[no output]"),
        ("export POSIXLY_CORRECT=1; umask 777; declare -r R=1", "[no output]"),
        ("cat", "[no output]"),
        ("# nothing", "[no output]"),
        ("", "[no output]"),
        ("cat <<'EOF'\n$1 'quoted' \"twice\"\nEOF", "$1 'quoted' \"twice\""),
        ("echo $# ${1-none}", "0 none"),
        ("shopt -s extglob; set -x; echo traced", "traced\n[stderr]\n"),
    ],
)
async def test_whatever_a_command_does_the_session_goes_on(
    bash: BashTool, folder: str, command: str, says: str
) -> None:
    await sh(bash, f"cd {folder}; export KEPT=yes")

    assert says in await sh(bash, command)

    assert await sh(bash, "PATH=/usr/bin:/bin; echo $KEPT; pwd") == f"yes\n{folder}"


async def test_state_is_kept_when_a_command_ends_its_shell_or_has_an_exit_trap(
    bash: BashTool,
) -> None:
    await sh(bash, "A=1; exit 4")
    await sh(bash, "trap 'echo bye' EXIT; B=2; false")
    await sh(bash, "C=3; set -e; false")

    assert await sh(bash, "echo $A $B $C") == "1 2 3"
    assert await sh(bash, "(exit 9); trap : EXIT; (exit 5)") == "[exit code 5]"


async def test_a_folder_that_is_gone_is_said(bash: BashTool, folder: str) -> None:
    await sh(bash, f"cd {folder} && mkdir gone && cd gone && rmdir ../gone")

    said = await sh(bash, 'test -d "$PWD" && echo somewhere; echo $PWD > /dev/null')

    assert said.startswith("somewhere\n[stderr]\n[the folder ")
    assert f"{folder}/gone is gone" in said
    assert await sh(bash, "echo again") == "again"


async def test_output_is_shown_by_its_kind(bash: BashTool) -> None:
    said = await sh(bash, "echo out; echo err >&2; exit 2")
    assert said == "out\n[stderr]\nerr\n[exit code 2]"
    assert await sh(bash, r"printf 'a\0b\377'") == "a\ufffdb\ufffd"


async def test_a_command_whose_time_is_up_is_killed_and_the_session_goes_on(
    client: SSHClient, folder: str
) -> None:
    bash = BashTool(client, context(client, tool_timeout_seconds=1))
    await sh(bash, f"cd {folder}; A=1")

    result = await bash.call({"command": "echo begun; B=2; sleep 600", "timeout_s": 500})

    assert result.isError
    assert text(result).startswith("begun\n[timed out: killed after 0.8 s")
    assert await sh(bash, "echo $A; pwd") == f"1\n{folder}"
    await bash.close()


async def test_a_model_may_ask_for_less_time(bash: BashTool) -> None:
    result = await bash.call({"command": "sleep 600", "timeout_s": "0.5"})
    assert text(result).startswith("[timed out: killed after 0.5 s")


async def test_what_is_started_in_the_background_lives_on(bash: BashTool, folder: str) -> None:
    await sh(bash, f"cd {folder}; (until [ -e go ]; do sleep 0.01; done; touch gone) >log 2>&1 &")
    await sh(bash, "sleep 300 & echo $! >pid")

    await sh(bash, "touch go")
    await sh(bash, "until [ -e gone ]; do sleep 0.01; done")

    assert await sh(bash, "kill $(cat pid)") == "[no output]"


async def test_a_restart_begins_with_a_fresh_shell(bash: BashTool, folder: str) -> None:
    before = await sh(bash, "pwd")
    await sh(bash, f"cd {folder}; A=1")

    assert "restarted" in text(await bash.call({"restart": True}))

    assert await sh(bash, "echo ${A-none}; pwd") == f"none\n{before}"


async def test_two_tools_have_two_shells_and_nothing_is_left_of_them(
    client: SSHClient, folder: str
) -> None:
    one, two = BashTool(client, context(client)), BashTool(client, context(client))
    await sh(one, f"cd {folder}; A=1")
    assert await sh(two, "echo ${A-none}") == "none"
    folders = f"{one.shell.folder} {two.shell.folder}"
    assert (await client.execute(f"stat -c %a {folders}")).stdout == "700\n700\n"

    await one.close()
    await two.close()

    assert (await client.execute(f"ls -d {folders}")).stdout == ""


async def test_a_command_longer_than_a_command_line_runs(bash: BashTool) -> None:
    long = "x" * 300_000
    said = await sh(bash, f"A='{long}'; echo ${{#A}} \"it's\"")
    assert said == "300000 it's"
    assert await sh(bash, "echo ${#A}") == "300000"


async def test_a_command_no_shell_takes_is_told_back(bash: BashTool) -> None:
    with pytest.raises(ToolError, match="NUL"):
        await bash.call({"command": "echo \0"})
    with pytest.raises(ToolError, match="'command' is missing"):
        await bash.call({})
    with pytest.raises(ToolError, match="'command' must be a text"):
        await bash.call({"command": ["ls"]})


async def test_a_shell_that_is_gone_is_a_fault_and_closing_it_is_not(
    client: SSHClient, bash: BashTool
) -> None:
    await client.close()

    with pytest.raises(CapabilityFault):
        await sh(bash, "true")
    with pytest.raises(CapabilityFault):
        await bash.call({"restart": True})
    await bash.close()


async def test_calls_at_once_run_one_after_another(bash: BashTool, folder: str) -> None:
    await sh(bash, f"cd {folder}")
    await asyncio.gather(*(sh(bash, "n=$((n + 1)); echo $n >>log") for _ in range(5)))
    assert await sh(bash, "cat log") == "1\n2\n3\n4\n5"


async def test_a_daemon_without_a_posix_shell_gets_no_tool(client: SSHClient) -> None:
    row = client.capability
    told = context(client)
    assert len(await ClaudeBashTool.bind(client, told)) == 1
    client.capability = replace(row, params={**row.params, "shell": "powershell"})
    try:
        assert await ClaudeBashTool.bind(client, told) == []
    finally:
        client.capability = row


async def test_the_shell_of_the_responses_api_keeps_commands_apart(client: SSHClient) -> None:
    shell = OpenAIShellTool(client, context(client))
    rest = ["kill -9 $$", "sleep 99"]

    result = await shell.call(
        {
            "commands": ["A=1; echo out; echo err >&2", "echo $A; exit 3", *rest],
            "timeout_ms": 2000,
            "max_output_length": None,
        }
    )

    assert result.structuredContent == {
        "output": [
            {"stdout": "out\n", "stderr": "err\n", "outcome": {"type": "exit", "exit_code": 0}},
            {"stdout": "1\n", "stderr": "", "outcome": {"type": "exit", "exit_code": 3}},
            {"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 137}},
            {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
        ]
    }
    assert "$ echo $A; exit 3\n1\n[exit code 3]" in text(result)
    await shell.close()


async def test_the_shell_of_the_responses_api_stays_within_its_limits(client: SSHClient) -> None:
    shell = OpenAIShellTool(client, context(client, tool_timeout_seconds=1))
    result = await shell.call({"commands": ["sleep 99", "echo never"]})
    assert result.structuredContent is not None
    slow, never = result.structuredContent["output"]
    assert slow["outcome"] == never["outcome"] == {"type": "timeout"}
    assert "not run" in never["stderr"]
    await shell.close()

    shell = OpenAIShellTool(client, context(client))
    result = await shell.call({"commands": ["seq 9999; seq 9999 >&2"], "max_output_length": 300})
    assert result.structuredContent is not None
    (output,) = result.structuredContent["output"]
    assert len(output["stdout"]) + len(output["stderr"]) <= 300
    assert output["stdout"].startswith("1\n2\n")
    assert output["stdout"].endswith("9999\n")
    with pytest.raises(ToolError, match="at least one"):
        await shell.call({"commands": []})
    await shell.close()


async def test_a_process_of_a_timed_out_command_does_not_outlive_it(
    bash: BashTool, folder: str
) -> None:
    await sh(bash, f"cd {folder}")
    await bash.call({"command": "sleep 600 & echo $! >pid; wait", "timeout_s": 1})

    async def ended() -> bool:
        return "gone" in await sh(bash, "kill -0 $(cat pid) 2>/dev/null || echo gone")

    while not await ended():
        pass
