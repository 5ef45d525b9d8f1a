"""One run and its steps as text.

A trace is hostile to its reader: everything of it is shown with control characters spelled out,
and shapes are read leniently, so that no trace can keep the rest of itself from being seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from hud._core import json
from hud.cli.render import clock, cost, count, number, one_line, safe, seconds
from hud.cli.tables import pairs
from hud.store import RunRecord
from hud.trace.file_steps import FILES_KEY

_INDENT = "  "
_LONGEST = 4_000
_DEEPEST = 20


def head(run: RunRecord) -> str:
    """Return what a run is and what became of it."""
    rows = [
        ("run", run.id),
        ("job", run.job_id),
        ("task", f"{run.task_slug} #{run.member + 1}, attempt {run.attempt}"),
        ("environment", run.env or ""),
        ("model", run.model or ""),
        ("runtime", run.runtime or ""),
        ("started", clock(run.started_at)),
        ("took", "" if run.ended_at is None else seconds((run.ended_at - run.started_at) / 1e6)),
        ("outcome", _outcome(run)),
        ("reward", number(run.reward)),
        ("stopped", run.stop_reason or ""),
        ("tokens", _tokens(run)),
        ("error", run.error or ""),
    ]
    return pairs([(label, text) for label, text in rows if text])


def run_as_data(run: RunRecord) -> dict[str, Any]:
    """Return a run as data, without its steps."""
    from hud.cli.report import clock_iso

    return {
        "trace_id": run.id,
        "job_id": run.job_id,
        "task": run.task_slug,
        "task_id": run.task_id,
        "env": run.env,
        "member": run.member,
        "attempt": run.attempt,
        "group_id": run.group_id,
        "model": run.model,
        "runtime": run.runtime,
        "status": run.status,
        "outcome": run.outcome.value if run.outcome else None,
        "reward": run.reward,
        "stop_reason": run.stop_reason,
        "error": run.error,
        "started_at": clock_iso(run.started_at),
        "ended_at": clock_iso(run.ended_at),
        "evaluation": run.evaluation,
        "prompt_tokens": run.prompt_tokens,
        "completion_tokens": run.completion_tokens,
        "cached_tokens": run.cached_tokens,
        "llm_calls": run.llm_calls,
        "cost_usd": run.cost_usd,
        "turns": run.turns,
        "unpriced_turns": run.unpriced_turns,
        "known_cost_usd": run.known_cost_usd,
    }


def turn(step: Any, *, level: int = 0) -> str:
    """Return one step as indented lines under a heading; `step` is its decoded payload."""
    if not isinstance(step, Mapping):
        return _indented(_value(step), level)
    held = cast("Mapping[str, Any]", step)
    blocks = [_heading(held)]
    blocks += [_indented(text, 1) for text in _body(held, level) if text]
    return _indented("\n".join(blocks), level)


def _outcome(run: RunRecord) -> str:
    if run.outcome is not None:
        return run.outcome.value if run.outcome.is_graded else f"ungraded: {run.outcome.value}"
    return "unfinished: its process ended" if run.is_interrupted else "running"


def _tokens(run: RunRecord) -> str:
    if not run.llm_calls:
        return ""
    price = cost(run.known_cost_usd, run.unpriced_turns)
    calls = count(run.llm_calls, "call")
    return f"{run.prompt_tokens:,} in, {run.completion_tokens:,} out in {calls}; cost {price}"


def _heading(step: Mapping[str, Any]) -> str:
    label = str(step.get("source") or "step")
    call = step.get("task_call")
    if isinstance(call, Mapping):
        phase = cast("Mapping[str, Any]", call).get("phase")
        label = {"setup": "task started", "evaluate": "task graded"}.get(str(phase), label)
    elif step.get("source") == "user":
        label = "prompt"
    elif _files(step) is not None:
        label = "files changed"
    extra = [str(step[key]) for key in ("model", "finish_reason", "stop_reason") if step.get(key)]
    told = f" ({', '.join(extra)})" if extra else ""
    return one_line(f"── {step.get('step_id') or '?'} {label}{told}")


def _body(step: Mapping[str, Any], level: int) -> Iterator[str]:
    for message in _list(step.get("messages")):
        yield _message(message)
    call = step.get("task_call")
    if isinstance(call, Mapping):
        yield from _task_call(cast("Mapping[str, Any]", call))
    if step.get("reasoning"):
        yield f"thinks: {_text(step['reasoning'])}"
    if step.get("content") is not None:
        yield _text(step["content"])
    if step.get("refusal"):
        yield f"refuses: {_text(step['refusal'])}"
    for tool in _list(step.get("tool_calls")):
        yield _tool_call(tool)
    if step.get("call") is not None:
        yield _tool_call(step["call"])
    if step.get("result") is not None:
        yield _tool_result(step["result"])
    files = _files(step)
    if files is not None:
        yield from _file_changes(files)
    subagent = step.get("subagent")
    if isinstance(subagent, Mapping) and level < _DEEPEST:
        for inner in _list(cast("Mapping[str, Any]", subagent).get("steps")):
            yield turn(inner, level=min(level + 1, 1))
    if step.get("error"):
        yield f"error: {_text(step['error'])}"


def _files(step: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the batch of file changes that a step carries, or None."""
    extra = step.get("extra")
    held = cast("Mapping[str, Any]", extra).get(FILES_KEY) if isinstance(extra, Mapping) else None
    return cast("Mapping[str, Any]", held) if isinstance(held, Mapping) else None


