"""What kind of thing each step of a run is, in a line: enough to scroll, filter and jump by.

A payload comes from an agent and may hold anything: what has no sense is left out of the line, and
a step that has none at all is `unknown`. The step itself is shown from its payload.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel
from sqlalchemy import Connection, Select, case, func, select

from hud._core import json
from hud.store import RunRecord, StepRecord
from hud.store.schema import steps

TITLE_LIMIT = 160
FOUND_AT_MOST = 2_000
_READ_TOGETHER = 500

Kind = Literal[
    "setup",
    "prompt",
    "turn",
    "tool",
    "shell",
    "screen",
    "files",
    "robot",
    "subagent",
    "grade",
    "error",
    "system",
    "unknown",
]

KINDS: tuple[Kind, ...] = get_args(Kind)
KIND_LETTERS = "abcdefghijklm"
"""A letter for each kind, in the order of `KINDS`."""

_LETTER_OF = dict(zip(KINDS, KIND_LETTERS, strict=True))
# Sources whose steps are of one kind.
_PLAIN: dict[str, Kind] = {
    "agent": "turn",
    "user": "prompt",
    "observation": "robot",
    "inference": "robot",
    "video_segment": "robot",
    "subagent": "subagent",
}
_SHELLS = frozenset({"bash", "shell", "sh", "local_shell", "terminal", "run_command", "execute"})
_SCREENS = frozenset({"computer", "computer_use", "browser"})
_TELLING = ("command", "commands", "path", "url", "query", "action", "text", "task", "item", "name")
_BESIDE = frozenset(
    (
        *("step_id", "started_at", "ended_at", "usage", "raw", "sample", "model"),
        *("tool_calls", "call", "result", "extra"),
    )
)
_ROBOTS = frozenset({"observation", "inference", "video_segment"})


class OutlineItem(BaseModel):
    """One step in a line.

    Attributes:
        at_us: When it began, in microseconds since the epoch.
        took_us: How long it took.
        image: The blob of the last picture in it, as `/v2/blobs/{image}` gives.
        has_image: Whether there is any picture in it, also one too small for a blob.
        tokens: Of the prompt and of the answer of a model's turn.
        digest: Of what the step says, whenever and under whatever ids; where it was asked for.
    """

    seq: int
    kind: Kind
    title: str
    at_us: int | None = None
    took_us: int | None = None
    is_error: bool = False
    image: str | None = None
    has_image: bool = False
    tokens: tuple[int, int] | None = None
    cost_usd: float | None = None
    digest: str | None = None


def count_steps(connection: Connection, run: RunRecord, *, up_to: int = 0) -> tuple[int, int]:
    """Return how many steps a run has up to a number, and how many in all."""
    if not up_to:
        query = select(func.count()).select_from(steps).where(*_of(run))
        return 0, connection.execute(query).scalar_one()
    # Counting is reading all of them, once.
    before = func.count(case((steps.c.seq <= up_to, 1)))
    row = connection.execute(select(before, func.count()).select_from(steps).where(*_of(run))).one()
    return row[0], row[1]


def read_outline(
    connection: Connection,
    run: RunRecord,
    *,
    after: int | None,
    offset: int,
    limit: int,
    digests: bool = False,
) -> list[OutlineItem]:
    """Return the lines of the steps after a number, or without one from an offset on."""
    query = _lines(run)
    query = query.where(steps.c.seq > after) if after is not None else query.offset(offset)
    rows = connection.execute(query.limit(limit)).yield_per(_READ_TOGETHER)
    return [_item(*row, is_digested=digests) for row in rows]


def line_of(step: StepRecord) -> OutlineItem:
    """Return the line of a step that was read already, with the hash of what it says."""
    return _item(
        step.seq, step.source, step.started_at, step.ended_at, step.payload, is_digested=True
    )


def kinds_of(lines: Iterable[OutlineItem]) -> tuple[str, str]:
    """Return of lines what `read_kinds` does of steps: their letters and their marks."""
    held = list(lines)
    marks = (str(int(line.is_error) + 2 * int(line.has_image)) for line in held)
    return "".join(_LETTER_OF[line.kind] for line in held), "".join(marks)


def number_runs(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers in few: the first of some consecutive ones, and how many those are."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == sum(found[-1]):
            found[-1][1] += 1
        else:
            found.append([number, 1])
    return found


def read_kinds(
    connection: Connection, run: RunRecord, *, after: int, limit: int
) -> tuple[list[int], str, str]:
    """Return of the steps after a number: their numbers, a letter each for the kind, and a mark.

    The letter's place in `KIND_LETTERS` is that of the kind among all kinds. A mark is 1 for an
    error, 2 for a picture, 3 for both.
    """
    query = (
        select(steps.c.seq, steps.c.source, steps.c.payload)
        .where(*_of(run), steps.c.seq > after)
        .order_by(steps.c.seq)
        .limit(limit)
    )
    seqs: list[int] = []
    kinds: list[str] = []
    marks: list[str] = []
    for seq, source, payload in connection.execute(query).yield_per(_READ_TOGETHER):
        kind, mark = _kind_and_mark(source, payload)
        seqs.append(seq)
        kinds.append(_LETTER_OF[kind])
        marks.append(mark)
    return seqs, "".join(kinds), "".join(marks)


def _kind_and_mark(source: str | None, payload: str) -> tuple[Kind, str]:
    plain = _PLAIN.get(source or "")
    if plain is not None and '"error":' not in payload and '"image"' not in payload:
        return plain, "0"
    step = _table(_decoded(payload))
    kind, _ = _read(source, step)
    return kind, str(int(_is_error(step)) + 2 * int(_picture(step)[1]))


def find_steps(
    connection: Connection, run: RunRecord, words: str, *, after: int = 0
) -> tuple[list[int], int | None]:
    """Return the numbers of the steps that say `words` anywhere, and where to go on.

    Upper and lower case are one. What was moved to a blob is not looked at.
    """
    wanted = words.casefold()
    spelled = json.encode(words).decode()[1:-1]
    query = (
        select(steps.c.seq, steps.c.payload)
        .where(*_of(run), steps.c.seq > after, steps.c.payload.icontains(spelled, autoescape=True))
        .order_by(steps.c.seq)
    )
    found: list[int] = []
    for seq, payload in connection.execute(query).yield_per(_READ_TOGETHER):
        if any(wanted in text.casefold() for text in _texts(_decoded(payload))):
            found.append(seq)
            if len(found) == FOUND_AT_MOST:
                return found, seq
    return found, None


def _of(run: RunRecord) -> tuple[Any, ...]:
    return steps.c.team == run.team, steps.c.run_id == run.id


def _lines(run: RunRecord) -> Select[Any, Any, Any, Any, Any]:
    columns = (steps.c.seq, steps.c.source, steps.c.started_at, steps.c.ended_at, steps.c.payload)
    return select(*columns).where(*_of(run)).order_by(steps.c.seq)


def _item(
    seq: int,
    source: str | None,
    started_at: int | None,
    ended_at: int | None,
    payload: str | bytes,
    *,
    is_digested: bool,
) -> OutlineItem:
    step = _table(_decoded(payload))
    kind, title = _read(source, step)
    image, has_image = _picture(step)
    usage = _table(step.get("usage"))
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    cost: Any = usage.get("cost_usd")
    return OutlineItem.model_construct(
        seq=seq,
        kind=kind,
        title=_line(title),
        at_us=started_at,
        took_us=None if started_at is None or ended_at is None else max(ended_at - started_at, 0),
        is_error=_is_error(step),
        image=image,
        has_image=has_image,
        tokens=None if prompt is None or completion is None else (prompt, completion),
        cost_usd=float(cost) if type(cost) in (int, float) else None,
        digest=_digest(step) if is_digested else None,
    )


def _is_error(step: Mapping[str, Any]) -> bool:
    return bool(step.get("error")) or _table(step.get("result")).get("isError") is True


def _digest(step: Mapping[str, Any]) -> str:
    """Return a short hash of what a step says, without ids, times and what it cost."""
    calls = [[_table(one).get("name"), _table(one).get("arguments")] for one in _calls(step)]
    rest = {name: value for name, value in step.items() if name not in _BESIDE}
    result = _table(step.get("result"))
    said = [rest, calls, result.get("content"), result.get("isError")]
    return hashlib.blake2b(json.encode(said), digest_size=6).hexdigest()


def _calls(step: Mapping[str, Any]) -> list[Any]:
    call = step.get("call")
    return [*_list(step.get("tool_calls")), *([] if call is None else [call])]


def _read(source: str | None, step: Mapping[str, Any]) -> tuple[Kind, str]:
    error = _text(step.get("error"))
    match source:
        case "task":
            call = _table(step.get("task_call"))
            name = _text(call.get("name")) or "task"
            if call.get("phase") == "evaluate":
                score: Any = _table(call.get("result")).get("score")
                spelled = f": {score:.4g}" if type(score) in (int, float) else ""
                return "grade", f"{name} graded{spelled}"
            return "setup", error or f"{name} set up"
        case "user":
            messages = [_table(message) for message in _list(step.get("messages"))]
            said = [_text(_table(message.get("content")).get("text")) for message in messages]
            return "prompt", " ".join(text for text in said if text) or "prompt"
        case "agent":
            calls = [_text(_table(one).get("name")) or "?" for one in _list(step.get("tool_calls"))]
            said = _text(step.get("content")) or _text(step.get("reasoning")) or error
            return "turn", said or (f"calls {', '.join(calls)}" if calls else "no answer")
        case "tool":
            return _tool(step)
        case "subagent":
            inner = _table(step.get("subagent"))
            return "subagent", _text(inner.get("content")) or "a run within the run"
        case "system":
            files = _table(_table(step.get("extra")).get("files"))
            if files:
                return "files", _files(files)
            return ("error", error) if error else ("system", "system")
        case str() if source in _ROBOTS:
            of = _text(step.get("camera")) or ""
            tick = step.get("tick")
            return "robot", f"{source} {of if tick is None else f'tick {tick}'}"
        case _:
            return "unknown", error or source or "a step of no known kind"


def _tool(step: Mapping[str, Any]) -> tuple[Kind, str]:
    call = _table(step.get("call"))
    name = _text(call.get("name")) or "tool"
    arguments = call.get("arguments")
    told = _telling(arguments)
    title = f"{name} {told}" if told else name
    last = name.rpartition("__")[2]
    if last in _SHELLS:
        return "shell", told or name
    is_seen = _picture(step)[1]
    if last in _SCREENS or (is_seen and _is_placed(arguments)):
        return "screen", title
    return "tool", title


def _telling(arguments: Any) -> str:
    if isinstance(arguments, str):
        return arguments
    table = _table(arguments)
    actions = [_table(one) for one in _list(table.get("actions"))]
    if actions:
        return " ".join(_text(action.get("type")) or "?" for action in actions)
    told: list[str] = []
    for name in _TELLING:
        value = table.get(name)
        if isinstance(value, list):
            told += [one for one in cast("list[Any]", value) if isinstance(one, str)]
        elif isinstance(value, str | int | float) and value != "":
            told.append(str(value))
    place = table.get("coordinate")
    if isinstance(place, list):
        told.append(",".join(str(one) for one in cast("list[Any]", place)[:2]))
    elif type(table.get("x")) in (int, float) and type(table.get("y")) in (int, float):
        told.append(f"{table['x']},{table['y']}")
    return " ".join(text[:TITLE_LIMIT] for text in told[:3])


def _is_placed(arguments: Any) -> bool:
    table = _table(arguments)
    return "coordinate" in table or ("x" in table and "y" in table)


def _files(files: Mapping[str, Any]) -> str:
    paths = [_text(_table(patch).get("path")) for patch in _list(files.get("patches"))[:8]]
    return ", ".join(path for path in paths if path) or "files changed"


def _picture(step: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Return the blob of the last picture among the blocks of a step, and whether there is any."""
    blocks: list[Any] = [*_list(_table(step.get("result")).get("content"))]
    blocks += [_table(message).get("content") for message in _list(step.get("messages"))]
    blocks += _table(step.get("images")).values()
    for block in reversed(blocks):
        table = _table(block)
        if table.get("type") != "image":
            continue
        blob = _table(table.get("data")).get("$blob")
        return (blob if isinstance(blob, str) and len(blob) == 64 else None), True
    return None, False


def _texts(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        held = left.pop()
        if isinstance(held, str):
            yield held
        elif isinstance(held, dict):
            left += cast("dict[str, Any]", held).values()
        elif isinstance(held, list):
            left += cast("list[Any]", held)
        elif held is not None:
            yield str(held)


def _decoded(payload: str | bytes) -> Any:
    try:
        return json.decode(payload)
    except ValueError:
        return payload if isinstance(payload, str) else payload.decode("utf-8", "replace")


def _line(text: str) -> str:
    return " ".join(text[: 4 * TITLE_LIMIT].split())[:TITLE_LIMIT]


def _count(value: Any) -> int | None:
    return value if type(value) is int else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _table(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
