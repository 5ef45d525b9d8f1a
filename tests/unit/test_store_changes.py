"""What changes in a store is heard of by whoever listens, across processes too."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from hud.store import ANYTHING, Change, JobRow, StepRow, open_store

JOB = "0c" * 16


async def test_what_another_process_records_is_heard_of(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    program = (
        "import sys, pathlib\n"
        "from hud.store import JobRow, open_store\n"
        "store = open_store(pathlib.Path(sys.argv[1]))\n"
        f"store.put(JobRow(id='{JOB}', created_at=1))\n"
        "store.close()\n"
    )
    async with store.watch() as changes:
        assert await anext(changes) == ANYTHING
        async with asyncio.timeout(60):
            await _run(program, tmp_path)
            while not store.list_jobs():
                assert await anext(changes) == ANYTHING
    store.close()


async def test_a_listener_that_is_slow_hears_less_exactly(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    async with store.watch() as changes:
        assert await anext(changes) == ANYTHING
        for number in range(3_000):
            store.put(StepRow(run_id=f"{number:032x}", seq=1, payload=b"{}"))
        await store.committed()
        heard = [await anext(changes) for _ in range(1)]
        assert heard == [ANYTHING]
    store.close()


async def test_listeners_on_several_loops_hear_of_one_commit(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    async def hear() -> Change:
        async with store.watch() as changes:
            async with asyncio.timeout(60):
                assert await anext(changes) == ANYTHING
                store.put(JobRow(id=JOB, created_at=1))
                async for change in changes:
                    if change != ANYTHING:
                        return change
        raise AssertionError

    heard = await asyncio.gather(*[asyncio.to_thread(asyncio.run, hear()) for _ in range(3)])
    assert heard == [Change("local", JOB)] * 3
    store.close()


async def _run(program: str, home: Path) -> None:
    def run() -> None:
        subprocess.run([sys.executable, "-c", program, str(home)], timeout=60, check=True)

    await asyncio.to_thread(run)
