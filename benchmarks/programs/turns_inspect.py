"""Hold conversations of many turns in Inspect: by its own loop, or with the bare SDK instead.

For an interpreter that has inspect-ai. Its logs are written, as its defaults have it.
"""

from __future__ import annotations

import importlib
import os
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.programs import bare, spec

# By name, because the type checker's interpreter does not have it.
inspect: Any = importlib.import_module("inspect_ai")
model_api: Any = importlib.import_module("inspect_ai.model")
scorers: Any = importlib.import_module("inspect_ai.scorer")
solvers: Any = importlib.import_module("inspect_ai.solver")
tools: Any = importlib.import_module("inspect_ai.tool")


@dataclass(frozen=True)
class Work:
    """What to do; `way` is `agent` (its own loop) or `bare`."""

    way: str
    server: str
    turns: int
    conversations: int


def look() -> Any:
    async def execute(place: int) -> str:
        """Say what there is at a place.

        Args:
            place: Which one.
        """
        return await bare.look(place)

    return execute


def bare_loop(server: str) -> Any:
    hold: Any = None

    async def solve(state: Any, generate: Any) -> Any:
        nonlocal hold
        hold = hold or bare.conversation("chat", server)
        state.output.completion = await hold(state.input_text, bare.call_look)
        return state

    return solve


def main(work: Work) -> None:
    model = model_api.get_model(
        f"openai-api/local/{bare.MODEL}", base_url=f"{work.server}/v1", api_key="any"
    )
    held = tools.tool(look)()

    def converse(turns: int, times: int) -> None:
        prompt = f"Speak {turns} times, looking at a place every time, and then say done."
        sample: Any = importlib.import_module("inspect_ai.dataset").Sample
        samples = [sample(input=prompt, target="done") for _ in range(times)]
        plan: list[Any] = [solvers.use_tools(held), solvers.generate()]
        if work.way == "bare":
            plan = [solvers.solver(bare_loop)(work.server)]
        task = inspect.Task(dataset=samples, solver=plan, scorer=scorers.match())
        settings = {"log_dir": os.environ["HUD_HOME"], "display": "none"}
        [log] = inspect.eval(task, model=model, max_samples=1, max_tasks=1, **settings)
        if log.status != "success" or log.results.scores[0].metrics["accuracy"].value != 1.0:
            raise SystemExit(f"{work}: {log.error or log.results}")

    converse(min(5, work.turns), 1)
    began = time.process_time()
    converse(work.turns, work.conversations)
    spec.write({"turn_s": (time.process_time() - began) / work.conversations / work.turns})


if __name__ == "__main__":
    main(spec.read(Work))
