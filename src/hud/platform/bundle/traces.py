"""One run as files: its head with its first steps, and further pieces to be loaded when looked at.

A run of a few steps is one file. Of a long one, `kinds.json` says which kind every step is, and
each piece holds some consecutive steps with their lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hud._core import json
from hud.platform.bundle.folder import Folder
from hud.platform.bundle.media import Media
from hud.platform.reading.outline import KINDS, kinds_of, line_of, number_runs
from hud.platform.reading.shapes import RunDetail
from hud.platform.reading.steps import every_step, step_data
from hud.store import RunRecord, StepRecord, Store

PIECE_STEPS = 200
PIECE_BYTES = 256 * 1024


def write_trace(folder: Folder, store: Store, run: RunRecord, media: Media) -> int:
    """Write a run with everything it refers to; return how many steps it has."""
    seqs: list[int] = []
    letters: list[str] = []
    marks: list[str] = []
    pieces: list[list[int]] = []
    first: dict[str, Any] = {"lines": [], "steps": []}
    for steps in _pieces(store, run):
        lines = [line_of(step) for step in steps]
        some_letters, some_marks = kinds_of(lines)
        letters.append(some_letters)
        marks.append(some_marks)
        seqs += [step.seq for step in steps]
        piece = {
            "lines": [line.model_dump(exclude_defaults=True) for line in lines],
            "steps": [step_data(step) for step in steps],
        }
        for step in steps:
            media.copy_from(step.payload)
        if pieces:
            folder.write_json(f"data/traces/{run.id}/{len(pieces)}.json", piece)
        else:
            first = piece
        pieces.append([steps[0].seq, steps[-1].seq, len(steps)])
    kinds = {
        "names": list(KINDS),
        "runs": number_runs(seqs),
        "kinds": "".join(letters),
        "marks": "".join(marks),
        "offset": 0,
        "total": len(seqs),
    }
    is_long = len(pieces) > 1
    if is_long:
        folder.write_json(f"data/traces/{run.id}/kinds.json", kinds)
    detail = RunDetail.of(run).model_dump(mode="json")
    media.copy_from(json.encode(detail))
    head = {"run": detail, "pieces": pieces, "kinds": None if is_long else kinds, "first": first}
    folder.write_json(f"data/traces/{run.id}.json", head)
    return len(seqs)


def _pieces(store: Store, run: RunRecord) -> Iterator[list[StepRecord]]:
    held: list[StepRecord] = []
    size = 0
    for step in every_step(store, run, resolve=False):
        if held and (len(held) == PIECE_STEPS or size + len(step.payload) > PIECE_BYTES):
            yield held
            held, size = [], 0
        held.append(step)
        size += len(step.payload)
    if held:
        yield held
