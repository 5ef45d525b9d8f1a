"""How values that others chose reach the engine's command without becoming its own settings.

The command takes values by name from its own environment. There a name is a setting of the command
too: `DOCKER_HOST` says which engine gets the context, `LD_PRELOAD` what is loaded into it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from hud._core.redact import names_secret

_LINE_BYTES = 60_000  # Docker reads no longer one
# What may stand in a line of a file of variables, and means itself there.
_LINES = {
    "docker": re.compile(r"[^\r\n\0]*"),
    "podman": re.compile(r"[^\r\n\0'\"`\\$]*"),
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What several lines could still mean to the command, its loader and what it starts. None of them is
# a secret with several lines.
_SETTINGS = re.compile(
    r"(LD_|GCONV|GLIBC|LOC|GO|SSL_|SSH_|GIT_|XDG_|OTEL_|DBUS_|DOCKER|BUILD|COMPOSE|PODMAN|CONTAINER"
    r"|REGISTR|STORAGE|NETAVARK|MOBY|PYTHON).*|PATH|HOME|TMPDIR|SHELL|.*_PROXY",
    re.IGNORECASE | re.DOTALL,
)


def argument_options(values: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return options that give a build its arguments, and the environment they need.

    Everybody on the machine reads command lines. What is there is no setting of the command, so
    only an argument whose name says that it is a secret is in the environment.
    """
    words: list[str] = []
    environment: dict[str, str] = {}
    for name, value in values.items():
        words += ["--build-arg", name if names_secret(name) else f"{name}={value}"]
        if names_secret(name):
            environment[name] = value
    return words, environment


def variable_options(
    values: Mapping[str, str], kind: Literal["docker", "podman"]
) -> tuple[str, list[str], dict[str, str]]:
    """Return a file of variables, and options and environment for what no line of it can hold."""
    lines: list[str] = []
    words: list[str] = []
    environment: dict[str, str] = {}
    for name, value in values.items():
        is_short = len(name) + len(value.encode("utf-8", "replace")) < _LINE_BYTES
        if is_short and _NAME.fullmatch(name) and _LINES[kind].fullmatch(value):
            lines.append(f"{name}={value}\n")
        elif _SETTINGS.fullmatch(name):
            words.append(f"--env={name}={value}")
        else:
            words.append(f"--env={name}")
            environment[name] = value
    return "".join(lines), words, environment
