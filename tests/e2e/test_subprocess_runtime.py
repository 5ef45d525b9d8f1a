"""What `SubprocessRuntime` promises a rollout: a fresh process, its own state, hooks, speed."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from hud._core.errors import EnvironmentFault, InputError, RuntimeFault
from hud.environment import Environment
from hud.environment.runtime_config import RuntimeConfig
from hud.runtimes.subprocess import SubprocessRuntime
from hud.testing.check_provider import check_provider
from tests.e2e.placed import (
    MARK,
    SOURCES,
    marked,
    prompt_of,
    score_of,
    started,
    task,
    until_dead,
    until_gone,
)

QA = SOURCES / "qa.py"
ASK = task("qa", "ask", number=3)
TEMPLATE = dedent("""
    from hud.environment import Environment

    env = Environment(name="made")

    @env.template()
    async def ask():
        answer = yield "say yes"
        yield 1.0 if answer == "yes" else 0.0
""")
MADE = task("made", "ask")


@pytest.fixture(autouse=True)
async def mark(monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[str]:
    """Mark every process of a test, and see at its end that none is left."""
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    yield value
    await until_gone(value)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    monkeypatch.setenv("HUD_TEST_LOG", str(path))
    return path


def write(folder: Path, before: str, name: str = "made.py") -> Path:
    path = folder / name
    path.write_text(dedent(before) + TEMPLATE)
    return path


def words(log: Path, pid: str | None = None) -> list[str]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return [line[0] for line in lines if pid is None or line[-1] == pid]


async def test_a_rollout_is_graded_in_a_process_of_its_own() -> None:
    async with SubprocessRuntime(QA) as runtime:
        assert await score_of(runtime, ASK, "4") == 1.0
        assert await score_of(runtime, ASK, "5") == 0.0
        assert runtime.fresh_reason is None


async def test_without_a_scope_a_call_opens_one_for_itself(mark: str) -> None:
    runtime = SubprocessRuntime(QA)
    assert await score_of(runtime, ASK, "4") == 1.0
    assert runtime.parent_pid is None
    await until_gone(mark)


async def test_a_fresh_interpreter_grades_as_a_fork_does() -> None:
    async with SubprocessRuntime(QA, fresh=True) as runtime:
        assert await score_of(runtime, ASK, "4") == 1.0
        assert runtime.fresh_reason


@pytest.mark.parametrize("fresh", [None, True])
async def test_the_runtime_keeps_the_provider_contract(tmp_path: Path, fresh: bool | None) -> None:
    failing = write(tmp_path, "")
    failing.write_text(
        failing.read_text()
        + "\n@env.initialize\nasync def broken():\n    raise RuntimeError('no database')\n"
    )
    await check_provider(
        SubprocessRuntime(QA, fresh=fresh),
        ASK,
        broken=SubprocessRuntime(failing, fresh=fresh),
        parallel=3,
    )


async def test_module_globals_are_not_shared_between_rollouts() -> None:
    row = task("faulty", "count")
    async with SubprocessRuntime(SOURCES / "faulty.py") as runtime:
        prompts = await asyncio.gather(*(prompt_of(runtime, row) for _ in range(8)))
    pids = {prompt.split()[0] for prompt in prompts}
    assert len(pids) == 8
    assert {prompt.split()[1] for prompt in prompts} == {"1"}
    assert str(os.getpid()) not in pids


@pytest.mark.parametrize("fresh", [None, True])
async def test_two_rollouts_never_draw_the_same_random_numbers(
    tmp_path: Path, fresh: bool | None
) -> None:
    pytest.importorskip("numpy")
    source = tmp_path / "faulty.py"
    seeds = "import random, numpy\nrandom.seed(7)\nnumpy.random.seed(7)\n"
    source.write_text(seeds + (SOURCES / "faulty.py").read_text())
    async with SubprocessRuntime(source, fresh=fresh) as runtime:
        row = task("faulty", "draw")
        prompts = await asyncio.gather(*(prompt_of(runtime, row) for _ in range(6)))
    drawn = [prompt.split() for prompt in prompts]
    assert all(len(numbers) == 2 for numbers in drawn)
    assert len({number for numbers in drawn for number in numbers}) == 12
    if fresh is None:
        assert runtime.fresh_reason is None, "numpy's idle threads must not prevent a fork"


async def test_torch_is_reseeded_in_every_rollout(torch_python: Path, tmp_path: Path) -> None:
    source = tmp_path / "made.py"
    source.write_text(
        "import torch\ntorch.manual_seed(7)\n"
        + TEMPLATE.replace('"say yes"', "str(float(torch.rand(1)))")
    )
    program = dedent(f"""
        import asyncio
        from hud.runtimes.subprocess import SubprocessRuntime
        from tests.e2e.placed import prompt_of, task

        async def main():
            async with SubprocessRuntime({str(source)!r}) as runtime:
                row = task("made", "ask")
                print(*[await prompt_of(runtime, row) for _ in range(3)])

        asyncio.run(main())
    """)
    done = await asyncio.to_thread(
        subprocess.run,
        [str(torch_python), "-c", program],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 3


@pytest.mark.parametrize("fresh", [None, True])
async def test_hooks_and_seeds_run_in_every_rollout(log: Path, fresh: bool | None) -> None:
    row = task("hooks", "hold")
    async with SubprocessRuntime(SOURCES / "hooks.py", fresh=fresh) as runtime:
        pids = [await prompt_of(runtime, row) for _ in range(2)]
        assert words(log).count("import") == (2 if fresh else 1)
        for pid in pids:
            seen = [word for word in words(log, pid) if word != "import"]
            assert seen == ["seed", "initialize", "closed", "shutdown"]
    seeds = [line.split()[1] for line in log.read_text().splitlines() if line.startswith("seed")]
    assert len(set(seeds)) == 2


async def test_a_task_left_suspended_is_closed_before_the_shutdown_hooks(log: Path) -> None:
    async with SubprocessRuntime(SOURCES / "hooks.py") as runtime:
        async with started(runtime, task("hooks", "hold")) as (_, client, pid):
            await client.close()
        assert words(log, pid)[-2:] == ["closed", "shutdown"]


async def test_a_terminated_process_still_runs_its_shutdown_hooks(log: Path) -> None:
    async with (
        SubprocessRuntime(SOURCES / "hooks.py") as runtime,
        started(runtime, task("hooks", "hold")) as (_, client, pid),
    ):
        os.kill(int(pid), signal.SIGTERM)
        await client.lost
        await until_dead(int(pid))
        assert words(log, pid)[-2:] == ["closed", "shutdown"]


async def test_a_failing_initialize_hook_is_named_by_the_acquire(tmp_path: Path) -> None:
    source = write(tmp_path, "")
    source.write_text(
        source.read_text()
        + "\n@env.initialize\nasync def connect_db():\n    raise RuntimeError('no database')\n"
    )
    async with SubprocessRuntime(source) as runtime:
        with pytest.raises(EnvironmentFault, match=r"connect_db.*no database"):
            async with runtime(MADE):
                pass


async def test_a_hanging_initialize_hook_ends_with_the_ready_timeout(tmp_path: Path) -> None:
    source = write(tmp_path, "import asyncio\n")
    source.write_text(
        source.read_text() + "\n@env.initialize\nasync def hang():\n    await asyncio.sleep(1000)\n"
    )
    async with SubprocessRuntime(source, ready_timeout=2.0) as runtime:
        with pytest.raises(EnvironmentFault, match="not ready within 2 s"):
            async with runtime(MADE):
                pass


async def test_a_row_chooses_among_the_environments_of_a_source() -> None:
    async with SubprocessRuntime(SOURCES / "two.py") as runtime:
        assert await prompt_of(runtime, task("first", "who")) == "first"
        assert await prompt_of(runtime, task("second", "who")) == "second"
        with pytest.raises(InputError, match="no environment 'third'"):
            await prompt_of(runtime, task("third", "who"))


async def test_env_decides_whatever_the_row_says() -> None:
    async with SubprocessRuntime(SOURCES / "two.py", env="second") as runtime:
        assert await prompt_of(runtime, task("first", "who")) == "second"
    async with SubprocessRuntime(f"{SOURCES / 'two.py'}:first") as runtime:
        assert await prompt_of(runtime, task("second", "who")) == "first"


async def test_a_live_environment_is_found_by_the_file_it_was_written_in() -> None:
    from hud.environment import load_environment

    env = load_environment(QA)
    async with SubprocessRuntime(env) as runtime:
        assert await score_of(runtime, ASK, "4") == 1.0
    with pytest.raises(InputError, match="no source file"):
        async with SubprocessRuntime(Environment("empty")):
            pass


async def test_a_row_with_a_runtime_config_is_refused() -> None:
    row = task("qa", "ask").model_copy(update={"runtime_config": RuntimeConfig()})
    with pytest.raises(InputError, match="runtime_config"):
        async with SubprocessRuntime(QA)(row):
            pass


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = = 1\n", r"broken\.py line 1"),
        ("x = 1\nraise ValueError('bad')\n", r"broken\.py line 2 raised ValueError: bad"),
        ("import sys\nsys.exit(4)\n", r"broken\.py line 2 raised SystemExit"),
        ("x = 1\n", "declares no Environment"),
    ],
)
async def test_a_source_that_cannot_be_used_is_bad_input(
    tmp_path: Path, text: str, says: str
) -> None:
    source = tmp_path / "broken.py"
    source.write_text(text)
    for fresh in (None, True):
        async with SubprocessRuntime(source, fresh=fresh) as runtime:
            for _ in range(2):
                with pytest.raises(InputError, match=says):
                    async with runtime(MADE):
                        pass


async def test_a_missing_source_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        async with SubprocessRuntime(tmp_path / "none.py"):
            pass


async def test_modules_beside_the_source_can_be_imported_inside_a_task(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'found'\n")
    source = tmp_path / "made.py"
    source.write_text(
        TEMPLATE.replace('answer = yield "say yes"', "import beside; answer = yield beside.WORD")
    )
    async with SubprocessRuntime(source) as runtime:
        assert await prompt_of(runtime, MADE) == "found"


THREADS = """
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(2)
    list(pool.map(abs, range(8)))
