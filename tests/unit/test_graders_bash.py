"""BashGrader on real commands: scores, output, time limits, faults and what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pytest

from hud._core.errors import GraderFault
from hud.graders import BashGrader, SubScore
from hud.graders.command import (
    OUTPUT_LIMIT_BYTES,
    CommandResult,
    CommandRunner,
    Output,
    public_environment,
)


async def run(command: str, **kwargs: Any) -> dict[str, Any]:
    node = await BashGrader.compute_score(command=command, **kwargs)
    assert node.info is not None
    return {"value": node.value, **node.info}


def survivors(marker: str) -> list[int]:
    """Return the processes with `marker` on their command line that no signal is about to end."""
    alive: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if marker.encode() in (entry / "cmdline").read_bytes():
                    pid = int(entry.name)
                    exited = os.pidfd_open(pid)
                    if not select.select([exited], [], [], 10.0)[0]:
                        alive.append(pid)
                    os.close(exited)
    return alive


async def test_exit_code_0_scores_1_and_every_other_0() -> None:
    assert await run("echo out; echo err >&2") == {
        "value": 1.0,
        "exit_code": 0,
        "stdout": "out\n",
        "stderr": "err\n",
    }
    assert (await run("exit 3"))["exit_code"] == 3
    assert (await run("exit 3"))["value"] == 0.0
    assert (await run("no-such-command-here"))["exit_code"] == 127


async def test_a_command_killed_by_a_signal_scores_0() -> None:
    result = await run("kill -TERM $$")
    assert (result["value"], result["exit_code"]) == (0.0, -signal.SIGTERM)


async def test_grading_records_the_command_under_the_given_weight_and_name() -> None:
    node = await BashGrader.grade(0.5, name="tests pass", command="true")
    assert (node.name, node.weight, node.value) == ("tests pass", 0.5, 1.0)
    assert node.info is not None
    assert node.info["_parameters"] == {"command": "true"}


async def test_the_command_is_bash_and_runs_in_the_given_directory(tmp_path: Path) -> None:
    assert (await run("[[ -n $BASH_VERSION ]] && pwd -P", cwd=tmp_path))["stdout"] == (
        f"{tmp_path.resolve()}\n"
    )


async def test_standard_input_is_empty() -> None:
    assert (await run("cat"))["value"] == 1.0


async def test_only_the_end_of_long_output_is_kept_and_the_rest_is_counted() -> None:
    result = await run("yes | head -c 1000000; printf end; printf few >&2")
    assert len(result["stdout"]) == OUTPUT_LIMIT_BYTES
    assert result["stdout"].endswith("y\nend")
    assert result["stdout_dropped_bytes"] == 1_000_003 - OUTPUT_LIMIT_BYTES
    assert result["stderr"] == "few"
    assert "stderr_dropped_bytes" not in result


async def test_bytes_that_are_no_utf8_are_shown_as_replacement_characters() -> None:
    assert (await run(r"printf '\xff ok'"))["stdout"] == "\ufffd ok"


async def test_hud_and_secret_looking_variables_are_kept_from_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "rc"
    script.write_text("echo sourced\n")
    for name in ("HUD_ANYTHING", "SOME_API_KEY", "my_token", "DB_PASSWORD_FILE", "A_SECRET_B"):
        monkeypatch.setenv(name, "hidden-value")
    monkeypatch.setenv("BASH_ENV", str(script))
    monkeypatch.setenv("VISIBLE", "plain-value")
    output = (await run("env"))["stdout"]
    assert "hidden-value" not in output
    assert "sourced" not in output
    assert "VISIBLE=plain-value" in output
    assert public_environment({"PATH": "/bin", "HUD_X": "1"}) == {"PATH": "/bin"}


async def test_a_command_that_takes_too_long_scores_0_and_leaves_nothing_behind() -> None:
    marker = f"hud-test-{uuid.uuid4()}"
    loop_forever = f"exec -a {marker} sleep 1000"
    async with asyncio.timeout(60):
        result = await run(f"({loop_forever}) & {loop_forever}", timeout_seconds=0.5)
    assert result["value"] == 0.0
    assert (result["exit_code"], result["timed_out"], result["timeout"]) == (None, True, 0.5)
    assert survivors(marker) == []


async def test_cancelling_kills_the_whole_group_and_reaps_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    marker = f"hud-test-{uuid.uuid4()}"
    command = f"(exec -a {marker} sleep 1000) & trap '' TERM; echo $$ > {ready}; wait"
    grading = asyncio.create_task(run(command))
    async with asyncio.timeout(60):
        pid = int(await asyncio.to_thread(ready.read_text))
        assert not grading.done()
        grading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await grading
    assert survivors(marker) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancel_at_any_step_of_starting_leaves_nothing_behind(steps: int) -> None:
    marker = f"hud-test-{uuid.uuid4()}"
    grading = asyncio.create_task(run(f"(exec -a {marker} sleep 1000) & sleep 1000 # {marker}"))
    for _ in range(steps):
        await asyncio.sleep(0)
    grading.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await grading
    assert survivors(marker) == []


async def test_background_processes_of_a_finished_command_are_killed() -> None:
    marker = f"hud-test-{uuid.uuid4()}"
    async with asyncio.timeout(60):
        result = await run(f"(exec -a {marker} sleep 1000) & echo started")
    assert (result["value"], result["stdout"]) == (1.0, "started\n")
    assert survivors(marker) == []


async def test_a_background_process_that_still_writes_may_finish_its_line() -> None:
    assert (await run("exec > >(cat); echo through a pipe"))["stdout"] == "through a pipe\n"


async def test_a_process_that_left_the_group_with_the_output_open_does_not_hold_the_grade() -> None:
    async with asyncio.timeout(60):
        result = await run("setsid sleep 1000 & echo $!")
    try:
        assert result["value"] == 1.0
    finally:
        os.kill(int(result["stdout"]), signal.SIGKILL)


async def test_no_file_descriptor_is_left_open() -> None:
    await run("true")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        await run("true")
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


@pytest.mark.parametrize("missing", ["nowhere", "a-file"])
async def test_a_working_directory_that_is_gone_scores_zero_and_says_so(
    tmp_path: Path, missing: str
) -> None:
    (tmp_path / "a-file").touch()
    node = await BashGrader.grade(1.0, command="true", cwd=tmp_path / missing)
    assert node.value == 0.0
    assert node.info is not None
    assert missing in node.info["error"]


async def test_a_missing_bash_is_a_fault_not_a_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GraderFault, match="bash was not found on PATH"):
        await run("true")


async def test_a_command_too_long_to_start_is_a_fault_not_a_zero() -> None:
    with pytest.raises(GraderFault, match="could not be started"):
        await run("#" * 10_000_000)


@pytest.mark.parametrize("command", [None, "", "a\0b"])
async def test_a_grader_without_a_usable_command_is_an_error(command: str | None) -> None:
    with pytest.raises(ValueError, match="needs a non-empty"):
        await BashGrader.compute_score(command=command)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
async def test_a_time_limit_that_is_not_positive_and_finite_is_an_error(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds"):
        await BashGrader.compute_score(command="true", timeout_seconds=timeout)


async def test_another_runner_can_take_the_place_of_the_process_group(tmp_path: Path) -> None:
    seen: list[tuple[str, str | None, float]] = []

    async def elsewhere(command: str, *, cwd: str | None, timeout_s: float) -> CommandResult:
        seen.append((command, cwd, timeout_s))
        return CommandResult(exit_code=0, stdout=Output("there"), stderr=Output())

    class Sandboxed(BashGrader):
        runner: ClassVar[CommandRunner] = staticmethod(elsewhere)

    node: SubScore = await Sandboxed.grade(1.0, command="make", cwd=tmp_path)
    assert seen == [("make", str(tmp_path), 600.0)]
    assert node.value == 1.0
    assert node.info is not None
    assert node.info["stdout"] == "there"
