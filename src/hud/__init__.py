"""Define environments, write tasks for them, run any agent on them, see and grade what it did.

Everything here is loaded on first use, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hud._version import __version__

if TYPE_CHECKING:
    from hud.agents.grade import Grade
    from hud.agents.run import Run
    from hud.clients.connect import connect
    from hud.environment.compose import ComposeProject
    from hud.environment.environment import Environment
    from hud.environment.runtime_config import (
        RuntimeConfig,
        RuntimeGPU,
        RuntimeLimits,
        RuntimeResources,
        RuntimeTPU,
    )
    from hud.environment.task import Task
    from hud.eval.chat import Chat
    from hud.eval.job import Job
    from hud.eval.sync import SyncPlan
    from hud.eval.taskset import Taskset
    from hud.runtimes.base import Runtime
    from hud.runtimes.bundle import BundleRuntime
    from hud.runtimes.docker import DockerRuntime
    from hud.runtimes.hosted import HostedRuntime
    from hud.runtimes.leased import HUDRuntime
    from hud.runtimes.local import LocalRuntime
    from hud.runtimes.subprocess import SubprocessRuntime
    from hud.trace.instrument import instrument
    from hud.trace.steps import Trace

_HOMES = {
    "BundleRuntime": "hud.runtimes.bundle",
    "Chat": "hud.eval.chat",
    "ComposeProject": "hud.environment.compose",
    "DockerRuntime": "hud.runtimes.docker",
    "Environment": "hud.environment.environment",
    "Grade": "hud.agents.grade",
    "HUDRuntime": "hud.runtimes.leased",
    "HostedRuntime": "hud.runtimes.hosted",
    "Job": "hud.eval.job",
    "LocalRuntime": "hud.runtimes.local",
    "Run": "hud.agents.run",
    "Runtime": "hud.runtimes.base",
    "RuntimeConfig": "hud.environment.runtime_config",
    "RuntimeGPU": "hud.environment.runtime_config",
    "RuntimeLimits": "hud.environment.runtime_config",
    "RuntimeResources": "hud.environment.runtime_config",
    "RuntimeTPU": "hud.environment.runtime_config",
    "SubprocessRuntime": "hud.runtimes.subprocess",
    "SyncPlan": "hud.eval.sync",
    "Task": "hud.environment.task",
    "Taskset": "hud.eval.taskset",
    "Trace": "hud.trace.steps",
    "connect": "hud.clients.connect",
    "instrument": "hud.trace.instrument",
}

__all__ = [
    "BundleRuntime",
    "Chat",
    "ComposeProject",
    "DockerRuntime",
    "Environment",
    "Grade",
    "HUDRuntime",
    "HostedRuntime",
    "Job",
    "LocalRuntime",
    "Run",
    "Runtime",
    "RuntimeConfig",
    "RuntimeGPU",
    "RuntimeLimits",
    "RuntimeResources",
    "RuntimeTPU",
    "SubprocessRuntime",
    "SyncPlan",
    "Task",
    "Taskset",
    "Trace",
    "__version__",
    "connect",
    "instrument",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'hud' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
