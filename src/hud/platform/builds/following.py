"""A build's log as clients follow it: every line, from the first, and always an end.

The frames are those that existing clients read: whole milliseconds, `complete` or `error` last.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from starlette.concurrency import run_in_threadpool

from hud.platform.builds.building import Builds
from hud.platform.builds.lines import Line, read_lines
from hud.platform.builds.records import BuildRecord, BuildStatus, find_build
from hud.platform.database import Database

_TOGETHER = 500
# A build that runs here wakes those who listen; one that runs elsewhere is looked at.
_LOOK_S, _LOOK_ELSEWHERE_S = 30.0, 1.0


async def frames_of(
    database: Database, builds: Builds, team: str, build_id: str
) -> AsyncGenerator[dict[str, Any]]:
    """Yield the frames of a build until it is over, or this server ends."""
    after, told = -1, None

    def look() -> tuple[BuildRecord, list[Line]]:
        # The state first: a build that is over says nothing more.
        with database.reading() as connection:
            record = find_build(connection, team, build_id)
            lines = read_lines(connection, team, build_id, after=after, limit=_TOGETHER)
            return record, lines

    with builds.listening(build_id) as listener:
        while not listener.is_over:
            record, lines = await run_in_threadpool(look)
            if record.status is not told and not record.status.is_over:
                told = record.status
                if told in (BuildStatus.UPLOADING, BuildStatus.QUEUED):
                    yield {"type": "status", "message": "waiting for its turn"}
                else:
                    yield {"type": "status_update", "status": told.told.value}
            for line in lines:
                yield {"type": "log", "message": line.text, "timestamp": line.at // 1000}
                after = line.seq
            if len(lines) == _TOGETHER:
                continue
            if record.status.is_over:
                # What was said between the look and the end.
                record, lines = await run_in_threadpool(look)
                for line in lines:
                    yield {"type": "log", "message": line.text, "timestamp": line.at // 1000}
                yield last_frame(record)
                return
            is_here = builds.is_here(build_id)
            await listener.wait(_LOOK_S if is_here else _LOOK_ELSEWHERE_S)


def last_frame(record: BuildRecord) -> dict[str, Any]:
    """Return what ends the log of a build that is over."""
    if record.status is BuildStatus.FAILED:
        return {"type": "error", "error": record.error or "it failed"}
    said = (
        f"version {record.version} of the environment"
        if record.status is BuildStatus.SUCCEEDED
        else record.error or record.status.value.lower()
    )
    return {"type": "complete", "final_status": record.status.value, "message": said}
