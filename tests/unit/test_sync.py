"""Which tasks an upload would create or update, and what goes over the wire."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud import RuntimeConfig, SyncPlan, Task, Taskset
from hud._core.errors import InputError
from hud._core.settings import get_settings
from hud.api.errors import NotOnPlatform
from hud.eval.sync import plan_sync, signature, tasks_of_export, upload_item
from tests.platform_server import FakePlatform, running_platform


def full() -> Task:
    return Task(
        env="e",
        id="t",
        args={"n": 1, "nothing": None},
        slug="mine",
        validation=[{"name": "check"}],
        agent_config={"system_prompt": None},
        columns={},
        runtime_config=RuntimeConfig.model_validate(
            {"image": "x", "resources": None, "limits": {"run_timeout_s": 5}}
        ),
        verifier=Task(env="other", id="judge"),
    )


def exported(task: Task) -> dict[str, Any]:
    """Return what a platform's export says of a task that was uploaded."""
    item = upload_item(task)
    names = ("validation", "agent_config", "columns", "runtime_config", "verifier")
    return {
        "env": item["env"]["name"],
        "scenario": item["task_id"],
        "name": item["name"],
        "args": item["args"],
        **{name: item.get(name) for name in names},
    }


@pytest.mark.parametrize(
    "task", [full(), Task(env="e", id="t"), Task(env="e", id="t", args={"a": "ü"})]
)
def test_a_task_comes_back_from_a_platform_as_it_went(task: Task) -> None:
    [back] = tasks_of_export([exported(task)], taskset="s")
    assert signature(back) == signature(task)
    assert (back.slug, back.env, back.id) == (task.slug, task.env, task.id)
    assert plan_sync([task], [back]).unchanged == [task]


def test_what_is_unset_is_left_out_and_arguments_never_are() -> None:
    assert upload_item(Task(env="e", id="t")) == {
        "name": "t",
        "env": {"name": "e"},
        "task_id": "t",
        "args": {},
    }
    item = upload_item(full())
    assert item["runtime_config"] == {
        "image": "x",
        "resources": None,
        "limits": {"run_timeout_s": 5},
    }
    assert item["args"] == {"n": 1, "nothing": None}
    assert item["columns"] == {}
    assert item["verifier"] == {"env": "other", "id": "judge"}


@pytest.mark.parametrize(
    "change",
    [
        {"env": "f"},
        {"id": "u"},
        {"args": {"n": 2}},
        {"columns": {"level": 1}},
        {"agent_config": {}},
        {"runtime_config": {"image": "y"}},
        {"verifier": None},
    ],
)
def test_everything_but_the_slug_counts_as_a_change(change: dict[str, Any]) -> None:
    changed = full().model_copy(deep=True)
    for name, value in change.items():
        setattr(changed, name, value)
    plan = plan_sync([changed], [full()])
    assert plan.to_update == [changed]


def test_a_plan_says_what_it_would_do() -> None:
    one, two, three = (Task(env="e", id=name) for name in ("one", "two", "three"))
    changed = Task(env="e", id="two", args={"n": 1}, slug="two")
    plan = plan_sync([one, changed], [two, three], name="mine")
    assert plan.to_apply == [one, changed]
    assert plan.remote_only == [three]
    assert plan.summary() == ("mine: 1 to create, 1 to update, 0 unchanged, 1 only on the platform")
    assert plan_sync([one], [one], force=True).to_update == [one]
    assert SyncPlan().to_apply == []


def test_a_row_that_is_no_task_is_named() -> None:
    with pytest.raises(InputError, match="task 2 of mine"):
        tasks_of_export([exported(full()), {"env": "e", "name": "x"}], taskset="mine")


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[FakePlatform]:
    with running_platform() as platform:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
        for name, value in platform.env.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        yield platform
        get_settings.cache_clear()


async def test_a_taskset_of_the_platform_is_loaded_by_name_and_by_id(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    taskset_id = "9f3c2b10-0000-4000-8000-000000000001"
    rows = {"mine": exported(full()), "t": exported(Task(env="e", id="t"))}
    platform.tasksets[taskset_id] = {"name": "words / ü", "tasks": rows}
    for name in ("words / ü", taskset_id):
        taskset = Taskset.from_api(name)
        assert (taskset.name, taskset.taskset_id) == ("words / ü", taskset_id)
        assert list(taskset.tasks) == ["mine", "t"]
    with pytest.raises(NotOnPlatform):
        Taskset.from_api("others")
    monkeypatch.setenv("HUD_API_KEY", "")
    with pytest.raises(InputError, match="HUD_API_KEY is not set"):
        Taskset.from_api("words")
