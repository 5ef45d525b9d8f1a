"""From a row's Compose project to the document that one rollout of it is started with.

What a project may ask is a list of what is known to stay inside it: everything else is refused,
with the name of the service and of what it asked, before anything is started. The document holds
no variables and no paths but those of mounts that were checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hud._core.errors import InputError, bounded
from hud.environment.compose import MAIN, ComposeProject
from hud.environment.runtime_config import RuntimeResources
from hud.runtimes.docker.asks import PROCESSES

ENGINE_SOCKET = "/var/run/docker.sock"
# Words of the specification: what stays inside as written; what is read below; and what has no
# meaning for a rollout or is the same for every project.
_AS_WRITTEN = frozenset(
    """
    image command entrypoint environment working_dir user healthcheck depends_on expose tmpfs
    hostname domainname stop_signal stop_grace_period tty stdin_open read_only shm_size ulimits
    group_add extra_hosts cap_drop cpus mem_limit pids_limit cpu_shares mem_reservation platform
    restart
    """.split()  # noqa: SIM905 -- a line each otherwise
)
_READ = frozenset(
    """
    build volumes networks network_mode deploy secrets configs security_opt
    """.split()  # noqa: SIM905 -- a line each otherwise
)
_LEFT_OUT = frozenset(
    """
    container_name ports labels logging profiles annotations pull_policy attach init
    """.split()  # noqa: SIM905 -- a line each otherwise
)
_TOP = frozenset({"name", "services", "networks", "volumes", "secrets", "configs", "version"})
# Those by which no process comes before others of this machine.
_ULIMITS = frozenset(
    """
    as core cpu data fsize locks memlock msgqueue nofile nproc rss sigpending stack
    """.split()  # noqa: SIM905 -- as above
)
_VOLUME_KEYS = frozenset({"driver", "labels", "name"})
_NETWORK_KEYS = frozenset({"driver", "internal", "labels", "name", "attachable", "enable_ipv6"})
_MAPS = ("deploy", "depends_on", "networks", "ulimits")
_MAPS_OF_MAPS = ("depends_on", "networks")
_LISTS = ("security_opt", "cap_drop", "secrets", "configs")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The engine's side of the bridge has no address then, so this machine cannot be reached by it.
_CLOSED = {"com.docker.network.bridge.inhibit_ipv4": "true"}
# Nobody answers there: names that are not of the project are looked up nowhere.
_NO_NAMES = "127.0.0.1"
_LOGGING = {"driver": "json-file", "options": {"max-size": "8m", "max-file": "1"}}


@dataclass(frozen=True, slots=True)
class Building:
    """An image that a service is built into, once for all rollouts."""

    folder: Path
    dockerfile: str | None = None
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Project:
    """A project that was checked.

    Attributes:
        document: With the services that run by default; without images for what is built.
        builds: The services that are built.
        main_folder: What the main service's image is built of, for a hint.
    """

    document: Mapping[str, Any]
    builds: Mapping[str, Building]
    main_folder: str = "."

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        return cast("dict[str, dict[str, Any]]", self.document["services"])

    @property
    def waits(self) -> bool:
        """Whether starting it waits for more than that its services run."""
        return any(
            row.get("condition") not in (None, "service_started")
            for service in self.services.values()
            for row in cast("dict[str, dict[str, Any]]", service.get("depends_on") or {}).values()
        )


def read_project(project: ComposeProject, *, closed: bool, engine_socket: str | None) -> Project:
    """Check a project and return what of it is to run.

    Args:
        closed: Whether its networks lead nowhere else.
        engine_socket: The engine's socket that `main` is given when the project asks for it.

    Raises:
        InputError: for what cannot be read, and for what would reach out of the project.
    """
    if project.service_access and engine_socket is None:
        raise InputError(
            "the Compose project asks for service_access, which hands its main service the "
            "container engine",
            hint="for projects you trust: DockerRuntime(compose_service_socket='/path/of/socket')",
        )
    folder = project.folder.resolve() if project.folder is not None else None
    config = project.config().model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for name in config:
        if name not in _TOP and not name.startswith("x-"):
            raise _refused("the document", name)
    for name in ("networks", "volumes", "secrets", "configs"):
        _map(config.get(name), name, of_maps=True)
    services = cast("dict[str, dict[str, Any]]", config["services"])
    services = {name: row for name, row in services.items() if not row.get("profiles")}
    if MAIN not in services:
        raise InputError(
            f"the Compose project has no service {MAIN!r}, so nothing in it is the environment",
            hint=f"call the service that runs hud serve {MAIN}; it has: "
            f"{bounded(', '.join(services))}",
        )
    beside = project.document.resolve().parent if isinstance(project.document, Path) else folder
    checking = _Checking(config, folder, beside, closed)
    made = {name: checking.service(name, row) for name, row in services.items()}
    if project.service_access and engine_socket is not None:
        mount = {"type": "bind", "source": engine_socket, "target": ENGINE_SOCKET}
        made[MAIN].setdefault("volumes", []).append(mount)
    document = {"services": made, "networks": checking.networks(), "volumes": checking.volumes()}
    return Project(document, checking.builds, _context(services[MAIN].get("build")))


class _Checking:
    """Goes through one document."""

    def __init__(
        self, config: Mapping[str, Any], folder: Path | None, beside: Path | None, closed: bool
    ) -> None:
        self.builds: dict[str, Building] = {}
        self._config = config
        self._folder = folder
        self._beside = beside
        self._closed = closed

    def service(self, name: str, service: dict[str, Any]) -> dict[str, Any]:
        where = f"service {bounded(name)}"
        if not _NAME.fullmatch(name):
            raise InputError(f"{bounded(name)!r} is no name of a service")
        for key in service:
            known = key in _AS_WRITTEN or key in _READ or key in _LEFT_OUT or key.startswith("x-")
            if not known and service[key] not in (None, False, [], {}):
                raise _refused(where, key)
        for key in _MAPS:
            _map(service.get(key), f"{where}: {key}", of_maps=key in _MAPS_OF_MAPS)
        for key in _LISTS:
            if not isinstance(service.get(key, []), list):
                raise InputError(f"{where}: {key} is no list")
        made = {key: value for key, value in service.items() if key in _AS_WRITTEN}
        image = made.get("image")
        if image is not None and (not image or image.startswith("-")):
            raise InputError(f"{where}: {bounded(image)!r} is no name of an image")
        for limit in cast("dict[str, Any]", made.get("ulimits") or {}):
            if limit not in _ULIMITS:
                raise _refused(where, f"ulimits.{bounded(limit)}")
        for option in cast("list[str]", service.get("security_opt") or []):
            if option.partition("=")[0].partition(":")[0] != "no-new-privileges":
                raise _refused(where, f"security_opt {bounded(option)}")
        if service.get("build") and name != MAIN:
            self.builds[name] = self._building(service["build"], where)
            made.pop("image", None)
        elif not image and name != MAIN:
            raise InputError(f"{where} has neither an image nor a build")
        made.update(_deployed(service.get("deploy"), where))
        made.update(self._placed(service, where))
        mounts = [self._mount(row, where) for row in service.get("volumes") or ()]
        for kind in ("secrets", "configs"):
            mounts += [self._handed(kind, row, where) for row in service.get(kind) or ()]
        if mounts:
            made["volumes"] = mounts
        if self._closed:
            made["dns"] = [_NO_NAMES]
            made["cap_drop"] = sorted({*made.get("cap_drop", ()), "NET_RAW"})
        return made

    def networks(self) -> dict[str, Any]:
        """Return the networks, each of this project alone."""
        rows = cast("dict[str, dict[str, Any] | None]", self._config.get("networks") or {})
        return {
            name: self._network(name, row or {}) for name, row in {"default": {}, **rows}.items()
        }

    def volumes(self) -> dict[str, Any]:
        """Return the named volumes, each of this project alone."""
        rows = cast("dict[str, dict[str, Any] | None]", self._config.get("volumes") or {})
        for name, row in rows.items():
            if not _NAME.fullmatch(name):
                raise InputError(f"{bounded(name)!r} is no name of a volume")
            for key, value in (row or {}).items():
                if key not in _VOLUME_KEYS or (key == "driver" and value != "local"):
                    raise _refused(f"volume {bounded(name)}", key)
        return {name: {} for name in rows}

    def _network(self, name: str, row: dict[str, Any]) -> dict[str, Any]:
        for key, value in row.items():
            if key in ("ipam", "driver_opts", "external") and not value:
                continue
            if key not in _NETWORK_KEYS or (key == "driver" and value != "bridge"):
                raise _refused(f"network {bounded(name)}", key)
        if self._closed:
            return {"driver": "bridge", "internal": True, "driver_opts": {**_CLOSED}}
        return {"driver": "bridge", "internal": bool(row.get("internal"))}

    def _placed(self, service: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return how a service is on networks."""
        mode = service.get("network_mode")
        if mode:
            shared = str(mode).partition("service:")
            if mode != "none" and not (shared[1] and not shared[0]):
                raise _refused(where, f"network_mode {bounded(mode)}")
            return {"network_mode": mode}
        made: dict[str, Any] = {}
        rows = cast("dict[str, dict[str, Any] | None]", service.get("networks") or {})
        for name, row in rows.items():
            for key in row or {}:
                if key not in ("aliases", "priority"):
                    raise _refused(where, f"networks.{name}.{key}")
            made[name] = {"aliases": list(row["aliases"])} if row and row.get("aliases") else {}
        return {"networks": made} if made else {}

    def _mount(self, row: Any, where: str) -> dict[str, Any]:
        if not isinstance(row, dict):
            raise InputError(f"{where}: a volume is not in its long form: {bounded(row)}")
        mount = cast("dict[str, Any]", row)
        kind, target = mount.get("type"), mount.get("target")
        if kind not in ("volume", "tmpfs", "bind") or not isinstance(target, str):
            raise _refused(where, f"a mount of type {bounded(kind)}")
        made: dict[str, Any] = {"type": kind, "target": target}
        if mount.get("read_only"):
            made["read_only"] = True
        source = mount.get("source")
        if kind == "volume" and source:
            if not isinstance(source, str) or source not in (self._config.get("volumes") or {}):
                raise InputError(f"{where}: there is no volume {bounded(source)!r}")
            made["source"] = source
        if kind == "tmpfs" and mount.get("tmpfs"):
            made["tmpfs"] = mount["tmpfs"]
        if kind == "bind":
            if not mount.get("read_only"):
                raise InputError(
                    f"{where} mounts {bounded(source)} to write in it, and what rollouts share "
                    "cannot be written",
                    hint="mount it read-only (:ro), and keep what is written in a volume",
                )
            made["source"] = str(self._inside(source, where))
        return made

    def _handed(self, kind: str, row: Any, where: str) -> dict[str, Any]:
        """Return the mount of a secret or config, which is a file of the project."""
        use = cast("dict[str, Any]", row) if isinstance(row, dict) else {"source": row}
        name = str(use.get("source"))
        rows = cast("dict[str, dict[str, Any] | None]", self._config.get(kind) or {})
        found = rows.get(name)
        if not found or not isinstance(found.get("file"), str):
            raise _refused(where, f"{kind} {bounded(name)}, which is no file of the project")
        target = str(use.get("target") or name)
        if not target.startswith("/"):
            target = f"/run/secrets/{target}" if kind == "secrets" else f"/{target}"
        source = str(self._inside(found["file"], where))
        return {"type": "bind", "source": source, "target": target, "read_only": True}

    def _building(self, build: Any, where: str) -> Building:
        rows = cast("dict[str, Any]", build) if isinstance(build, dict) else {"context": build}
        for key, value in rows.items():
            if key not in ("context", "dockerfile", "target", "args", "labels", "tags") and value:
                raise _refused(where, f"build.{key}")
        folder = self._inside(str(rows.get("context") or "."), where)
        dockerfile = rows.get("dockerfile")
        if dockerfile is not None:
            self._inside(str(folder / str(dockerfile)), where)
        arguments: Any = rows.get("args") or {}
        if isinstance(arguments, list):
            pairs = (str(row).partition("=") for row in cast("list[Any]", arguments))
            arguments = {name: value for name, _, value in pairs}
        texts = {str(key): str(value) for key, value in cast("dict[Any, Any]", arguments).items()}
        return Building(folder, dockerfile, rows.get("target"), texts)

    def _inside(self, source: Any, where: str) -> Path:
        """Return the path of something in the project's folder, without links."""
        if self._folder is None or self._beside is None:
            raise InputError(
                f"{where} needs {bounded(source)} of the project's folder, which is not here",
                hint="give the Compose file by its path, or put what it needs into images",
            )
        path = (self._beside / str(source)).resolve()
        if not path.is_relative_to(self._folder):
            raise _refused(where, f"{bounded(source)}, which is outside the project's folder")
        if not (path.is_file() or path.is_dir()):
            raise InputError(f"{where} needs {bounded(source)}, which is no file and no folder")
        return path


