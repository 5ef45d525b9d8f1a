"""When the masks over a container's /proc are lifted: where none of its processes is our root."""

from __future__ import annotations

from typing import Any

import pytest

from hud.runtimes.docker.facts import read_facts
from hud.runtimes.docker.walls import opening_options, user_of

LIFTED = ["--security-opt", "systempaths=unconfined"]


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "00", "app", "0x3e8", "-1", "1000x"])
def test_root_and_names_that_may_be_root_keep_the_masks(user: str) -> None:
    assert opening_options({}, "docker", user=user) == []


@pytest.mark.parametrize("user", ["1000", "1000:1000", "65534:0"])
def test_a_user_by_number_gets_them_lifted(user: str) -> None:
    assert opening_options({}, "docker", user=user) == [*LIFTED, "--user", user]
    words = ["--security-opt", "unmask=ALL", "--user", user]
    assert opening_options({}, "podman", user=user) == words


@pytest.mark.parametrize(
    "run_args",
    [
        ["--privileged"],
        ["--cap-add=SYS_ADMIN"],
        ["--cap-add", "ALL"],
        ["--security-opt=no-new-privileges=false"],
    ],
)
def test_a_user_who_may_come_to_more_rights_keeps_them(run_args: list[str]) -> None:
    assert opening_options({}, "docker", user="1000", run_args=run_args) == []


@pytest.mark.parametrize(
    "info",
    [
        {"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]},
        {"SecurityOptions": ["name=rootless"]},
        {"host": {"security": {"rootless": True}}},
    ],
)
def test_an_engine_whose_root_is_somebody_else_lifts_them_for_root(info: dict[str, Any]) -> None:
    assert opening_options(info, "docker", user="") == LIFTED


@pytest.mark.parametrize(
    ("run_args", "user"),
    [
        ([], "7"),
        (["--user", "1000"], "1000"),
        (["--init", "--user=1000:1000"], "1000:1000"),
        (["-u", "1000"], "1000"),
        (["-u1000"], "1000"),
        (["-itu0"], ""),
        (["--user", "1000", "--user", "0"], "0"),
        (["--user"], ""),
    ],
)
def test_what_the_container_is_told_wins_over_its_image(run_args: list[str], user: str) -> None:
    assert user_of(run_args, "7") == user


def test_the_user_of_an_image_is_read_whoever_made_it() -> None:
    assert read_facts('{"User": "1000"}').user == "1000"
    assert read_facts('{"User": "1000", "Labels": {"hud.version": "1"}}').user == "1000"
    assert read_facts("{}").user == ""
