"""How much a folder may hold: what is said when it is more, and what may stay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hud.sandbox import watch as watching
from hud.sandbox.spec import Limits
from hud.sandbox.watch import Watch

MB = 1 << 20
DEADLINE_S = 60.0


class Said:
    """What a watch has said. Each sentence wakes whoever waits for it."""

    def __init__(self) -> None:
        self.sentences: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, reason: str) -> None:
        self.sentences.put_nowait(reason)

    async def next(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return await self.sentences.get()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "INTERVAL_S", 0.01)


def fill(path: Path, size: int) -> None:
    path.write_bytes(b"x" * size)


async def test_more_bytes_than_allowed_are_noticed(tmp_path: Path) -> None:
    said = Said()
    watch = Watch(lambda: tmp_path, Limits(disk_mb=1), said, what="this folder")
    watch.start()
    try:
        fill(tmp_path / "big", 2 * MB)
        assert await said.next() == "this folder holds more than its limit of 1 MB or 1000000 files"
    finally:
        await watch.aclose()


async def test_more_files_than_allowed_are_noticed(tmp_path: Path) -> None:
    said = Said()
    watch = Watch(lambda: tmp_path, Limits(disk_files=3), said)
    watch.start()
    try:
        for number in range(5):
            fill(tmp_path / f"{number}", 1)
        assert "3 files" in await said.next()
    finally:
        await watch.aclose()


async def test_what_was_there_before_may_stay_and_no_more(tmp_path: Path) -> None:
    looks: asyncio.Queue[None] = asyncio.Queue()

    def root() -> Path:
        looks.put_nowait(None)
        return tmp_path

    said = Said()
    fill(tmp_path / "before", 3 * MB)
    watch = Watch(root, Limits(disk_mb=1), said, accepts_held=True)
    watch.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(5):
                await looks.get()
        assert said.sentences.empty()
        fill(tmp_path / "more", 3 * MB)
        assert "limit of 1 MB" in await said.next()
    finally:
        await watch.aclose()


async def test_a_folder_that_is_not_there_for_now_is_looked_at_later(tmp_path: Path) -> None:
    place: list[Path | None] = [None]
    said = Said()
    fill(tmp_path / "big", 2 * MB)
    watch = Watch(lambda: place[0], Limits(disk_mb=1), said)
    watch.start()
    try:
        place[0] = tmp_path / "missing"
        watch.look()
        place[0] = tmp_path
        assert "limit of 1 MB" in await said.next()
    finally:
        await watch.aclose()