def _context(build: Any) -> str:
    rows = cast("dict[str, Any]", build) if isinstance(build, dict) else {"context": build}
    return str(rows.get("context") or ".")


def _map(value: Any, where: str, *, of_maps: bool = False) -> dict[str, Any]:
    rows = cast("dict[str, Any]", {} if value is None else value)
    if not isinstance(value, dict | None) or (
        of_maps and not all(isinstance(row, dict | None) for row in rows.values())
    ):
        raise InputError(f"{where} is no map{' of maps' if of_maps else ''}")
    return rows


def _deployed(deploy: Any, where: str) -> dict[str, Any]:
    """Return the limits in `deploy`, which is else about clusters."""
    rows = _map(deploy, f"{where}: deploy")
    resources = _map(rows.get("resources"), f"{where}: deploy.resources")
    reserved = _map(resources.get("reservations"), f"{where}: deploy.resources.reservations")
    if reserved.get("devices") or reserved.get("generic_resources"):
        raise _refused(where, "deploy.resources.reservations.devices")
    if rows.get("replicas") not in (None, 1):
        raise _refused(where, "deploy.replicas")
    limits = _map(resources.get("limits"), f"{where}: deploy.resources.limits")
    names = {"cpus": "cpus", "memory": "mem_limit", "pids": "pids_limit"}
    return {names[key]: value for key, value in limits.items() if key in names}