"""


async def test_threads_at_import_mean_fresh_interpreters_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(tmp_path, THREADS)
    runtime = SubprocessRuntime(source)
    with caplog.at_level(logging.WARNING, "hud"):
        for _ in range(2):
            async with runtime:
                assert await score_of(runtime, MADE, "yes") == 1.0
    assert runtime.fresh_reason is not None and "thread" in runtime.fresh_reason
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert warnings[0].startswith("made.py started ") and "fresh interpreter" in warnings[0]


async def test_fresh_false_refuses_what_cannot_be_forked(tmp_path: Path) -> None:
    async with SubprocessRuntime(write(tmp_path, THREADS), fresh=False) as runtime:
        with pytest.raises(RuntimeFault, match=r"made\.py started .* cannot be forked"):
            await score_of(runtime, MADE, "yes")


async def test_an_event_loop_at_import_is_no_hindrance(tmp_path: Path) -> None:
    source = write(
        tmp_path,
        """
        import asyncio
        async def prepare():
            await asyncio.sleep(0)
            return 1
        asyncio.run(prepare())
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(prepare())
        """,
    )
    async with SubprocessRuntime(source) as runtime:
        scores = [score_of(runtime, MADE, "yes") for _ in range(3)]
        assert await asyncio.gather(*scores) == [1.0, 1.0, 1.0]
        assert runtime.fresh_reason is None


async def test_an_open_sqlite_file_means_fresh_interpreters(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    with sqlite3.connect(path) as database:
        database.execute("create table held (x)")
    database.close()
    source = write(tmp_path, f"import sqlite3\nheld = sqlite3.connect({str(path)!r})\n")
    async with SubprocessRuntime(source) as runtime:
        assert await score_of(runtime, MADE, "yes") == 1.0
        assert runtime.fresh_reason is not None and "held.db" in runtime.fresh_reason


async def test_sqlite_in_memory_is_forked(tmp_path: Path) -> None:
    source = write(tmp_path, "import sqlite3\nheld = sqlite3.connect(':memory:')\n")
    async with SubprocessRuntime(source, fresh=False) as runtime:
        assert await score_of(runtime, MADE, "yes") == 1.0


async def test_a_connection_left_open_means_fresh_interpreters(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        source = write(tmp_path, f"import socket\nheld = socket.create_connection({address!r})\n")
        async with SubprocessRuntime(source) as runtime:
            assert await score_of(runtime, MADE, "yes") == 1.0
    assert runtime.fresh_reason is not None and str(address[1]) in runtime.fresh_reason


async def test_ten_megabytes_printed_at_import_do_no_harm(tmp_path: Path) -> None:
    loud = "import sys\nprint('x' * 5_000_000)\nsys.stderr.write('y' * 5_000_000)\n"
    source = write(tmp_path, loud)
    for fresh in (None, True):
        async with SubprocessRuntime(source, fresh=fresh) as runtime:
            assert await score_of(runtime, MADE, "yes") == 1.0


async def test_a_helper_started_at_import_serves_every_rollout_and_ends_with_them(
    tmp_path: Path, mark: str
) -> None:
    source = write(
        tmp_path,
        """
        import subprocess
        helper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        """,
    )
    source.write_text(source.read_text().replace('"say yes"', 'f"{helper.pid} {helper.poll()}"'))
    async with SubprocessRuntime(source) as runtime:
        first = await prompt_of(runtime, MADE)
        second = await prompt_of(runtime, MADE)
        assert first == second
        assert int(first.split()[0]) in marked(mark)


async def test_a_long_temporary_folder_does_not_break_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert await score_of(SubprocessRuntime(QA), ASK, "4") == 1.0
    assert not list(deep.iterdir())


def test_a_ready_timeout_must_be_positive() -> None:
    bad: Any = (0, -1, float("nan"))
    for value in bad:
        with pytest.raises(ValueError, match="ready_timeout"):
            SubprocessRuntime(QA, ready_timeout=value)
