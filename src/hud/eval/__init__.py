"""Run tasks and make sense of the results: tasksets, rollouts, jobs, statistics."""

import importlib
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
    from hud.runtimes.daytona import DaytonaRuntime
    from hud.runtimes.docker import DockerRuntime
    from hud.runtimes.leased import HUDRuntime
    from hud.runtimes.modal import ModalRuntime
    from hud.runtimes.subprocess import SubprocessRuntime

__all__ = [
    "Agent",
    "AgentFunction",
    "Budget",
    "Chat",
    "ComposeProject",
    "DaytonaRuntime",
    "DockerRuntime",
    "Grade",
    "HUDRuntime",
    "HostedRuntime",
    "Job",
    "LocalRuntime",
    "ModalRuntime",
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


# What starts processes, what reads many runs, and what talks to a vendor: loaded when asked for.
_LAZY = {
    "DaytonaRuntime": "hud.runtimes.daytona",
    "DockerRuntime": "hud.runtimes.docker",
    "HUDRuntime": "hud.runtimes.leased",
    "ModalRuntime": "hud.runtimes.modal",
    "SubprocessRuntime": "hud.runtimes.subprocess",
    "load_runs": "hud.eval.frames",
    "load_steps": "hud.eval.frames",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
