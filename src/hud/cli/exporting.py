"""What `hud export` reads, where it writes it, and what it says of that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from hud._core.errors import InputError, StoreError, bounded
from hud.cli import streams
from hud.cli.counting import counting
from hud.cli.recorded import required_store
from hud.cli.render import count, one_line
from hud.eval.columns import RUN_COLUMNS, Batch, Column
from hud.eval.otel_export import otel_library, span_batches, span_maker, spans_of_run
from hud.eval.reading import (
    Selection,
    run_batches,
    run_rows,
    selected_jobs,
    step_batches,
    step_columns,
)
from hud.eval.tabular import Format, format_of, whole_file, write_lines, write_table
from hud.store import JobRecord, RunRecord, Store
from hud.trace.otel_spans import Span

T = TypeVar("T")

STDOUT = "-"


def selection(
    jobs: Sequence[str] | None, taskset: str | None, all_attempts: bool, include_invalid: bool
) -> Selection:
    """Return which runs the arguments ask for."""
    return Selection(
        jobs=tuple(jobs) if jobs else None,
        taskset=taskset,
        all_attempts=all_attempts,
        include_invalid=include_invalid,
    )


def write_runs(wanted: Selection, to: str, form: Format | None, *, as_json: bool) -> None:
    """Write a row per run."""
    store = _store(wanted)
    form = form or _form_of(to)
    with counting("writing runs", _runs_in(store, wanted)) as told:
        rows = _write(to, form, RUN_COLUMNS, run_batches(store, wanted, told))
    _say(rows, "run", to, form, as_json=as_json)


def write_steps(
    wanted: Selection, to: str, form: Format | None, *, payload: bool, as_json: bool
) -> None:
    """Write a row per step."""
    store = _store(wanted)
    form = form or _form_of(to)
    runs = (row.run for row in run_rows(store, wanted))
    with counting("writing steps") as told:
        batches = step_batches(store, runs, payload=payload, told=told)
        rows = _write(to, form, step_columns(payload=payload), batches)
    _say(rows, "step", to, form, as_json=as_json)


def _store(wanted: Selection) -> Store:
    sought = (wanted.jobs or (wanted.taskset,))[0]
    return required_store(sought or "to export", "job")


def _runs_in(store: Store, wanted: Selection) -> int | None:
    """Return how many rows there will be at most; None where that is not known beforehand."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    counts = [runs for _, runs in selected_jobs(store, wanted)]
    known = [runs for runs in counts if runs is not None]
    return sum(known) if len(known) == len(counts) else None


def _form_of(to: str) -> Format:
    return "jsonl" if to == STDOUT else format_of(Path(to))


def _write(to: str, form: Format, columns: Sequence[Column], batches: Iterable[Batch]) -> int:
    if to != STDOUT:
        return write_table(Path(to), form, columns, batches)
    rows = write_lines(sys.stdout.buffer, form, columns, batches)
    sys.stdout.buffer.flush()
    return rows


def _say(rows: int, noun: str, to: str, form: Format, *, as_json: bool) -> None:
    if as_json and to != STDOUT:
        streams.write_json({f"{noun}s": rows, "to": to, "format": form})
    else:
        streams.note(one_line(f"{count(rows, noun)} written to {to}"))


def send_traces(
    ids: Sequence[str], taskset: str | None, to: str, *, content: bool, as_json: bool
) -> None:
    """Send runs as traces, or write them to a file.

    Raises:
        InputError: when it is not said which, or the address or a library is missing.
        StoreError: when the collector does not take them.
    """
    if not ids and taskset is None:
        raise InputError(
            "it is not said what to send", hint="name runs or jobs by their ids, or a --taskset"
        )
    store = required_store(ids[0] if ids else taskset or "", "run")
    maker = span_maker(content=content)
    sent: dict[str, None] = {}

    def spans() -> Iterator[Span]:
        for run, job in _runs(store, ids, taskset):
            if run.id not in sent:
                sent[run.id] = None
                yield from spans_of_run(store, run, job, maker)

    with counting("sending spans") as told:
        total = 0
        send = _to_collector if "://" in to else _to_file
        for more in send(to, span_batches(spans())):
            told(more)
            total += more
    if as_json:
        streams.write_json({"runs": len(sent), "spans": total, "to": _shown(to)})
    else:
        what = f"{count(len(sent), 'run')}, {count(total, 'span')}"
        streams.note(one_line(f"{what} sent to {_shown(to)}"))


def _runs(
    store: Store, ids: Sequence[str], taskset: str | None
) -> Iterator[tuple[RunRecord, JobRecord | None]]:
    """Yield the runs that ids name: runs, and every attempt in jobs."""
    if not ids:
        for row in run_rows(store, Selection(taskset=taskset, all_attempts=True)):
            yield row.run, row.job
        return
    for text in ids:
        run, job = _look(store.find_run, text), _look(store.find_job, text)
        match run, job:
            case RunRecord(), JobRecord():
                raise InputError(
                    f"{bounded(text)} matches both run {run.id} and job {job.id}",
                    hint="give more digits of the id",
                )
            case RunRecord(), _:
                known = _look(store.find_job, run.job_id)
                yield run, known if isinstance(known, JobRecord) else None
            case _, JobRecord():
                wanted = Selection(jobs=(job.id,), taskset=taskset, all_attempts=True)
                for row in run_rows(store, wanted):
                    yield row.run, row.job
            case InputError(), InputError():
                is_vague = "more than one" in run.message
                raise run if is_vague else _no_such(text)
            case _:
                pass


def _look(find: Callable[[str], T], text: str) -> T | InputError:
    """Return what is found, or the error that says why nothing is."""
    try:
        return find(text)
    except InputError as error:
        return error


def _no_such(text: str) -> InputError:
    return InputError(
        f"there is no run and no job {bounded(text)}", hint="`hud jobs` lists what is recorded"
    )


def _to_collector(to: str, batches: Iterable[Sequence[Span]]) -> Iterator[int]:
    library = otel_library()
    collector = library.Collector(to)
    try:
        for batch in batches:
            if not collector.send(batch):
                raise StoreError(
                    f"the collector at {_shown(to)} did not take {count(len(batch), 'span')}",
                    hint="its reason stands above; what was sent before stays there, and sending "
                    "again gives the same spans",
                )
            yield len(batch)
    finally:
        collector.close()


def _to_file(to: str, batches: Iterable[Sequence[Span]]) -> Iterator[int]:
    path = Path(to)
    if path.suffix.lower() not in (".jsonl", ".json"):
        raise InputError(
            f"{bounded(to, 200)} is neither an address nor a file that ends in .jsonl",
            hint="hud export otel ID --to http://127.0.0.1:4318, or --to traces.jsonl",
        )
    library = otel_library()
    try:
        with whole_file(path) as file:
            for batch in batches:
                file.write(library.otlp_line(batch) + b"\n")
                yield len(batch)
    except OSError as error:
        raise StoreError(
            f"{bounded(to, 300)} cannot be written: {error.strerror or error}"
        ) from error


def _shown(to: str) -> str:
    """Return an address without a password or a query that may hold a key."""
    if "://" not in to:
        return to
    parts = urlsplit(to)
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
