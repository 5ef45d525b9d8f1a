"""What a row asks of its container, as options of `docker run`; what cannot be had is refused."""

from __future__ import annotations

from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.environment.runtime_config import RuntimeConfig, RuntimeGPU, RuntimeResources

PROCESSES = 4_096


def limit_options(config: RuntimeConfig, info: dict[str, Any]) -> list[str]:
    """Return the options that hold a container to what was asked.

    Args:
        info: What the engine says of itself.

    Raises:
        InputError: for an ask that this engine cannot honour; nothing has been started then.
    """
    resources = config.resources or RuntimeResources()
    if resources.os not in (None, "linux"):
        raise _refused(f"resources.os {bounded(resources.os)!r}", "containers here run linux")
    if resources.tpu is not None:
        raise _refused("resources.tpu", "this engine has no TPUs")
    options: list[str] = []
    if resources.cpu is not None:
        held = int(info.get("NCPU") or 0)
        if held and resources.cpu > held:
            raise _refused(f"resources.cpu {resources.cpu:g}", f"the engine has {held}")
        options += ["--cpus", f"{resources.cpu:g}"]
    if resources.memory_mb is not None:
        held = int(info.get("MemTotal") or 0) >> 20
        if held and resources.memory_mb > held:
            raise _refused(f"resources.memory_mb {resources.memory_mb}", f"the engine has {held}")
        size = f"{resources.memory_mb}m"
        options += ["--memory", size, "--memory-swap", size]
    if resources.storage_mb is not None:
        if not _limits_storage(info):
            raise _refused(
                "resources.storage_mb",
                "its storage has no quotas (xfs with pquota has)",
            )
        options += ["--storage-opt", f"size={resources.storage_mb}m"]
    if resources.gpu is not None:
        options += _gpus(resources.gpu, info)
    return options


def _gpus(gpu: RuntimeGPU, info: dict[str, Any]) -> list[str]:
    runtimes = cast("dict[str, Any]", info.get("Runtimes") or {})
    if "nvidia" not in runtimes:
        raise _refused("resources.gpu", "it has no NVIDIA container runtime")
    if gpu.type is not None:
        raise _refused(
            f"resources.gpu.type {bounded(gpu.type)!r}", "Docker cannot choose GPUs by their model"
        )
    return ["--gpus", str(gpu.count)]


def _limits_storage(info: dict[str, Any]) -> bool:
    status = cast("list[list[str]]", info.get("DriverStatus") or [])
    rows = {row[0]: row[1] for row in status if len(row) == 2}
    driver = info.get("Driver")
    return driver in ("btrfs", "zfs") or (
        driver == "overlay2" and rows.get("Backing Filesystem") == "xfs"
    )


def _refused(ask: str, why: str) -> InputError:
    return InputError(
        f"{ask} cannot be had of this container engine: {why}",
        hint="change the row's runtime_config, or use an engine that has it",
    )
