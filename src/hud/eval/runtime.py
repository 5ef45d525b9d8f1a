"""Re-exports of the runtimes under the module users import them from."""

from hud.environment.compose import ComposeProject
from hud.environment.runtime_config import (
    RuntimeConfig,
    RuntimeGPU,
    RuntimeLimits,
    RuntimeResources,
    RuntimeTPU,
)
from hud.runtimes.base import Provider, Runtime, Shared
from hud.runtimes.bundle import BundleRuntime
from hud.runtimes.daytona import DaytonaRuntime
from hud.runtimes.docker import DockerRuntime
from hud.runtimes.e2b import E2BRuntime
from hud.runtimes.hosted import HostedRuntime
from hud.runtimes.kubernetes import KubernetesRuntime
from hud.runtimes.leased import HUDRuntime
from hud.runtimes.local import LocalRuntime
from hud.runtimes.modal import ModalRuntime
from hud.runtimes.ray import RayRuntime
from hud.runtimes.subprocess import SubprocessRuntime

__all__ = [
    "BundleRuntime",
    "ComposeProject",
    "DaytonaRuntime",
    "DockerRuntime",
    "E2BRuntime",
    "HUDRuntime",
    "HostedRuntime",
    "KubernetesRuntime",
    "LocalRuntime",
    "ModalRuntime",
    "Provider",
    "RayRuntime",
    "Runtime",
    "RuntimeConfig",
    "RuntimeGPU",
    "RuntimeLimits",
    "RuntimeResources",
    "RuntimeTPU",
    "Shared",
    "SubprocessRuntime",
]
