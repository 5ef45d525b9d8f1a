"""What a task asks, in the terms of Ray; what Ray cannot hold for it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hud._core.errors import InputError
from hud.environment.runtime_config import RuntimeConfig
from hud.environment.task import Task

_MIB = 1 << 20
_ACCELERATOR = "accelerator_type:"
_HINT = "remove it from the row, or run it in a container runtime"


@dataclass(frozen=True, slots=True)
class Asks:
    """Resources that are held for one rollout while it runs.

    Attributes:
        gpu_types: Models of which one has to be the GPU's; empty when any will do.
    """

    cpu: float = 1.0
    memory_bytes: int = 0
    gpu: int = 0
    gpu_types: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task) -> Asks:
        """Read what a task asks.

        Raises:
            InputError: when that is something Ray cannot hold for it.
        """
        config = task.runtime_config or RuntimeConfig()
        asked = config.resources
        _refuse_rest(task, config)
        if asked is None:
            return cls()
        return cls(
            cpu=1.0 if asked.cpu is None else asked.cpu,
            memory_bytes=(asked.memory_mb or 0) * _MIB,
            gpu=0 if asked.gpu is None else asked.gpu.count,
            gpu_types=() if asked.gpu is None else tuple(asked.gpu.acceptable_types),
        )

    def __str__(self) -> str:
        parts = [f"{self.cpu:g} CPU"]
        if self.memory_bytes:
            parts.append(f"{self.memory_bytes // _MIB:,} MiB")
        if self.gpu:
            types = f" of {' or '.join(self.gpu_types)}" if self.gpu_types else ""
            parts.append(f"{self.gpu} GPU{types}")
        return ", ".join(parts)

    def options(self, width: int, nodes: Iterable[Mapping[str, float]]) -> dict[str, Any]:
        """Return Ray's options for an actor that serves `width` such rollouts at once.

        Raises:
            InputError: when none of the GPU models is in the cluster.
        """
        options: dict[str, Any] = {"num_cpus": self.cpu * width, "num_gpus": self.gpu * width}
        if self.memory_bytes:
            options["memory"] = self.memory_bytes * width
        if self.gpu_types:
            held = {name for node in nodes for name in node}
            known = [kind for kind in self.gpu_types if f"{_ACCELERATOR}{kind}" in held]
            if not known:
                raise InputError(
                    f"no node of the Ray cluster has a GPU of {' or '.join(self.gpu_types)}",
                    hint="GPU models are named as Ray names them, such as A100 or H100",
                )
            options["accelerator_type"] = known[0]
        return options


def room_on(node: Mapping[str, float], options: Mapping[str, Any]) -> int:
    """Return how many actors with these options a node with these resources has room for."""
    wanted = {
        "CPU": options["num_cpus"],
        "GPU": options["num_gpus"],
        "memory": options.get("memory", 0),
    }
    if kind := options.get("accelerator_type"):
        wanted[f"{_ACCELERATOR}{kind}"] = 0.001
    return min(
        (int(node.get(name, 0.0) / count + 1e-6) for name, count in wanted.items() if count),
        default=0,
    )


def _refuse_rest(task: Task, config: RuntimeConfig) -> None:
    resources = config.resources
    unable = {
        "an image": config.image,
        "Compose services": getattr(config, "compose", None),
        "storage_mb": resources and resources.storage_mb,
        "a TPU": resources and resources.tpu,
        f"os {resources.os!r}" if resources else "os": resources
        and resources.os
        and resources.os != "linux",
    }
    for name, asked in unable.items():
        if asked:
            text = f"task {task.slug!r} asks for {name}, which RayRuntime cannot honour"
            raise InputError(text, hint=_HINT)