def launched(
    project: Project,
    *,
    images: Mapping[str, str],
    labels: Mapping[str, str],
    main: Mapping[str, Any],
    every: Mapping[str, Any],
    resources: RuntimeResources | None,
) -> dict[str, Any]:
    """Return the document of one rollout.

    Args:
        images: Of every service.
        labels: Of every container, network and volume.
        main: What the main service has besides what the project says: keys that are lists are
            added to.
        every: The same for every service.
        resources: What no service may use more of.
    """
    services: dict[str, Any] = {}
    for name, row in project.services.items():
        service = _joined(row, every)
        if name == MAIN:
            service = _joined(service, {**main, "restart": "no"})
        service["image"] = images[name]
        service["labels"] = dict(labels)
        service["logging"] = _LOGGING
        _hold(service, resources)
        services[name] = service
    document: dict[str, Any] = {"services": services}
    for kind in ("networks", "volumes"):
        rows = cast("dict[str, dict[str, Any]]", project.document[kind])
        document[kind] = {name: {**row, "labels": dict(labels)} for name, row in rows.items()}
    used = {name for row in services.values() for name in row.get("networks") or ("default",)}
    document["networks"] = {k: v for k, v in document["networks"].items() if k in used}
    return cast("dict[str, Any]", escaped(document))


