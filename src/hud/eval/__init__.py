"""Run tasks and make sense of the results: tasksets, rollouts, jobs, statistics."""

from typing import TYPE_CHECKING, Any

from hud.agents.base import Agent, AgentFunction
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.environment.compose import ComposeProject
from hud.environment.runtime_config import (
    RuntimeConfig,
    RuntimeGPU,
    RuntimeLimits,
    RuntimeResources,
    RuntimeTPU,
)
from hud.environment.task import Task
from hud.eval.advantage import group_relative
from hud.eval.budget import Budget
from hud.eval.chat import Chat
from hud.eval.job import Job
from hud.eval.rollout import rollout
from hud.eval.sync import SyncPlan
from hud.eval.taskset import Taskset
from hud.runtimes.base import Provider, Runtime, Shared
from hud.runtimes.hosted import HostedRuntime
from hud.runtimes.local import LocalRuntime
from hud.trace.steps import Trace

if TYPE_CHECKING:
    from hud.eval.frames import load_runs, load_steps
    from hud.runtimes.docker import DockerRuntime
    from hud.runtimes.leased import HUDRuntime
    from hud.runtimes.subprocess import SubprocessRuntime

__all__ = [
    "Agent",
    "AgentFunction",
    "Budget",
    "Chat",
    "ComposeProject",
    "DockerRuntime",
    "Grade",
    "HUDRuntime",
    "HostedRuntime",
    "Job",
    "LocalRuntime",
    "Provider",
    "Run",
    "Runtime",
    "RuntimeConfig",
    "RuntimeGPU",
    "RuntimeLimits",
    "RuntimeResources",
    "RuntimeTPU",
    "Shared",
    "SubprocessRuntime",
    "SyncPlan",
    "Task",
    "Taskset",
    "Trace",
    "group_relative",
    "load_runs",
    "load_steps",
    "rollout",
]


def __getattr__(name: str) -> Any:
    """Load what starts processes, and what reads many runs, only when it is asked for."""
    if name in ("load_runs", "load_steps"):
        from hud.eval import frames

        return getattr(frames, name)
    if name == "DockerRuntime":
        from hud.runtimes.docker import DockerRuntime

        return DockerRuntime
    if name == "HUDRuntime":
        from hud.runtimes.leased import HUDRuntime

        return HUDRuntime
    if name == "SubprocessRuntime":
        from hud.runtimes.subprocess import SubprocessRuntime

        return SubprocessRuntime
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
