"""A task as a row of data: validated, compact, and with a slug that follows from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hud.environment.runtime_config import (
    RuntimeConfig,
    RuntimeGPU,
    RuntimeLimits,
    RuntimeResources,
    RuntimeTPU,
)
from hud.environment.task import Task


def test_a_slug_is_the_id_or_the_id_and_a_digest_of_the_arguments() -> None:
    digest = hashlib.sha1(json.dumps({"a": 1, "b": "x"}).encode()).hexdigest()[:8]

    assert Task(env="e", id="t").slug == "t"
    assert Task(env="e", id="t", args={"b": "x", "a": 1}).slug == f"t-{digest}"
    assert Task(env="e", id="t", args={"a": 1}, slug="mine").slug == "mine"


@pytest.mark.parametrize(
    "row",
    [
        {"id": "t"},
        {"env": "e"},
        {"env": "", "id": "t"},
        {"env": "e", "id": ""},
        {"env": "e", "id": "t", "args": [1]},
        {"env": "e", "id": 4},
        {"env": "e", "id": "t", "runtime_config": {"cpus": 2}},
    ],
)
def test_a_row_that_is_none_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate(row)


def test_assignments_are_validated_too() -> None:
    task = Task(env="e", id="t")
    task.columns = {"level": 3}
    with pytest.raises(ValidationError):
        task.env = ""
    with pytest.raises(ValidationError):
        task.args = "x"  # type: ignore[assignment]
    assert task.env == "e"


def test_a_row_holds_what_was_set_and_reads_back() -> None:
    full = Task(
        env="e",
        id="t",
        args={"n": 1, "at": Path("/x")},
        columns={"level": "hard"},
        agent_config={"max_steps": 5},
        validation=[{"name": "check"}],
        runtime_config=RuntimeConfig(limits=RuntimeLimits(run_timeout_s=60)),
        verifier=Task(env="v", id="check"),
    )
    row = full.to_row()

    assert Task(env="e", id="t").to_row() == {"env": "e", "id": "t"}
    assert row == {
        "env": "e",
        "id": "t",
        "args": {"n": 1, "at": "/x"},
        "columns": {"level": "hard"},
        "agent_config": {"max_steps": 5},
        "validation": [{"name": "check"}],
        "runtime_config": {"limits": {"run_timeout_s": 60}},
        "verifier": {"env": "v", "id": "check"},
    }
    again = Task.model_validate(json.loads(json.dumps(row)))
    assert again.to_row() == row
    assert again.slug == full.slug
    assert again.digest() == full.digest()


def test_the_digest_follows_what_decides_the_task_and_nothing_else() -> None:
    base = Task(env="e", id="t", args={"n": 1})

    assert Task(env="e", id="t", args={"n": 1}, columns={"x": 1}).digest() == base.digest()
    for other in (
        Task(env="e", id="t", args={"n": 2}),
        Task(env="f", id="t", args={"n": 1}),
        Task(env="e", id="u", args={"n": 1}),
        Task(env="e", id="t", args={"n": 1}, slug="s"),
        Task(env="e", id="t", args={"n": 1}, agent_config={"max_steps": 1}),
        Task(env="e", id="t", args={"n": 1}, verifier=Task(env="v", id="c")),
    ):
        assert other.digest() != base.digest()


def test_a_verifier_has_no_verifier_of_its_own() -> None:
    inner = Task(env="v", id="a", verifier=Task(env="w", id="b"))

    with pytest.raises(ValidationError, match="verifier of its own"):
        Task(env="e", id="t", verifier=inner)


def test_lone_surrogates_in_arguments_do_no_harm() -> None:
    task = Task(env="e", id="t", args={"text": "a\ud800"})

    assert task.to_row()["args"] == {"text": "a�"}
    assert len(task.slug) == len("t-") + 8
    assert len(task.digest()) == 16


def test_an_override_takes_the_place_of_what_it_sets_and_leaves_the_rest() -> None:
    base = RuntimeConfig(
        image="a", resources=RuntimeResources(cpu=2, memory_mb=512), limits=RuntimeLimits()
    )
    over = RuntimeConfig(resources=RuntimeResources(cpu=4, gpu=RuntimeGPU(type="H100")))

    merged = base.with_overrides(over)

    assert merged.image == "a"
    assert merged.resources is not None
    assert (merged.resources.cpu, merged.resources.memory_mb) == (4, 512)
    assert merged.resources.gpu == RuntimeGPU(type="H100")
    assert base.with_overrides(None) is base
    assert RuntimeGPU().acceptable_types == []
    assert RuntimeGPU(type="A").acceptable_types == ["A"]
    assert RuntimeGPU(type=["A", "B"]).acceptable_types == ["A", "B"]


@pytest.mark.parametrize("topology", ["2", "2x", "0x2", "x2", "2x2x"])
def test_a_topology_is_a_product(topology: str) -> None:
    with pytest.raises(ValidationError):
        RuntimeTPU(type="v5", topology=topology)
    assert RuntimeTPU(type="v5", topology="2x2x1").topology == "2x2x1"
