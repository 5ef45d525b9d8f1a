"""Write the long trace as a log of inspect-ai, in its own interpreter: one sample, an event a step.

Events refer to pictures by hash, as its own logs do, and no model's event repeats the conversation
before it: the log is as small as its format allows.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_STEP = timedelta(milliseconds=10)


def main() -> None:
    """Read the lines of steps that the work names and write the log."""
    log: Any = importlib.import_module("inspect_ai.log")
    work = json.loads(sys.argv[1])
    attachments: dict[str, str] = {}
    with Path(work["lines"]).open() as lines:
        events = list(_events(lines, attachments))
    spec = log.EvalSpec(
        created=_BEGAN.isoformat(),
        task="long",
        dataset=log.EvalDataset(name="long", samples=1, sample_ids=["1"]),
        model="a/model",
        config=log.EvalConfig(),
    )
    sample = log.EvalSample(
        id="1", epoch=1, input="Go on.", target="", events=events, attachments=attachments
    )
    path = Path(work["log"])
    log.write_eval_log(log.EvalLog(status="success", eval=spec, samples=[sample]), str(path))
    print(json.dumps({"size_bytes": path.stat().st_size}))


def _events(lines: Iterable[str], attachments: dict[str, str]) -> Iterator[Any]:
    event: Any = importlib.import_module("inspect_ai.event")
    model: Any = importlib.import_module("inspect_ai.model")
    for number, line in enumerate(lines, 1):
        step = json.loads(line)
        known = {"uuid": f"step{number}", "timestamp": _BEGAN + number * _STEP}
        if step["source"] == "user":
            yield event.InfoEvent(**known, data=step["messages"][0]["content"]["text"])
        elif step["source"] == "agent":
            reasoning = model.ContentReasoning(reasoning=step["reasoning"])
            said = [reasoning, model.ContentText(text=step["content"])]
            message = model.ChatMessageAssistant(content=said, model="a/model")
            yield event.ModelEvent(
                **known,
                model="a/model",
                input=[],
                tools=[],
                tool_choice="auto",
                config=model.GenerateConfig(),
                output=model.ModelOutput.from_message(message),
            )
        else:
            block = step["result"]["content"][0]
            result: Any = block.get("text")
            if block["type"] == "image":
                hashed = hashlib.sha256(block["data"].encode()).hexdigest()[:32]
                attachments[hashed] = f"data:image/png;base64,{block['data']}"
                result = [model.ContentImage(image=f"attachment://{hashed}")]
            yield event.ToolEvent(
                **known,
                id=str(number),
                function=step["call"]["name"],
                arguments=step["call"]["arguments"],
                result=result,
            )


if __name__ == "__main__":
    main()
