"""From an empty folder to a checked, graded, traced eval, with the real `hud`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hud
from tests.e2e.hud_command import PREFIX, Shell

COMMANDS = ["init", "check", "eval", "jobs", "trace", "serve", "set", "version", "task"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def letters(shell: Shell) -> Shell:
    """A shell in a folder that `hud init` filled."""
    assert shell("init").code == 0
    return shell


def test_init_writes_an_environment_that_check_and_eval_accept(shell: Shell) -> None:
    made = shell("init", "letters")
    assert made.code == 0
    names = ("env.py", "tasks.py", "pyproject.toml", "Dockerfile.hud")
    assert made.out.splitlines() == [f"letters/{name}" for name in names]

    checked = shell("check", "letters")
    assert checked.code == 0, checked.err
    assert "FAIL" not in checked.out

    best = shell("eval", "letters", "oracle", "--all", "--group", "2", "--json")
    assert best.code == 0, best.err
    assert (best.data["mean"], best.data["graded"], best.data["total"]) == (1.0, 10, 10)

    idle = shell("eval", "letters", "noop", "--all", "--json")
    assert idle.code == 0
    assert idle.data["mean"] == 0.0


def test_init_replaces_nothing_unless_forced(letters: Shell) -> None:
    letters.write("env.py", "mine = True\n")
    refused = letters("init")
    assert refused.code == 2
    assert "--force" in refused.err
    assert (letters.folder / "env.py").read_text() == "mine = True\n"
    assert letters("init", "--force").code == 0
    assert "count_letter" in (letters.folder / "env.py").read_text()


def test_a_dry_run_touches_nothing(letters: Shell) -> None:
    planned = letters("init", "other", "--dry-run", "--json")
    assert planned.data["dry_run"] is True
    assert not (letters.folder / "other").exists()

    shown = letters("eval", "tasks.py", "oracle", "--all", "--dry-run")
    assert shown.code == 0
    assert "count_letter" in shown.out
    assert "nothing was run" in shown.err
    assert not letters.home.exists()


def test_eval_runs_one_task_and_says_so_unless_told_otherwise(letters: Shell) -> None:
    one = letters("eval", "tasks.py", "oracle", "--runtime", "local", "--json")
    assert one.data["total"] == 1
    assert "running 1 of 5 tasks" in one.err
    assert one.data["interval_95"] is None, "one task gives no interval"

    every = letters("eval", "tasks.py", "oracle", "--runtime", "local", "--full", "--json")
    assert every.data["total"] == 5

    slugs = [task["slug"] for task in every.data["tasks"]]
    some = letters(
        "eval", "oracle", "--runtime", "local", "--json", "--task-ids", f"{slugs[3]}, {slugs[1]}"
    )
    assert [task["slug"] for task in some.data["tasks"]] == [slugs[1], slugs[3]]

    by_template = letters(
        "eval", "oracle", "--runtime", "local", "--json", "--task-ids", "count_letter"
    )
    assert by_template.data["total"] == 5


def test_the_results_table_says_what_the_job_says(letters: Shell) -> None:
    ran = letters("eval", "tasks.py", "oracle", "--all", "--group", "2", "--runtime", "local")
    assert ran.code == 0
    header, first = ran.out.splitlines()[:2]
    assert header.split() == ["TASK", "GRADED", "MEAN", "PASS@1", "PASS@2"]
    assert first.split()[1:] == ["2/2", "1.000", "1.000", "1.000"]
    assert "1.000 ± 0.000 (95 % interval over 5 tasks)" in ran.out
    assert "10 of 10 graded" in ran.out
    assert "hud trace " in ran.err
    assert "hud jobs " in ran.err
    assert "--resume" not in ran.err


def test_what_is_written_into_a_pipe_holds_no_control_characters(letters: Shell) -> None:
    for command in (
        ["eval", "tasks.py", "oracle", "--all", "--runtime", "local"],
        ["check", "--runtime", "local"],
        ["jobs"],
        ["eval", "--help"],
    ):
        result = letters(*command)
        text = (result.out + result.err).replace("\n", "")
        assert text.isprintable(), command


def test_failures_that_differ_in_a_number_are_one_line_with_their_other_numbers(
    shell: Shell,
) -> None:
    shell.write(
        "tasks.py",
        """
        from hud import Environment

        env = Environment(name="broken")

        @env.template()
        async def broken(row: int):
            raise ValueError(f"row {row} of table 7 has no value")
            yield

        tasks = [broken(row=row) for row in range(3)]
        """.replace("\n        ", "\n"),
    )
    ran = shell("eval", "tasks.py", "noop", "--all", "--json")
    (line,) = [line for line in ran.err.splitlines() if line.startswith("3 × ")]
    assert line.startswith("3 × environment: ")
    assert "row … of table 7 has no value" in line


def test_jobs_and_traces_show_what_was_recorded(letters: Shell) -> None:
    ran = letters("eval", "tasks.py", "oracle", "--runtime", "local", "--json").data
    job_id, trace_id = ran["job_id"], ran["runs"][0]["trace_id"]

    listed = letters("jobs", "--json").data["jobs"]
    assert [(job["id"], job["graded"], job["mean"]) for job in listed] == [(job_id, 1, 1.0)]
    assert job_id in letters("jobs", "list").out

    job = letters("jobs", "get", job_id[:12], "--json").data
    assert job["runs"][0]["trace_id"] == trace_id
    assert trace_id in letters("jobs", job_id).out

    shown = letters("trace", trace_id)
    assert shown.code == 0
    assert "How many times does 'r' occur in 'strawberry'?" in shown.out
    assert "answer: 3" in shown.out
    assert "score 1.0" in shown.out
    steps = letters("trace", "get", trace_id, "--json").data["steps"]
    assert [step["source"] for step in steps] == ["task", "user", "agent", "task"]


def test_a_store_that_does_not_exist_is_an_empty_list_and_is_not_made(shell: Shell) -> None:
    listed = shell("jobs", "--json")
    assert (listed.code, listed.data) == (0, {"jobs": []})
    assert "no job has been recorded" in shell("jobs").err
    assert shell("trace", "abc").code == 2
    assert not shell.home.exists()


def test_options_work_before_and_after_arguments(letters: Shell) -> None:
    run = letters("eval", "--json", "tasks.py", "--runtime", "local", "oracle").data
    trace_id = run["runs"][0]["trace_id"]
    for args in (["trace", trace_id, "--json"], ["trace", "--json", trace_id]):
        assert letters(*args).data["trace_id"] == trace_id
    for args in (["jobs", run["job_id"], "--json"], ["jobs", "--json", run["job_id"]]):
        assert letters(*args).data["job_id"] == run["job_id"]
    for args in (["-n", "1", "get", run["job_id"]], ["get", run["job_id"], "-n", "1"]):
        assert letters("jobs", *args).code == 0


def test_user_code_that_prints_corrupts_no_output(shell: Shell) -> None:
    shell.write(
        "tasks.py",
        """
