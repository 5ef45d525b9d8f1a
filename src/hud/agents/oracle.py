"""The agent that plays the reference solution its template declares.

Solutions stay in the owner's source: this agent executes that source once, on its own, and never
asks the environment for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hud._core import json
from hud._core.errors import AgentFault, HudError, InputError, bounded
from hud.agents.base import Agent
from hud.agents.run import Run
from hud.environment.environment import Environment
from hud.environment.loader import Loaded, choose, execute, resolve
from hud.environment.template import Template
from hud.trace.steps import AgentStep


class OracleAgent(Agent):
    """Answer with what `solution(run, **args)` of the run's template returns.

    A text is the answer as it is, None leaves the answer out, anything else becomes JSON.

    Args:
        source: The file or folder that declares the environments, `path.py:attribute`, or a live
            environment.
    """

    def __init__(self, source: str | Path | Environment | None = None) -> None:
        self._source = source
        self._loaded: Loaded | None = None

    @property
    def name(self) -> str:
        return "oracle"

    def check_ready(self) -> None:
        """Execute the source, so that what is wrong with it is said before any run.

        Raises:
            InputError: when there is no source, or it cannot be used.
        """
        if self._source is None:
            raise InputError(
                "oracle needs the source that declares the reference solutions",
                hint="name a .py file or a folder, not rows alone",
            )
        if not isinstance(self._source, Environment):
            self._load(self._source)

    async def __call__(self, run: Run) -> None:
        template = self._template(run)
        where = f"template {template.id!r}"
        if template.solution is None:
            raise AgentFault(
                f"{where} has no reference solution",
                hint="declare one: @env.template(solution=fn), async fn(run, **args) -> answer",
            )
        try:
            args = template.arguments.coerce(run.args)
            answer = await template.solution(run, **args)
            content = _spelled(answer)
        except HudError:
            raise
        except Exception as error:
            raise AgentFault(
                f"the reference solution of {where} raised {type(error).__qualname__}: "
                f"{bounded(str(error), 400)}"
            ) from error
        run.record(AgentStep(content=content, done=True))
        run.trace.content = content
        run.trace.stop_reason = "done"

    def _template(self, run: Run) -> Template[Any]:
        try:
            return self._environment(run).find(run.task_id)
        except InputError as error:
            raise AgentFault(f"oracle: {error.message}", hint=error.hint) from error

    def _environment(self, run: Run) -> Environment:
        self.check_ready()
        source = self._source
        if isinstance(source, Environment):
            if run.env is not None and run.env != source.name:
                raise InputError(
                    f"the run is of environment {run.env!r}, its solutions of {source.name!r}"
                )
            return source
        loaded = self._loaded
        assert loaded is not None
        return choose(loaded, run.env)

    def _load(self, source: str | Path) -> None:
        if self._loaded is None:
            self._loaded = execute(resolve(source))


def _spelled(answer: Any) -> str | None:
    return answer if answer is None or isinstance(answer, str) else json.encode(answer).decode()
