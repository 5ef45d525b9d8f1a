"""What rows say of Compose projects, and what is read of a Compose file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hud import ComposeProject, RuntimeConfig, Task, Taskset
from hud._core import json
from hud.environment.compose import FOREIGN
from hud.environment.compose_file import read_document
from hud.errors import InputError
from hud.runtimes.docker.compose import launched, read_project, size_of

FILE = """
version: "3.8"
x-shared: &shared
  environment: [ONE=1, TWO, "THREE=${THREE:-three}"]
services:
  main:
    <<: *shared
    image: my/env:${TAG}
    command: hud serve "env file.py"
    ports: ["8080:80", "127.0.0.1:5000-5001:5000-5001/udp", 9000]
    volumes: ["./data:/data:ro", "kept:/kept", /scratch]
    depends_on: [db]
    networks: [front]
    env_file: [more.env]
    healthcheck: {test: curl localhost}
    labels: {cost: $$5}
  db:
    image: postgres
    profiles: [never]
networks: {front: }
volumes: {kept: }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text(FILE)
    (tmp_path / ".env").write_text("TAG=v2\nTWO=2\n")
    (tmp_path / "more.env").write_text("FOUR=4\nONE=overridden\n")
    (tmp_path / "data").mkdir()
    return tmp_path


def row(compose: Any, **more: Any) -> Task:
    config = {"compose": compose, **more}
    return Task.model_validate({"env": "e", "id": "t", "runtime_config": config})