import os, sys
from hud import Environment
env = Environment(name="loud")
print("imported")
os.write(1, b"straight to the descriptor\\n")

@env.template()
async def task():
    print("started")
    os.system("echo from a child")
    yield "prompt"
    sys.stdout.write("graded")
    yield 1

tasks = [task()]
""",
    )
    for runtime in ("local", "subprocess"):
        ran = shell("eval", "tasks.py", "noop", "--runtime", runtime, "--json")
        assert ran.code == 0, ran.err
        assert ran.data["mean"] == 1.0
    assert shell("check", "--json", "--floor", "1").data["floor"] == 1.0
    assert shell("task", "grade", "task").out == "1.0\n"


def test_rows_from_a_file_run_where_their_environment_is_defined(letters: Shell) -> None:
    listed = letters("task", "list", "--json").data["tasks"]
    rows = [{"env": row["env"], "id": row["id"], "args": row["args"]} for row in listed]
    letters.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    beside = letters("eval", "rows.jsonl", "oracle", "--all", "--runtime", "local", "--json")
    assert beside.data["mean"] == 1.0, beside.err

    elsewhere = letters.folder / "elsewhere"
    elsewhere.mkdir()
    (letters.folder / "rows.jsonl").rename(elsewhere / "rows.jsonl")
    lost = letters("eval", "elsewhere/rows.jsonl", "noop", "--runtime", "local")
    assert lost.code == 2
    assert "--source" in lost.err
    named = ["eval", "elsewhere/rows.jsonl", "oracle", "--runtime", "local", "--json"]
    assert letters(*named, "--source", "env.py").data["mean"] == 1.0


def test_a_trace_cannot_drive_the_terminal_of_its_reader(shell: Shell) -> None:
    shell.write(
        "tasks.py",
        """
