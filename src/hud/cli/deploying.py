"""What `hud deploy` does: pack, ask, upload, have it built, follow the log, say what came of it."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from hud._core.errors import HudError, InputError, bounded
from hud.api import calls
from hud.api.build_log import LogEntry, follow_build
from hud.api.client import BlockingPlatformClient
from hud.api.errors import PlatformError
from hud.api.place import PlatformPlace, required_place
from hud.api.replies import BuildState, BuildTriggered, Me
from hud.api.uploading import put_file
from hud.cli import deploy_values, streams
from hud.cli.asking import asked, can_ask, confirm
from hud.cli.bar import bar
from hud.cli.boundary import FAILED, GRADED
from hud.cli.link import Link, read_link, write_link
from hud.cli.projects import project_for
from hud.cli.render import count, one_line
from hud.cli.tables import pairs
from hud.packaging.archive import Packed, pack
from hud.packaging.context import Context, read_context
from hud.packaging.declared import declared_name

_LOOK_AGAIN_S = 1.0
_BYTES_A_STEP = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployRequest:
    """The arguments of `hud deploy`; None and empty where nothing was said."""

    source: Path = Path()
    name: str | None = None
    env: tuple[str, ...] = ()
    env_file: Path | None = None
    no_env: bool = False
    build_args: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    no_cache: bool = False
    registry_id: str | None = None
    project: str | None = None
    runtime: str | None = None
    runtime_config: Path | None = None
    dry_run: bool = False
    yes: bool = False
    as_json: bool = False

    @property
    def folder(self) -> Path:
        """The folder that is packed.

        Raises:
            InputError: when there is none.
        """
        path = self.source.expanduser().resolve()
        if not path.exists():
            raise InputError(
                f"{bounded(str(self.source), 300)} does not exist", hint="hud init NAME makes one"
            )
        return path if path.is_dir() else path.parent


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is about to be sent."""

    name: str
    context: Context
    body: dict[str, Any]

    def names_of(self, what: str) -> list[str]:
        return sorted(self.body.get(what) or {})


def deploy(request: DeployRequest) -> int:
    """Deploy, and return the exit code: 1 when it was not built.

    Raises:
        InputError: when what was asked for cannot be used.
        PlatformError: when the platform cannot be asked, or refuses it.
    """
    folder = request.folder
    link = read_link(folder)
    place = required_place()
    with BlockingPlatformClient(place) as client:
        me = client.send(calls.me())
        link.check(place, me, folder)
        plan = _planned(request, folder, link, client)
        if request.dry_run:
            _show_plan(request, plan, place)
            return GRADED
        _confirm(request, plan, place)
        with _stopping(client, plan.name) as begun:
            triggered = _sent(client, plan, begun)
            _remember(request, folder, plan, triggered, place, me)
            state = _followed(client, place, triggered)
    _show(request, plan, triggered, state, place)
    return GRADED if state.status == "SUCCEEDED" else FAILED


def _planned(
    request: DeployRequest, folder: Path, link: Link, client: BlockingPlatformClient
) -> _Plan:
    context = read_context(folder)
    is_file = request.source.expanduser().is_file()
    paths = (
        [request.source.expanduser()]
        if is_file
        else [folder / name for name in context.names() if name.endswith(".py")]
    )
    name = declared_name(paths, request.name, request.source)
    project = project_for(client, request.project, link)
    body = {
        "source": "direct",
        "name": name,
        "no_cache": request.no_cache,
        "registry_id": request.registry_id,
        "project_id": None if project is None else project.id,
        "runtime_provider": request.runtime,
        "runtime_config": deploy_values.runtime_config(request.runtime_config),
        "environment_variables": _variables(request, folder, link) or None,
        "build_args": deploy_values.pairs("--build-arg", request.build_args) or None,
        "build_secrets": deploy_values.secrets(request.secrets, folder) or None,
    }
    return _Plan(name, context, {key: value for key, value in body.items() if value is not None})


def _variables(request: DeployRequest, folder: Path, link: Link) -> dict[str, str]:
    found: dict[str, str] = {}
    own = folder / ".env"
    if request.env_file is not None:
        found = deploy_values.variables_in(request.env_file)
    elif own.is_file() and not request.no_env and _takes_env(request, folder, link):
        found = deploy_values.variables_in(own)
    return found | deploy_values.pairs("--env", request.env)


def _takes_env(request: DeployRequest, folder: Path, link: Link) -> bool:
    """Say whether the variables of `.env` go along: as was answered when it was asked first."""
    if link.sync_env is not None:
        return link.sync_env == "true"
    if request.yes or request.dry_run or not can_ask():
        streams.note("the variables of .env are left out; --env-file .env takes them along")
        return False
    answer = asked("Give its rollouts the variables of .env? They are kept encrypted.")
    write_link(folder, sync_env=answer)
    return answer


def _confirm(request: DeployRequest, plan: _Plan, place: PlatformPlace) -> None:
    if not request.yes:
        what = f"{plan.name} ({count(len(plan.context.names()), 'file')}) to {place.shown}"
        confirm(f"Deploy {one_line(what)}?", otherwise="nothing was deployed")


