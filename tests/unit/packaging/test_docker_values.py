"""What others name their variables is no setting of the engine's command."""

from __future__ import annotations

from typing import Literal

import pytest

from hud.packaging.docker.values import argument_options, variable_options

HOSTILE = {
    "DOCKER_HOST": "tcp://elsewhere:2375",
    "DOCKER_CONFIG": "/context",
    "LD_PRELOAD": "/context/evil.so",
    "PATH": "/context",
    "https_proxy": "http://elsewhere",
}


def test_arguments_of_a_build_are_no_settings_of_the_command() -> None:
    words, environment = argument_options({**HOSTILE, "NPM_TOKEN": "of somebody"})
    assert environment == {"NPM_TOKEN": "of somebody"}
    assert words[:2] == ["--build-arg", "DOCKER_HOST=tcp://elsewhere:2375"]
    assert words[-2:] == ["--build-arg", "NPM_TOKEN"]


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_variables_of_a_container_are_no_settings_of_the_command(
    kind: Literal["docker", "podman"],
) -> None:
    lines, words, environment = variable_options({**HOSTILE, "EMPTY": "", "A_KEY": "a=b #c"}, kind)
    assert lines.splitlines() == [
        *(f"{name}={value}" for name, value in HOSTILE.items()),
        "EMPTY=",
        "A_KEY=a=b #c",
    ]
    assert (words, environment) == ([], {})


def test_what_no_line_can_hold_comes_another_way() -> None:
    given = {"LD_PRELOAD": "a\n/evil.so", "CERTIFICATE": "-----\n----", "LONG": "x" * 70_000}
    lines, words, environment = variable_options(given, "docker")
    assert lines == "" and words == [
        "--env=LD_PRELOAD=a\n/evil.so",
        "--env=CERTIFICATE",
        "--env=LONG",
    ]
    assert environment == {name: given[name] for name in ("CERTIFICATE", "LONG")}
    assert variable_options({"QUOTED": '"a"'}, "podman")[0] == ""
    assert variable_options({"QUOTED": '"a"'}, "docker")[0] == 'QUOTED="a"\n'