def test_a_compose_file_is_read_into_its_long_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREE", "of this machine, which is nobody's business")
    document = read_document(folder / "compose.yaml", folder)
    main = document["services"]["main"]
    assert main["image"] == "my/env:v2"
    assert main["command"] == ["hud", "serve", "env file.py"]
    assert main["environment"] == {"FOUR": "4", "ONE": "1", "TWO": "2", "THREE": "three"}
    assert [port["target"] for port in main["ports"]] == [80, 5000, 5001, 9000]
    assert main["ports"][1]["protocol"] == "udp"
    assert main["volumes"] == [
        {"type": "bind", "source": "./data", "target": "/data", "read_only": True},
        {"type": "volume", "source": "kept", "target": "/kept"},
        {"type": "volume", "target": "/scratch"},
    ]
    assert main["depends_on"] == {"db": {"condition": "service_started"}}
    assert main["networks"] == {"front": {}}
    assert main["healthcheck"]["test"] == ["CMD-SHELL", "curl localhost"]
    assert main["labels"] == {"cost": "$5"}
    assert "version" not in document and document["volumes"] == {"kept": {}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("services: [", "is not YAML"),
        ("services: {}", "has no services"),
        ("just text", "no Compose document"),
        ("services: {main: {image: '${NOT_THERE}'}}", "needs the variable NOT_THERE"),
        ("services: {main: {image: '${X:?say it}'}}", "needs the variable X: say it"),
        ("services: {main: {image: '${X'}}", "names no variable"),
        ("services: {main: {env_file: ../other.env}}", "cannot be read"),
        ('services: {main: {command: "it\'s"}}', "No closing quotation"),
        ("services: {main: {volumes: text}}", "is no list"),
        (
            "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
            + "".join(
                f"{name}: &{name} [{','.join('*' + before for _ in range(10))}]\n"
                for before, name in zip("abcdef", "bcdefg", strict=True)
            ),
            "holds more than",
        ),
        (
            f"a: &a {{{','.join(f'k{number}: 1' for number in range(1000))}}}\n"
            + "".join(
                f"{name}: &{name} {{<<: [{','.join(['*' + before] * 1000)}]}}\n"
                for before, name in zip("abcd", "bcde", strict=True)
            ),
            "holds more than",
        ),
        ("services: {main: &a {image: x, x-more: [*a]}}", "nested deeper"),
        ("services: {main: {ports: [" + "1-65535," * 1000 + "]}}", "more than 65535 ports"),
    ],
)
def test_what_means_nothing_is_refused_with_a_sentence(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        read_document(tmp_path / "compose.yaml", tmp_path)


def test_rows_in_files_hold_paths_and_rows_that_travel_the_document(folder: Path) -> None:
    task = row(ComposeProject(document=folder / "compose.yaml", root=folder))
    (folder / "rows").mkdir()
    Taskset("t", [task]).to_file(folder / "rows" / "t.json")
    written = json.decode((folder / "rows" / "t.json").read_bytes())["tasks"][0]
    assert written["runtime_config"] == {"compose": {"document": "../compose.yaml", "root": ".."}}
    again = next(iter(Taskset.from_file(folder / "rows" / "t.json").tasks.values()))
    assert again.runtime_config is not None and again.runtime_config.compose is not None
    assert again.runtime_config.compose.document == (folder / "compose.yaml").resolve()
    sent = task.to_row()["runtime_config"]["compose"]
    assert sent["document"]["services"]["main"]["image"] == "my/env:v2"
    assert sent["root"] == {"compose_path": "compose.yaml"}
    assert row(sent).to_row()["runtime_config"]["compose"] == sent
    assert again.digest() == task.digest()
    (folder / "compose.yaml").write_text(FILE.replace("my/env", "other"))
    assert again.digest() != row(sent).digest()


def test_a_row_of_others_names_no_path_of_this_machine() -> None:
    with pytest.raises(ValidationError, match="inlined"):
        RuntimeConfig.model_validate(
            {"compose": {"document": "/etc/compose.yaml"}}, context={FOREIGN: True}
        )


def test_an_image_and_a_project_exclude_each_other(folder: Path) -> None:
    project = ComposeProject(document=folder / "compose.yaml")
    with pytest.raises(ValidationError, match="not both"):
        RuntimeConfig(image="x", compose=project)
    of_project, of_image = RuntimeConfig(compose=project), RuntimeConfig(image="x")
    assert of_project.with_overrides(of_image) == of_image
    assert of_image.with_overrides(of_project).compose == project
    assert of_image.with_overrides(of_project).image is None
    with pytest.raises(ValidationError, match="outside its root"):
        ComposeProject(document=folder / "compose.yaml", root=folder / "data")


def test_what_is_started_holds_every_service_to_the_rows_limits(folder: Path) -> None:
    text = FILE.replace("depends_on: [db]", "mem_limit: 64m").replace("[front]", "[front, default]")
    (folder / "compose.yaml").write_text(text)
    project = read_project(
        ComposeProject(document=folder / "compose.yaml"), closed=True, engine_socket=None
    )
    assert list(project.services) == ["main"]  # profiles are left out
    config = RuntimeConfig.model_validate({"resources": {"memory_mb": 128, "cpu": 0.5}})
    document = launched(
        project,
        images={"main": "built"},
        labels={"hud.owner": "$me"},
        main={"environment": {"ONE": "ours"}},
        every={"security_opt": ["no-new-privileges"]},
        resources=config.resources,
    )
    main = document["services"]["main"]
    assert main["image"] == "built" and "ports" not in main
    assert (main["mem_limit"], main["cpus"]) == (str(64 << 20), 0.5)
    assert main["environment"]["ONE"] == "ours"
    assert main["labels"] == {"hud.owner": "$$me"}
    assert {name: net["internal"] for name, net in document["networks"].items()} == {
        "default": True,
        "front": True,
    }
    assert [size_of(text) for text in ("1k", "1.5mb", "2GiB", 7)] == [1024, 1572864, 2 << 30, 7]


def test_variables_of_a_project_are_never_those_of_who_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "of whoever reads it")
    (tmp_path / ".env").write_text(
        "NAME=me\nGREETING=hi ${NAME}${OTHER:-!}\nTAKEN=${SOME_API_KEY}\n"
    )
    text = "services: {main: {image: x, environment: [GREETING, TAKEN]}}"
    (tmp_path / "compose.yaml").write_text(text)
    document = read_document(tmp_path / "compose.yaml", tmp_path)
    assert document["services"]["main"]["environment"] == {"GREETING": "hi me!", "TAKEN": ""}


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({"pids_limit": -1, "cpus": 0.0, "mem_limit": "0"}, (4096, 0.5, 128 << 20)),
        ({"pids_limit": 0, "cpus": "0", "mem_limit": "0b"}, (4096, 0.5, 128 << 20)),
        ({"pids_limit": "9", "cpus": "0.1", "mem_limit": "1m"}, (9, 0.1, 1 << 20)),
        ({"cpus": -1, "deploy": {"resources": {"limits": {"pids": -1}}}}, (4096, 0.5, 128 << 20)),
    ],
)
def test_a_service_that_asks_for_no_limit_has_the_rows(
    asked: dict[str, Any], held: tuple[int, float, int]
) -> None:
    document = {"services": {"main": {"image": "x", **asked}}}
    project = ComposeProject.model_validate({"document": document})
    config = RuntimeConfig.model_validate({"resources": {"memory_mb": 128, "cpu": 0.5}})
    main = launched(
        read_project(project, closed=True, engine_socket=None),
        images={"main": "x"},
        labels={},
        main={},
        every={},
        resources=config.resources,
    )["services"]["main"]
    assert (main["pids_limit"], main["cpus"], int(main["mem_limit"])) == held


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"services": {"main": {"ulimits": {"rtprio": 99}}}}, "ulimits.rtprio"),
        ({"services": {"main": {"image": "x"}}, "volumes": {"/etc": {}}}, "no name of a volume"),
    ],
)
def test_what_reaches_over_other_processes_or_files_is_refused(
    document: dict[str, Any], says: str
) -> None:
    project = ComposeProject.model_validate({"document": document})
    with pytest.raises(InputError, match=says):
        read_project(project, closed=True, engine_socket=None)


@pytest.mark.parametrize(
    "text",
    [
        "when: 2020-13-45",
        "when: !!timestamp x",
        "services: {main: {image: x, deploy: 5}}",
        "services: {main: {image: x, deploy: {resources: 5}}}",
        "services: {main: {image: x, networks: {default: 5}}}",
        "services: {main: {image: x, security_opt: 5}}",
        "services: {main: {image: x, depends_on: {a: 3}}}",
        "services: {main: {image: x, cap_drop: 5}}",
        "services: {main: {image: x, volumes: [{type: volume, source: [1], target: /x}]}}",
        "services: {main: {image: x, secrets: [a]}}\nsecrets: {a: 5}",
        "services: {main: {image: x}}\nvolumes: {a: 5}",
    ],
)
def test_what_has_another_form_is_refused_with_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "compose.yaml").write_text(text)
    project = ComposeProject(document=tmp_path / "compose.yaml")
    with pytest.raises(InputError, match=r"is no map|is no list|is not YAML|no volume|is no file"):
        read_project(project, closed=True, engine_socket=None)
