"""What `hud view --bundle` does: find the job, write it, say how to look at it."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

from hud._core.errors import InputError, bounded
from hud._core.paths import hud_home, make_home
from hud.cli import streams
from hud.cli.bar import bar
from hud.cli.recorded import required_store
from hud.cli.render import count
from hud.platform.bundle import Bundle, write_bundle
from hud.platform.config import PlatformConfig
from hud.platform.services import Services
from hud.store import JobRecord, Store

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def write(what: str | None, folder: Path, *, as_json: bool) -> None:
    """Write the job `what` to a folder.

    Raises:
        InputError: when there is no such job, or the folder cannot be used.
        StoreError: when the store cannot be used.
    """
    if what is None:
        raise InputError(
            "--bundle needs to know which job",
            hint="hud view --bundle DIR JOB; hud jobs lists them",
        )
    with contextlib.closing(required_store(what, "job")) as store:
        job = _job(store, what)
        total = store.summarise(job).counts.attempts
    config = PlatformConfig(home=make_home(hud_home(create=False)))
    with (
        contextlib.closing(Services.open(config)) as services,
        bar("writing runs", total) as told,
    ):
        bundle = write_bundle(services, job, folder, told=told)
    _say(bundle, job, as_json=as_json)


def _job(store: Store, what: str) -> JobRecord:
    try:
        return store.find_job(what)
    except InputError as error:
        try:
            run = store.find_run(what)
        except InputError:
            raise error from None
    raise InputError(
        f"{bounded(what)} is a run, and a bundle holds a job",
        hint=f"hud view --bundle DIR {run.job_id[:8]} writes the job it is in",
    )


def _say(bundle: Bundle, job: JobRecord, *, as_json: bool) -> None:
    if as_json:
        streams.write_json(
            {
                "folder": str(bundle.folder),
                "job_id": job.id,
                "runs": bundle.runs,
                "steps": bundle.steps,
                "media": bundle.media,
                "size_bytes": bundle.size_bytes,
            }
        )
        return
    streams.write(str(bundle.folder))
    held = ", ".join(
        (
            count(bundle.runs, "run"),
            count(bundle.steps, "step"),
            count(bundle.media, "picture or long text", "pictures and long texts"),
            _size(bundle.size_bytes),
        )
    )
    streams.note(held)
    if job.status == "running":
        streams.note("the job is still running: this is how it stands now")
    streams.note(f"to look at it here: python3 -m http.server -d {shlex.quote(str(bundle.folder))}")


def _size(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"
