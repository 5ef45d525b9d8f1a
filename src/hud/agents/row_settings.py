"""An agent's settings with a task row's own over them, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from typing_extensions import TypeVar

from hud._core.errors import AgentFault, InputError, bounded
from hud.agents.run import Run
from hud.agents.types import AgentConfig

ConfigT = TypeVar("ConfigT", bound=AgentConfig)

NOT_FOR_ROWS = ("api_key", "base_url", "gateway", "model_client")
"""Settings that a task may not make: who runs the agent decides where its calls go."""


def with_row(
    config: ConfigT,
    run: Run,
    config_cls: type[AgentConfig],
    *,
    check: Callable[[Any], None] | None = None,
    not_for_rows: tuple[str, ...] = NOT_FOR_ROWS,
    required: Mapping[str, Any] | None = None,
) -> ConfigT:
    """Return the settings with the task row's own over them.

    Args:
        config_cls: What the row is read as.
        check: Raises `InputError` for settings that do not go together.
        required: Settings without a default, as they are.

    Raises:
        AgentFault: when the row has a setting this agent does not take.
    """
    row = run.agent_config
    if not row:
        return config
    where = f"agent_config of task {bounded(run.slug or run.task_id)!r}"
    for name in not_for_rows:
        if name in row:
            raise AgentFault(f"{where} may not set {name}", hint="it belongs to who runs the agent")
    try:
        own = config_cls.model_validate({**(required or {}), **row})
        if check is not None:
            check(own)
    except ValidationError as error:
        raise AgentFault(f"{where}: {setting_problem(error, config_cls)}") from error
    except InputError as error:
        raise AgentFault(f"{where}: {error.message}", hint=error.hint) from error
    said = {name: getattr(own, name) for name in own.model_fields_set}
    return config.model_copy(update=said)


def setting_problem(error: ValidationError, config_cls: type[AgentConfig]) -> str:
    """Return the first thing wrong with a configuration, as one sentence."""
    problem = error.errors(include_url=False)[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = ", ".join(sorted(config_cls.model_fields))
        return f"unknown setting {bounded(name)!r} (known: {known})"
    return f"setting {name} = {bounded(problem['input'])}: {problem['msg']}"
