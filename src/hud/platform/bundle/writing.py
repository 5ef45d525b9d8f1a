"""A whole bundle: the pages, the job with its figures, every run, everything they refer to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hud._version import __version__
from hud.platform.bundle.folder import new_folder
from hud.platform.bundle.media import Media
from hud.platform.bundle.pages import write_pages
from hud.platform.bundle.traces import write_trace
from hud.platform.reading.shapes import RunItem
from hud.platform.routes.jobs import detail_of
from hud.platform.routes.scorecards import scorecard_of
from hud.platform.services import Services
from hud.store import JobRecord, RunRecord

RUNS_TOGETHER = 1000


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written.

    Attributes:
        media: Screens, films, sounds and long texts, each counted once.
        size_bytes: Of all files together.
    """

    folder: Path
    runs: int
    steps: int
    media: int
    size_bytes: int


def write_bundle(
    services: Services, job: JobRecord, target: Path, *, told: Callable[[int], None]
) -> Bundle:
    """Write a job as it is now to a folder that is not there yet, or empty; blocks.

    Args:
        told: Called with how many more runs are done.

    Raises:
        InputError: when the folder cannot be used, or the web UI is not built.
        StoreError: when the store cannot be read.
    """
    store = services.store
    runs = steps = 0
    with new_folder(target) as folder:
        write_pages(folder, job.id)
        media = Media(store, job.team, folder)
        pages = 0
        last: RunRecord | None = None
        while some := store.runs_of(job.id, after=last, limit=RUNS_TOGETHER, team=job.team):
            last = some[-1]
            items = [RunItem.of(run).model_dump(mode="json") for run in some]
            folder.write_json(f"data/runs/{pages}.json", items)
            pages += 1
            for run in some:
                steps += write_trace(folder, store, run, media)
                told(1)
            runs += len(some)
        head = {
            "version": __version__,
            "job": detail_of(services, job).model_dump(mode="json"),
            "scorecard": scorecard_of(store, job).model_dump(mode="json"),
            "runs": runs,
            "runs_together": RUNS_TOGETHER,
        }
        folder.write_json("data/job.json", head)
        size_bytes = folder.size_bytes
    return Bundle(target, runs, steps, media.count, size_bytes)