from hud import Environment
env = Environment(name="hostile")

@env.template()
async def task():
    yield "look \\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e here"
    raise RuntimeError("\\x1b[31mred\\x1b[0m\\nerror: forged")

tasks = [task()]
""",
    )
    ran = shell("eval", "tasks.py", "noop", "--runtime", "local")
    job = shell("jobs", "--json").data["jobs"][0]["id"]
    trace_id = shell("jobs", job, "--json").data["runs"][0]["trace_id"]
    for result in (ran, shell("trace", trace_id), shell("jobs", job)):
        text = (result.out + result.err).replace("\n", "")
        assert text.isprintable(), repr(text)
    assert "\\x1b]0;owned\\x07" in shell("trace", trace_id).out
    raw = shell("trace", trace_id, "--json")
    assert raw.out.replace("\n", "").isprintable()
    [prompt] = [step for step in raw.data["steps"] if step["source"] == "user"]
    assert "\x1b]0;owned\x07" in prompt["messages"][0]["content"]["text"], "data is not changed"


def test_set_keeps_settings_for_the_owner_only_and_never_shows_them(shell: Shell) -> None:
    saved = shell("set", "OPENAI_API_KEY=sk-very-secret-value-000000", "HUD_X=1")
    assert saved.code == 0
    assert "very-secret" not in saved.err + saved.out
    file = shell.home / ".env"
    assert file.stat().st_mode & 0o077 == 0
    assert "OPENAI_API_KEY=" in file.read_text()
    pasted = shell("set", "sk-very-secret-value-000000")
    assert pasted.code == 2
    assert "very-secret" not in pasted.err


def test_version_is_the_packages_own(shell: Shell) -> None:
    assert shell("version").out.strip() == hud.__version__
    assert shell("--version").out.strip() == hud.__version__
    assert shell("version", "--json").data["version"] == hud.__version__


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["task", "grade"]])
def test_every_command_explains_itself(shell: Shell, command: list[str]) -> None:
    shown = shell(*command, "--help")
    assert shown.code == 0
    assert "Usage: hud" in shown.out


def test_help_documents_the_exit_codes(shell: Shell) -> None:
    text = shell("--help").out
    for code in (0, 1, 2, 3, 130):
        assert f"{code:>3}  " in text


def test_help_loads_nothing_heavy(shell: Shell) -> None:
    script = "import sys, hud.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    heavy = {"pydantic", "rich", "sqlalchemy", "httpx", "openai", "asyncio", "msgspec", "numpy"}
    assert not loaded & heavy


def test_a_reader_that_goes_away_ends_the_command_quietly(letters: Shell) -> None:
    letters("eval", "tasks.py", "oracle", "--all", "--group", "200", "--runtime", "local")
    job = letters("jobs", "--json").data["jobs"][0]["id"]
    process = subprocess.Popen(
        [*PREFIX, "jobs", job, "--limit", "0", "--json"],
        cwd=letters.folder,
        env=letters.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_the_command_line_reference_is_what_the_commands_say(shell: Shell) -> None:
    def page() -> str:
        command = [sys.executable, "-m", "hud.cli.reference"]
        env: dict[str, Any] = shell.env
        done = subprocess.run(command, capture_output=True, check=True, env=env)
        return done.stdout.decode()

    held = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"
    assert held.read_text(encoding="utf-8") == page(), "run: python -m hud.cli.reference > docs/…"