def _file_changes(batch: Mapping[str, Any]) -> Iterator[str]:
    for change in _list(batch.get("patches")):
        if not isinstance(change, Mapping):
            yield _value(change)
            continue
        held = cast("Mapping[str, Any]", change)
        withheld = f" ({_line(held['withheld'])})" if held.get("withheld") else ""
        yield f"{_line(held.get('status'))} {_line(held.get('path'))}{withheld}"
        if isinstance(held.get("patch"), str):
            yield _indented(_text(held["patch"]).rstrip("\n"), 1)
    if batch.get("truncated"):
        yield f"more changed than is kept: {_line(batch.get('files_changed'))} in all"


def _task_call(call: Mapping[str, Any]) -> Iterator[str]:
    name, arguments, result = call.get("name"), call.get("arguments"), call.get("result")
    if call.get("phase") != "evaluate":
        yield f"{_line(name)} {_line(arguments)}"
        return
    answer = (
        cast("Mapping[str, Any]", arguments).get("answer")
        if isinstance(arguments, Mapping)
        else None
    )
    yield "no answer" if answer is None else f"answer: {_text(answer)}"
    if isinstance(result, Mapping):
        yield from _grade(cast("Mapping[str, Any]", result))
    elif result is not None:
        yield _value(result)


def _grade(frame: Mapping[str, Any]) -> Iterator[str]:
    yield f"score {_line(frame.get('score'))}" + (" (error)" if frame.get("isError") else "")
    for part in _list(frame.get("subscores")):
        yield from _subscore(part, 1)
    if frame.get("content"):
        yield _text(frame["content"])
    if frame.get("info"):
        yield f"info {_value(frame['info'])}"


def _subscore(part: Any, depth: int) -> Iterator[str]:
    if not isinstance(part, Mapping) or depth > _DEEPEST:
        yield _indented(_value(part), depth)
        return
    held = cast("Mapping[str, Any]", part)
    weight = held.get("weight")
    weighed = "" if weight is None else f" × {_line(weight)}"
    yield _indented(f"{_line(held.get('value'))}{weighed}  {_line(held.get('name'))}", depth)
    for child in _list(held.get("children")):
        yield from _subscore(child, depth + 1)


def _tool_call(call: Any) -> str:
    if not isinstance(call, Mapping):
        return f"calls {_value(call)}"
    held = cast("Mapping[str, Any]", call)
    return f"calls {_line(held.get('name'))} {_value(held.get('arguments'))}"


def _tool_result(result: Any) -> str:
    if not isinstance(result, Mapping):
        return f"returns {_value(result)}"
    held = cast("Mapping[str, Any]", result)
    blocks = "\n".join(_block(block) for block in _list(held.get("content")))
    return f"{'fails' if held.get('isError') else 'returns'} {blocks}"


def _message(message: Any) -> str:
    if not isinstance(message, Mapping):
        return _value(message)
    held = cast("Mapping[str, Any]", message)
    text = _block(held.get("content"))
    return text if held.get("role") in (None, "user") else f"{_line(held['role'])}: {text}"


def _block(block: Any) -> str:
    if not isinstance(block, Mapping):
        return _value(block)
    held = cast("Mapping[str, Any]", block)
    if isinstance(held.get("text"), str):
        return _text(held["text"])
    if isinstance(held.get("data"), str):
        size = len(held["data"]) * 3 // 4
        return f"[{_line(held.get('type'))} {_line(held.get('mimeType'))}, {size:,} bytes]"
    return _value(block)


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else []


def _line(value: Any) -> str:
    return one_line(value if isinstance(value, str) else _encoded(value))


def _value(value: Any) -> str:
    return _text(value if isinstance(value, str) else _encoded(value))


def _encoded(value: Any) -> str:
    return json.encode(value).decode()


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else _encoded(value)
    left = len(text) - _LONGEST
    if left > 0:
        text = f"{text[:_LONGEST]}… [{count(left, 'more character')}; --json shows all]"
    return safe(text)


def _indented(text: str, level: int) -> str:
    return "\n".join(f"{_INDENT * level}{line}" for line in text.split("\n"))