def _hold(service: dict[str, Any], resources: RuntimeResources | None) -> None:
    """Hold a service to what the row asked, where it does not hold itself to less."""
    processes = int(_number(service.get("pids_limit"), "pids_limit"))
    service["pids_limit"] = min(processes, PROCESSES) if processes > 0 else PROCESSES
    if resources is None:
        return
    if resources.cpu is not None:
        own = _number(service.get("cpus"), "cpus")
        service["cpus"] = min(own, resources.cpu) if own > 0 else resources.cpu
    if resources.memory_mb is not None:
        held = resources.memory_mb << 20
        own = size_of(service.get("mem_limit") or 0)
        service["mem_limit"] = service["memswap_limit"] = str(min(own, held) if own else held)
    if resources.storage_mb is not None:
        service["storage_opt"] = {"size": f"{resources.storage_mb}m"}


def _number(value: Any, name: str) -> float:
    """Return a limit; 0 and less are none."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name}: {bounded(value)!r} is no number")
    return number


def size_of(value: Any) -> int:
    """Return the bytes of a size as Compose writes it: `512m`, `1gb`, `1024`.

    Raises:
        InputError: when it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?", str(value).strip().lower())
    if match is None:
        raise InputError(f"{bounded(value)!r} is no size")
    return int(float(match[1]) * {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[match[2]])


def _joined(service: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(service)
    for key, value in more.items():
        held = made.get(key)
        if isinstance(value, list) and isinstance(held, list):
            made[key] = [*cast("list[Any]", held), *cast("list[Any]", value)]
        elif isinstance(value, Mapping) and isinstance(held, Mapping):
            made[key] = {**cast("dict[str, Any]", held), **cast("dict[str, Any]", value)}
        else:
            made[key] = value
    return made


def escaped(value: Any) -> Any:
    """Return plain data in which Compose finds no variables."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        rows = cast("Mapping[str, Any]", value)
        return {name: escaped(row) for name, row in rows.items()}
    if isinstance(value, Sequence):
        return [escaped(row) for row in cast("Sequence[Any]", value)]
    return value


def _refused(where: str, ask: str) -> InputError:
    return InputError(
        f"the Compose project cannot be run here: {where} asks for {ask}",
        hint="take it out: a rollout's services reach nothing outside their project",
    )
