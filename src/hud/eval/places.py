"""The places a command line can name: `local`, `subprocess`, or the address of what serves."""

from __future__ import annotations

from pathlib import Path

from hud._core.errors import InputError, bounded
from hud.clients.connect import connect
from hud.clients.dial import check_url
from hud.environment.loader import resolve
from hud.runtimes.base import Provider, Runtime

LOCAL, SUBPROCESS = "local", "subprocess"
READY_TIMEOUT_S = 15.0

_SCHEMES = ("tcp://", "unix://")


def place_at(name: str, source: Path | str | None, *, env: str | None = None) -> Provider:
    """Return the provider that `name` means.

    Args:
        name: `local`, `subprocess`, `tcp://host:port` or `unix:///path`.
        source: The Python file or folder the environment is in; an address needs none.
        env: Which environment, when the source has several; the task's own otherwise.

    Raises:
        InputError: for another name, or a place that needs a source and has none.
    """
    if name.startswith(_SCHEMES):
        check_url(name)
        return Runtime(name, params={"ready_timeout": READY_TIMEOUT_S})
    if name not in (LOCAL, SUBPROCESS):
        raise InputError(
            f"there is no runtime {bounded(name)!r}",
            hint="one of: local, subprocess, tcp://host:port, unix:///path",
        )
    if source is None:
        raise InputError(
            f"--runtime {name} needs the Python source of the environment",
            hint="name it with --source env.py, or give the address of a served one: "
            "--runtime tcp://host:port",
        )
    resolve(source)
    if name == LOCAL:
        from hud.runtimes.local import LocalRuntime

        return LocalRuntime(source, env=env)
    from hud.runtimes.subprocess import SubprocessRuntime

    return SubprocessRuntime(source, env=env)


def environment_source(tasks: Path | str, given: Path | str | None = None) -> Path | str | None:
    """Return where the environment of a taskset's file is defined, None when nothing says it.

    A Python source (or folder) defines it itself. Rows of a `.json` or `.jsonl` file come from
    elsewhere: from `given`, or from an env.py or tasks.py in the same folder.
    """
    if given is not None:
        return given
    path = Path(tasks)
    if path.suffix not in (".json", ".jsonl"):
        return tasks
    beside = (path.parent / name for name in ("env.py", "tasks.py"))
    return next((file for file in beside if file.is_file()), None)


async def check_place(provider: Provider) -> None:
    """Find out, before anything is recorded, whether a named address answers.

    Raises:
        RuntimeFault: when nothing answers within 15 seconds.
        EnvironmentFault: when what answers is no environment.
    """
    if isinstance(provider, Runtime):
        async with connect(provider):
            pass
