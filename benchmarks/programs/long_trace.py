"""Write one long trace, and one wide job, into a store as a recorder would."""

from __future__ import annotations

import base64
import io
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from hud._core import json as compact
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud._core.paths import make_home
from hud.store import JobEnd, JobRow, RunEnd, RunStart, StepRow, Store, open_store

_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "sleeps")
_SIZE = (1280, 800)


def main() -> None:
    """Write what the work asks for and print the ids.

    With `lines`, the steps of the trace go to that file instead, a JSON object a line.
    """
    work = json.loads(sys.argv[1])
    if "lines" in work:
        with Path(work["lines"]).open("wb") as file:
            for step in _steps(work["steps"], work["pictures"], work["distinct"]):
                file.write(compact.encode(step) + b"\n")
        print(json.dumps({"lines": work["lines"]}))
        return
    store = open_store(make_home(Path(work["home"])))
    try:
        run_id = _trace(store, work["steps"], work["pictures"], work["distinct"])
        job_id = _job(store, work["runs"])
    finally:
        store.close()
    print(json.dumps({"run": run_id, "job": job_id}))


def _trace(store: Store, steps: int, pictures: int, distinct: int) -> str:
    job_id, run_id, now = new_id(), new_id(), _now()
    store.put(JobRow(id=job_id, created_at=now, name="one long run", agent="claude"))
    store.put(RunStart(id=run_id, job_id=job_id, task_slug="long", started_at=now))
    for number, step in enumerate(_steps(steps, pictures, distinct), 1):
        store.put(
            StepRow(
                run_id=run_id,
                seq=number,
                payload=compact.encode(step),
                source=step["source"],
                started_at=now + number * 10_000,
                ended_at=now + number * 10_000 + 7_000,
            )
        )
    _end(store, job_id, run_id, 1.0)
    store.put(JobEnd(id=job_id, status="completed", ended_at=_now()))
    return run_id


def _job(store: Store, runs: int) -> str:
    job_id, now = new_id(), _now()
    group = 10
    store.put(JobRow(id=job_id, created_at=now, name=f"{runs} runs", group_size=group))
    draws = random.Random(2)
    for number in range(runs):
        run_id = new_id()
        start = RunStart(
            id=run_id,
            job_id=job_id,
            task_slug=f"task-{number // group:05d}",
            member=number % group,
            started_at=now + number,
        )
        store.put(start)
        _end(store, job_id, run_id, round(draws.random(), 2))
    store.put(JobEnd(id=job_id, status="completed", ended_at=_now()))
    return job_id


def _end(store: Store, job_id: str, run_id: str, reward: float) -> None:
    end = RunEnd(
        id=run_id,
        job_id=job_id,
        status="completed",
        outcome=Outcome.GRADED,
        reward=reward,
        ended_at=_now(),
    )
    store.put(end)


def _steps(count: int, pictures: int, distinct: int) -> Iterator[dict[str, Any]]:
    draws = random.Random(1)
    kept: list[str] = []
    every = max(1, count // max(1, pictures))
    yield {"source": "user", "messages": [{"role": "user", "content": _text("Go on.")}]}
    shown = 0
    for number in range(2, count + 1):
        if number % 2 == 0:
            yield {
                "source": "agent",
                "content": _said(draws, 40),
                "reasoning": _said(draws, 80),
                "tool_calls": [{"name": "bash", "arguments": {}, "id": str(number)}],
                "usage": {"prompt_tokens": 1_000, "completion_tokens": 50, "cost_usd": 0.001},
            }
        elif number % every < 2 and shown < pictures:
            if len(kept) < distinct:
                kept.append(_picture(draws, len(kept)))
            place = [draws.randrange(_SIZE[0]), draws.randrange(_SIZE[1])]
            call = {"action": "left_click", "coordinate": place}
            image = {"type": "image", "mimeType": "image/png", "data": kept[shown % len(kept)]}
            shown += 1
            yield _tool("computer", call, image)
        else:
            output = "\n".join(_said(draws, 12) for _ in range(draws.randrange(1, 30)))
            yield _tool("bash", {"command": f"run --number {number}"}, _text(output))


def _tool(name: str, arguments: dict[str, Any], *content: Any) -> dict[str, Any]:
    call = {"name": name, "arguments": arguments, "id": "1"}
    return {"source": "tool", "call": call, "result": {"content": list(content)}}


def _text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def _said(draws: random.Random, most: int) -> str:
    return " ".join(draws.choice(_WORDS) for _ in range(draws.randrange(3, most)))


def _picture(draws: random.Random, number: int) -> str:
    image = Image.new("RGB", _SIZE, (235, 238, 245))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = draws.randrange(_SIZE[0]), draws.randrange(_SIZE[1])
        size = draws.randrange(20, 240), draws.randrange(8, 60)
        colour = (draws.randrange(60, 255), draws.randrange(60, 255), draws.randrange(60, 255))
        draw.rectangle((x, y, x + size[0], y + size[1]), fill=colour)
    draw.text((30, 30), f"screen {number}", fill=(0, 0, 0))
    data = io.BytesIO()
    image.save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def _now() -> int:
    return time.time_ns() // 1_000


if __name__ == "__main__":
    main()
