"""A pod of one rollout: its manifest, and what its status says of a start or an end."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.environment.runtime_config import RuntimeConfig, RuntimeResources
from hud.environment.task import Task

CONTAINER = "main"
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "hud"
OWNER, HOST, CREATED = "hud.owner", "hud.host", "hud.created"
_GPU = "nvidia.com/gpu"
_STUCK = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
)


@dataclass(frozen=True, slots=True)
class PodShape:
    """What every pod of a runtime has in common.

    Attributes:
        image: For rows that name none.
        command: What serves the environment on `port` of the pod's loopback; None for `hud serve`.
        env: Variables of the container; they stand in the pod's manifest, so no secrets.
        env_from: Names of secrets of the namespace whose keys become variables.
        lifetime_s: After which Kubernetes ends a pod whatever happened to this process.
        gpu_label: The node label that names a GPU's model.
    """

    image: str | None = None
    port: int = 8765
    command: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    env_from: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    service_account: str | None = None
    lifetime_s: int = 24 * 3600
    gpu_label: str = "nvidia.com/gpu.product"

    def manifest(self, task: Task, *, owner: str, host: str) -> dict[str, Any]:
        """Return the pod for one rollout of `task`.

        Raises:
            InputError: when it asks for what a pod cannot have.
        """
        config = task.runtime_config or RuntimeConfig()
        image = config.image or self.image
        if image is None:
            raise InputError(
                f"task {task.slug!r} names no image to run in",
                hint="KubernetesRuntime('registry/image'), --runtime kubernetes:registry/image, "
                "or image in the row's runtime_config",
            )
        if getattr(config, "compose", None):
            raise _refusal(task, "Compose services")
        resources = config.resources or RuntimeResources()
        run_s = config.limits.run_timeout_s if config.limits else None
        startup_s = config.limits.startup_timeout_s if config.limits else None
        lifetime_s = self.lifetime_s
        if run_s is not None:
            lifetime_s = min(lifetime_s, run_s + (startup_s or 600) + 60)
        words = self.command or ("hud", "serve", "--host", "127.0.0.1", "--port", str(self.port))
        container = {
            "name": CONTAINER,
            "image": image,
            "command": list(words),
            "env": [{"name": name, "value": value} for name, value in self.env.items()],
            "envFrom": [{"secretRef": {"name": name}} for name in self.env_from],
            "resources": _resources(task, resources),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        spec: dict[str, Any] = {
            "containers": [container],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": lifetime_s,
            "terminationGracePeriodSeconds": 5,
            "enableServiceLinks": False,
            "automountServiceAccountToken": self.service_account is not None,
            "nodeSelector": {"kubernetes.io/os": "linux"},
        }
        if self.service_account is not None:
            spec["serviceAccountName"] = self.service_account
        if resources.gpu is not None and resources.gpu.acceptable_types:
            spec["affinity"] = _on_nodes(self.gpu_label, resources.gpu.acceptable_types)
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"hud-{uuid.uuid4().hex[:16]}",
                "labels": {**self.labels, MANAGED_BY: MANAGER, OWNER: owner, HOST: host},
                "annotations": {CREATED: now, "hud.task": bounded(task.slug, 200)},
            },
            "spec": spec,
        }


@dataclass(frozen=True, slots=True)
class PodState:
    """What a pod's status says.

    Attributes:
        is_running: Whether its container runs.
        end: Why it will not run (any more), None while it may.
        waits_for: Why it does not run yet, for a message.
    """

    is_running: bool = False
    end: str | None = None
    waits_for: str = "it was not scheduled yet"


def state_of(pod: Mapping[str, Any]) -> PodState:
    """Read a pod as the API gives it."""
    status = _map(pod.get("status"))
    for row in _rows(status.get("containerStatuses")):
        state = _map(row.get("state"))
        ended, waiting = _map(state.get("terminated")), _map(state.get("waiting"))
        if ended:
            reason = str(ended.get("reason") or "it ended")
            code = ended.get("exitCode")
            return PodState(end=f"its container ended with status {code} ({reason})")
        if waiting:
            reason = str(waiting.get("reason") or "")
            text = ": ".join(
                part for part in (reason, bounded(str(waiting.get("message") or ""), 400)) if part
            )
            if reason in _STUCK:
                return PodState(end=text)
            return PodState(waits_for=text or "its container is being made")
        if "running" in state:
            return PodState(is_running=True)
    phase = status.get("phase")
    if phase in ("Failed", "Succeeded"):
        reason = ": ".join(
            str(part) for part in (status.get("reason"), status.get("message")) if part
        )
        return PodState(end=bounded(reason or f"the pod's phase is {phase}", 400))
    for row in _rows(status.get("conditions")):
        if row.get("type") == "PodScheduled" and row.get("status") == "False":
            why = row.get("message") or row.get("reason")
            return PodState(waits_for=f"no node took it: {bounded(str(why), 400)}")
    return PodState()


def label_text(text: str) -> str:
    """Return `text` as the value of a label: 63 letters, digits, `-`, `_` and `.` at most."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[-63:].strip("-_.") or "none"


def _resources(task: Task, asked: RuntimeResources) -> dict[str, Any]:
    """Return requests that are limits too: what is asked is held, and no more is used."""
    if asked.tpu is not None:
        raise _refusal(task, "a TPU")
    if asked.os not in (None, "linux"):
        raise _refusal(task, f"os {asked.os!r}")
    held: dict[str, str] = {}
    if asked.cpu is not None:
        held["cpu"] = f"{round(asked.cpu * 1000)}m"
    if asked.memory_mb is not None:
        held["memory"] = f"{asked.memory_mb}Mi"
    if asked.storage_mb is not None:
        held["ephemeral-storage"] = f"{asked.storage_mb}Mi"
    if asked.gpu is not None:
        held[_GPU] = str(asked.gpu.count)
    return {"requests": held, "limits": held} if held else {}


def _on_nodes(label: str, values: list[str]) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": label, "operator": "In", "values": values}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": required}


def _refusal(task: Task, what: str) -> InputError:
    return InputError(
        f"task {task.slug!r} asks for {what}, which KubernetesRuntime cannot honour",
        hint="remove it from the row, or run it elsewhere",
    )


def _map(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def _rows(value: object) -> list[Mapping[str, Any]]:
    return [_map(row) for row in cast("list[object]", value)] if isinstance(value, list) else []
