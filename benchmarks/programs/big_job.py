"""Fill a store with one large job that was interrupted near its end, through the store's own rows.

Also writes the taskset the job is of, so that the command line can take it up again.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.programs import spec
from hud._core.ids import new_id
from hud._core.outcome import Outcome
from hud.agents.create import make_agent
from hud.environment.loader import execute, resolve
from hud.eval.resume import make_spec
from hud.eval.taskset import Taskset
from hud.store import JobEnd, JobRow, RunEnd, RunStart, StepRow, open_store

STEPS = (
    {
        "source": "task",
        "task_call": {
            "phase": "setup",
            "name": "count_letter",
            "result": {"prompt": "How many 'r's are in 'strawberry'? Reply with just the number."},
        },
    },
    {"source": "agent", "content": "3", "done": True, "usage": {"prompt_tokens": 24}},
    {
        "source": "task",
        "task_call": {
            "phase": "evaluate",
            "name": "count_letter",
            "arguments": {"answer": "3"},
            "result": {"score": 1.0},
        },
    },
)
UNGRADED_EVERY = 1_000


@dataclass(frozen=True)
class Work:
    """What to build: `tasks` times `group` runs, in the folder `home`, of the tasks in `source`."""

    home: str
    source: str
    tasks: int
    group: int


def main(work: Work) -> None:
    source = Path(work.source)
    taskset = Taskset.from_file(source)
    agent = make_agent("noop", source=source)
    recorded = make_spec(
        source=source.resolve(),
        files=execute(resolve(source)).files,
        tasks=list(taskset),
        agent="noop",
        model=None,
        config={"max_steps": 10},
        described=agent,
        runtime="subprocess",
        group=work.group,
        max_concurrent=30,
        retries=2,
    )
    store = open_store(Path(work.home))
    job_id, run_id = new_id(), ""
    now = time.time_ns() // 1_000
    store.put(
        JobRow(
            id=job_id,
            created_at=now,
            name=f"{taskset.name} ({work.tasks} tasks) ({work.group} times)",
            group_size=work.group,
            taskset=taskset.name,
            agent="noop",
            runtime="SubprocessRuntime",
            spec=recorded.to_json(),
        )
    )
    payloads = [json.dumps(step).encode() for step in STEPS]
    number = 0
    for task in taskset:
        digest = task.digest()
        for member in range(work.group):
            number += 1
            run_id = new_id()
            store.put(
                RunStart(
                    id=run_id,
                    job_id=job_id,
                    task_slug=task.slug,
                    task_id=task.id,
                    env=task.env,
                    member=member,
                    started_at=now + number,
                    task_digest=digest,
                    runtime="SubprocessRuntime",
                )
            )
            for seq, payload in enumerate(payloads, start=1):
                store.put(StepRow(run_id=run_id, seq=seq, payload=payload, source="task"))
            is_graded = number % UNGRADED_EVERY != 0
            store.put(
                RunEnd(
                    id=run_id,
                    job_id=job_id,
                    status="completed" if is_graded else "error",
                    outcome=Outcome.GRADED if is_graded else Outcome.MODEL,
                    reward=float(number % 2) if is_graded else None,
                    error=None if is_graded else "[agent loop] the endpoint did not answer",
                    ended_at=now + number + 5_000,
                    prompt_tokens=24,
                    completion_tokens=1,
                    llm_calls=1,
                )
            )
    store.put(JobEnd(id=job_id, status="interrupted", ended_at=now + number + 10_000))
    store.close()
    spec.write({"job": job_id, "run": run_id})


if __name__ == "__main__":
    main(spec.read(Work))