@contextlib.contextmanager
def _stopping(client: BlockingPlatformClient, name: str) -> Generator[list[str]]:
    """Stop the build of a deployment that is interrupted, and say what has become of it.

    Yields where the id of the build belongs as soon as there is one.

    Raises:
        KeyboardInterrupt: the one that came, with what whoever interrupted it is to know.
    """
    begun: list[str] = []
    try:
        yield begun
    except KeyboardInterrupt:
        if not begun:
            raise KeyboardInterrupt("nothing was deployed") from None
        streams.note("stopping the build")
        [build_id] = begun
        try:
            state = client.send(calls.cancel_build(build_id))
        except HudError as error:
            why = one_line(bounded(error.message, 300))
            said = f"build {build_id} of {name} may still go on, for stopping it failed: {why}"
        else:
            said = f"build {build_id} of {name} is stopped, and nothing was deployed"
            if state.status == "SUCCEEDED":
                said = f"build {build_id} had ended already: {name} is deployed"
        raise KeyboardInterrupt(said) from None


def _sent(client: BlockingPlatformClient, plan: _Plan, begun: list[str]) -> BuildTriggered:
    """Pack and upload the context, and put its build into the queue."""
    with tempfile.TemporaryDirectory(prefix="hud-deploy-") as scratch:
        packed = pack(plan.context, Path(scratch) / "context.tar.gz")
        names = count(len(plan.context.names()), "file")
        streams.note(f"packed {names} into {packed.size:,} bytes")
        upload = client.send(calls.build_upload())
        begun.append(upload.build_id)
        _upload(upload.upload_url, packed)
    return client.send(calls.trigger_build({"build_id": upload.build_id, **plan.body}))


def _upload(url: str, packed: Packed) -> None:
    with bar("uploading", max(1, packed.size // _BYTES_A_STEP)) as advance:
        done = 0

        def told(sent: int) -> None:
            nonlocal done
            advance(sent // _BYTES_A_STEP - done)
            done = sent // _BYTES_A_STEP

        put_file(url, packed.path, "application/gzip", on_progress=told)


def _remember(
    request: DeployRequest,
    folder: Path,
    plan: _Plan,
    triggered: BuildTriggered,
    place: PlatformPlace,
    me: Me,
) -> None:
    if request.registry_id is None:
        write_link(
            folder,
            origin=place.api_url,
            team_id=me.team_id,
            registry_id=triggered.registry_id,
            registry_name=plan.name,
        )


def _followed(
    client: BlockingPlatformClient, place: PlatformPlace, triggered: BuildTriggered
) -> BuildState:
    """Show the log until the build is over."""
    try:
        _show_log(follow_build(place, triggered.id))
    except PlatformError as error:
        streams.note(f"{one_line(error.message)}; waiting for its end without its log")
    while True:
        state = client.send(calls.build_state(triggered.id))
        if state.is_over:
            return state
        time.sleep(_LOOK_AGAIN_S)


def _show_log(entries: Iterable[LogEntry]) -> None:
    for entry in entries:
        if entry.at_ms is None:
            streams.note(one_line(entry.text))
        else:
            at = datetime.fromtimestamp(entry.at_ms / 1000).astimezone()
            streams.note(f"[{at:%H:%M:%S}] {one_line(entry.text)}")


def _show_plan(request: DeployRequest, plan: _Plan, place: PlatformPlace) -> None:
    names = plan.context.names()
    if request.as_json:
        streams.write_json(
            {
                "action": "deploy",
                "dry_run": True,
                "name": plan.name,
                "platform": place.shown,
                "files": names,
                "size_bytes": plan.context.size,
                "environment_variables": plan.names_of("environment_variables"),
                "build_args": plan.names_of("build_args"),
                "build_secrets": plan.names_of("build_secrets"),
                "runtime_config": plan.body.get("runtime_config"),
            }
        )
        return
    streams.write("\n".join(one_line(name) for name in names))
    rows = [
        ("environment", plan.name),
        ("files", f"{len(names):,} ({plan.context.size:,} bytes)"),
        ("variables", ", ".join(plan.names_of("environment_variables"))),
        ("build arguments", ", ".join(plan.names_of("build_args"))),
        ("build secrets", ", ".join(plan.names_of("build_secrets"))),
    ]
    streams.note(pairs([(name, one_line(value)) for name, value in rows if value]))
    streams.note(f"nothing was sent to {place.shown} (--dry-run)")


def _show(
    request: DeployRequest,
    plan: _Plan,
    triggered: BuildTriggered,
    state: BuildState,
    place: PlatformPlace,
) -> None:
    link = place.link(f"/environments/{triggered.registry_id}")
    tasks = _named(state.manifest, "tasks", "id")
    if request.as_json:
        streams.write_json(
            {
                "action": "deploy",
                "success": state.status == "SUCCEEDED",
                "name": plan.name,
                "registry_id": triggered.registry_id,
                "build_id": triggered.id,
                "status": state.status,
                "version": state.version,
                "uri": state.uri,
                "error": state.error_message,
                "duration_s": state.duration_seconds,
                "tasks": tasks,
                "capabilities": _named(state.manifest, "capabilities", "name"),
                "link": link,
            }
        )
        return
    if state.status == "SUCCEEDED":
        rows = [
            ("environment", plan.name),
            ("version", str(state.version)),
            ("built", state.uri or ""),
            ("tasks", ", ".join(tasks)),
            ("build", triggered.id),
        ]
        streams.write(pairs([(name, one_line(value)) for name, value in rows if value]))
    else:
        said = state.error_message or "it says not why"
        streams.note(f"error: the build {state.status.lower().replace('_', ' ')}: {one_line(said)}")
    streams.note(f"at {link}")


def _named(manifest: dict[str, Any] | None, what: str, by: str) -> list[str]:
    found: Any = (manifest or {}).get(what)
    rows = cast("list[dict[str, Any]]", found) if isinstance(found, list) else []
    return [str(row[by]) for row in rows if by in row]
