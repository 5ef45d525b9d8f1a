"""Tasks as rows: slugs, files and their mistakes, verifiers, conversations."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hud import Environment
from hud._core import json
from hud._core.errors import AgentFault, InputError, ModelFault
from hud._core.outcome import Outcome
from hud.agents.base import Agent
from hud.agents.grade import Grade
from hud.agents.run import Run
from hud.environment.task import Task
from hud.eval import Chat, Job, LocalRuntime, Taskset, rollout
from hud.eval.recording import default_store
from tests.rollouts import Counting, Gate, assert_ungraded, echo, recorded_in, recorded_runs

Steps = AsyncGenerator[Any, Any]

env = Environment(name="words")


@env.template()
async def say(word: str = "yes") -> Steps:
    answer = yield f"say {word}"
    yield {"score": float(answer == word), "info": {"heard": answer}}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    with recorded_in(tmp_path, monkeypatch) as home:
        yield home


# -- rows ------------------------------------------------------------------------------------


def test_a_slug_is_the_id_and_eight_digits_of_the_arguments() -> None:
    assert Task(env="e", id="t").slug == "t"
    assert (
        Task(env="e", id="t", args={"b": 1, "a": "ü"}).slug
        == "t-4a9c3aa4"[:2] + (Task(env="e", id="t", args={"a": "ü", "b": 1}).slug[2:])
    )
    slug = Task(env="e", id="t", args={"word": "strawberry"}).slug
    assert len(slug) == len("t-") + 8
    assert Task(env="e", id="t", slug="mine").slug == "mine"


@pytest.mark.parametrize(
    ("field", "value"),
    [("env", ""), ("id", ""), ("args", [1]), ("slug", ""), ("verifier", 3), ("args", None)],
)
def test_rows_are_validated_when_made_and_when_assigned(field: str, value: Any) -> None:
    good = Task(env="e", id="t")
    with pytest.raises(ValidationError):
        setattr(good, field, value)
    if field != "slug":  # an empty one is filled in
        with pytest.raises(ValidationError):
            Task.model_validate({"env": "e", "id": "t", field: value})


def test_a_verifier_has_no_verifier_of_its_own() -> None:
    inner = Task(env="e", id="t", verifier=Task(env="e", id="t"))
    with pytest.raises(ValidationError, match="a verifier cannot have a verifier of its own"):
        Task(env="e", id="t", verifier=inner)
    outer = Task(env="e", id="t")
    with pytest.raises(ValidationError, match="a verifier cannot have a verifier of its own"):
        outer.verifier = inner


def test_two_tasks_of_one_slug_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="two tasks have the slug 'say'"):
        Taskset("double", [say(), say()])


def test_a_taskset_may_be_made_with_and_without_a_name_from_any_iterable() -> None:
    rows = [say(word="a"), say(word="b")]
    assert list(Taskset("named", rows)) == list(Taskset(rows)) == list(Taskset(iter(rows)))
    assert (Taskset("named", rows).name, Taskset(rows).name) == ("named", "say")
    assert (len(Taskset()), Taskset().name) == (0, "taskset")
    assert Taskset(rows)[rows[0].slug] is rows[0]
    assert dict(Taskset(rows).items()) == {row.slug: row for row in rows}
    assert Taskset(rows).environment_names() == {"words"}


def test_filter_and_exclude_keep_the_order_and_name_what_is_unknown() -> None:
    taskset = Taskset("abc", [Task(env="e", id="t", slug=slug) for slug in "abc"])
    assert list(taskset.filter(["c", "a"]).tasks) == ["a", "c"]
    assert list(taskset.exclude(["b"]).tasks) == ["a", "c"]
    assert taskset.filter([]).name == "abc"
    for act in (taskset.filter, taskset.exclude):
        with pytest.raises(InputError, match="taskset 'abc' has no task 'd'") as caught:
            act(["a", "d"])
        assert caught.value.hint == "its tasks: a, b, c"


# -- files -----------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {"env": "e", "id": "plain"},
    {"env": "e", "id": "args", "args": {"word": "ü\n", "n": [1, None, {"x": 1.5}]}},
    {
        "env": "e",
        "id": "full",
        "slug": "my-slug",
        "args": {"none": None},
        "validation": [{"answer": "x"}],
        "agent_config": {"timeout_seconds": 3},
        "columns": {"level": "hard"},
        "runtime_config": {"image": "ubuntu", "resources": {"cpu": 2.0}},
        "verifier": {"env": "other", "id": "v", "args": {"a": 1}},
    },
]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_rows_survive_a_round_trip_through_a_file(suffix: str, tmp_path: Path) -> None:
    taskset = Taskset("rows", [Task.model_validate(row) for row in ROWS])
    path = tmp_path / f"rows{suffix}"
    assert taskset.to_file(path) == path
    again = Taskset.from_file(path)
    assert again.name == "rows"
    assert [task.to_row() for task in again] == ROWS
    assert list(again) == list(taskset)
    assert [task.digest() for task in again] == [task.digest() for task in taskset]


@pytest.mark.parametrize("name", ["tasks.py", "env.py", "letters.py"])
def test_a_source_or_its_folder_gives_its_tasks(name: str, tmp_path: Path) -> None:
    source = tmp_path / "letters" / name
    source.parent.mkdir()
    source.write_text(
        "from hud import Environment, Taskset\n"
        "env = Environment(name='letters')\n"
        "@env.template()\n"
        "async def count(word: str):\n"
        "    answer = yield word\n"
        "    yield 1.0\n"
        "tasks = [count(word=w) for w in 'abc']\n"
        "more = Taskset('more', [count(word='d'), tasks[0]])\n"
        "one = count(word='e')\n"
    )
    targets = [source] if name == "letters.py" else [source, source.parent]
    for target in targets:
        taskset = Taskset.from_file(target)
        assert [task.args["word"] for task in taskset] == ["a", "b", "c", "d", "e"]
        assert taskset.name == "letters"


def test_one_object_is_one_task_and_a_list_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_bytes(json.encode(ROWS[1]))
    assert [task.to_row() for task in Taskset.from_file(path)] == ROWS[1:2]
    path.write_bytes(json.encode(ROWS))
    assert ([task.to_row() for task in Taskset.from_file(path)], Taskset.from_file(path).name) == (
        ROWS,
        "some",
    )


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rows.jsonl", '{"env": "e", "id": "a"}\n\nnot json\n', r"rows\.jsonl line 3 is not JSON"),
        ("rows.jsonl", '{"env": "e", "id": "a"}\n{"id": "b"}\n', r"rows\.jsonl line 2: env: "),
        ("rows.jsonl", "[1]\n", r"rows\.jsonl line 1 is no task but \[1\]"),
        (
            "rows.jsonl",
            '{"env": "e", "id": "a"}\n{"env": "e", "id": "a"}\n',
            r"rows\.jsonl line 2: two tasks have the slug 'a'",
        ),
        ("rows.json", "{", r"rows\.json is not JSON"),
        ("rows.json", '"text"', "holds neither a list of tasks nor an object with one"),
        ("rows.json", '{"tasks": 3}', "holds neither a list of tasks nor an object with one"),
        ("rows.json", '[{"env": "e", "id": "a"}, 3]', r"rows\.json row 2 is no task but 3"),
        ("rows.json", '[{"env": "e", "id": 3}]', r"rows\.json row 1: id: "),
        (
            "rows.json",
            '[{"env": "e", "id": "a"}, {"env": "f", "id": "a"}]',
            r"rows\.json row 2: two tasks have the slug 'a'",
        ),
        (
            "rows.json",
            '[{"env":"e","id":"a","verifier":{"env":"e","id":"b","verifier":{"env":"e","id":"c"}}}]',
            "a verifier cannot have a verifier",
        ),
        ("rows.py", "x = 1", r"rows\.py has no tasks at module level"),
        ("rows.py", "x = (", r"rows\.py line 1: '\(' was never closed"),
        ("rows.yaml", "x", r"rows\.yaml is not a Python file"),
    ],
)
def test_a_file_that_cannot_be_used_names_itself_and_the_place(
    name: str, text: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        Taskset.from_file(path)


def test_files_that_are_not_there_or_not_text_are_named(tmp_path: Path) -> None:
    for name in ("no.json", "no.jsonl", "no.py"):
        with pytest.raises(InputError, match=rf"{name} (cannot be read|does not exist)"):
            Taskset.from_file(tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder has no tasks\.py or env\.py"):
        Taskset.from_file(tmp_path / "folder")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.json is not JSON"):
        Taskset.from_file(tmp_path / "bytes.json")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    for name, data in (("a.json", json.encode(ROWS[:1])), ("a.jsonl", json.encode(ROWS[0]))):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + data)
        assert [task.to_row() for task in Taskset.from_file(tmp_path / name)] == ROWS[:1]


def test_writing_where_nothing_can_be_written_is_one_sentence(tmp_path: Path) -> None:
    taskset = Taskset("rows", [Task(env="e", id="t")])
    with pytest.raises(InputError, match=r"is neither \.json nor \.jsonl"):
        taskset.to_file(tmp_path / "rows.csv")
    with pytest.raises(InputError, match=r"nowhere/rows\.json cannot be written"):
        taskset.to_file(tmp_path / "nowhere" / "rows.json")


# -- running ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"group": 0}, "group must be at least 1, not 0"),
        ({"max_concurrent": 0}, "max_concurrent must be at least 1, not 0"),
        ({"rollout_timeout": 0.0}, "rollout_timeout must be positive seconds"),
        ({"rollout_timeout": math.nan}, "rollout_timeout must be positive seconds"),
        ({"retries": -1}, "retries must be at least 0"),
    ],
)
async def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await Taskset([say()]).run(echo, **wrong)
    assert default_store().list_jobs() == []


async def test_what_is_no_agent_is_refused() -> None:
    for wrong in (3, Agent, Chat):
        with pytest.raises(TypeError, match="agent must be an Agent"):
            await Taskset([say()]).run(wrong)  # type: ignore[arg-type]


async def test_an_empty_taskset_is_a_job_without_runs() -> None:
    job = await Taskset("nothing").run(echo)
    assert (job.runs, math.isnan(job.reward)) == ([], True)
    assert default_store().find_job(job.id).status == "completed"


async def test_a_job_is_named_after_what_it_runs_and_keeps_its_own_group() -> None:
    assert (await Taskset("one", [say()]).run(echo)).name == "one"
    job = await Taskset("two", [say(word="a"), say(word="b")]).run(echo, group=3)
    assert (job.name, job.group, len(job.runs)) == ("two (2 tasks) (3 times)", 3, 6)
    held = await Job.start("mine", group=2)
    assert len((await Taskset([say()]).run(echo, job=held)).runs) == 2


async def test_one_task_runs_by_itself() -> None:
    class Echo(Agent):
        async def __call__(self, run: Run) -> str:
            return await echo(run)

    job = await say(word="hey").run(Echo(), group=2)
    assert ([run.reward for run in job.runs], job.name) == (
        [1.0, 1.0],
        f"{job.runs[0].slug} (2 times)",
    )


# -- verifiers -------------------------------------------------------------------------------


def verifier_env(score: Any = 0.25) -> Environment:
    other = Environment(name="verifiers")

    @other.template()
    async def check(at_least: float = 0.0) -> Steps:
        grade = yield "look at it"
        yield {"score": score, "info": {"first": grade["score"], "at_least": at_least}}

    return other


async def play_with_verifier(verifier: Task, other: Environment) -> tuple[Run, Counting]:
    envs = {"words": env, "verifiers": other}
    provider = Counting(lambda row: LocalRuntime(envs[row.env])(row))
    row = say(word="hey")
    row.verifier = verifier
    return await rollout(row, echo, runtime=provider), provider


async def test_a_verifiers_grade_is_the_one_that_counts() -> None:
    verifier = Task(env="verifiers", id="check", args={"at_least": 0.5})
    run, provider = await play_with_verifier(verifier, verifier_env())
    assert (run.outcome, run.reward) == (Outcome.GRADED, 0.25)
    assert run.grade.info == {"first": 1.0, "at_least": 0.5}
    assert (provider.entered, provider.is_even) == (2, True)
    calls = [step.task_call for step in run.trace.steps if step.task_call is not None]
    assert [(call.phase, call.name) for call in calls] == [
        ("setup", "say"),
        ("evaluate", "say"),
        ("setup", "check"),
        ("evaluate", "check"),
    ]
    assert recorded_runs(run.job_id or "")[0].reward == 0.25


@pytest.mark.parametrize(
    ("id", "score", "outcome", "says"),
    [
        ("check", math.nan, Outcome.GRADER, "[verifying] template 'check'"),
        ("unknown", 1.0, Outcome.ENVIRONMENT, "no task 'unknown'"),
    ],
)
async def test_a_verifier_that_breaks_leaves_the_run_ungraded(
    id: str, score: float, outcome: Outcome, says: str
) -> None:
    run, provider = await play_with_verifier(Task(env="verifiers", id=id), verifier_env(score))
    assert_ungraded(run, outcome, says)
    assert provider.is_even


async def test_a_verifier_that_cannot_be_placed_is_a_runtime_fault() -> None:
    def provider(row: Task) -> Any:
        if row.env == "verifiers":
            raise OSError("no second machine")
        return LocalRuntime(env)(row)

    row = say(word="hey")
    row.verifier = Task(env="verifiers", id="check")
    run = await rollout(row, echo, runtime=provider)
    assert_ungraded(run, Outcome.RUNTIME, "no second machine")


async def test_cancelling_while_a_verifier_is_torn_down_waits_for_it() -> None:
    gate = Gate()
    other = verifier_env()
    places: list[Counting] = []

    def provider(row: Task) -> Any:
        is_verifier = row.env == "verifiers"
        inner = LocalRuntime(other if is_verifier else env)
        places.append(Counting(inner, on_exit=gate if is_verifier else None))
        return places[-1](row)

    row = say(word="hey")
    row.verifier = Task(env="verifiers", id="check")
    work = asyncio.create_task(rollout(row, echo, runtime=provider))
    await gate.reached.wait()
    work.cancel()
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [place.is_even for place in places] == [True, True]


# -- grades ----------------------------------------------------------------------------------


def test_a_grade_knows_its_frame_and_shows_it_without_the_info_of_subscores() -> None:
    frame = {
        "score": 1,
        "info": {"kept": 1},
        "subscores": [{"name": "a", "value": 1, "info": {"gone": 1}, "children": [{"info": 2}]}],
    }
    grade = Grade.from_dict(frame)
    assert (grade.reward, grade.done, grade.info, grade.raw) == (1.0, True, {"kept": 1}, frame)
    assert grade.evaluation == {
        "score": 1,
        "info": {"kept": 1},
        "subscores": [{"name": "a", "value": 1, "children": [{}]}],
    }


@pytest.mark.parametrize("score", [None, "1", True, math.nan, math.inf, [1], {}])
def test_a_grade_without_a_finite_score_is_no_grade(score: Any) -> None:
    with pytest.raises(Exception, match="score") as caught:
        Grade.from_dict({"score": score})
    assert getattr(caught.value, "outcome", None) is Outcome.GRADER


def test_an_ungraded_grade_is_nan_and_a_failed_run_has_one() -> None:
    assert math.isnan(Grade.ungraded().reward)
    assert Grade.ungraded().evaluation == {}
    run = Run.failed("no machine")
    assert (run.outcome, run.trace.error, run.trace.status) == (
        Outcome.RUNTIME,
        "no machine",
        "error",
    )
    assert math.isnan(run.reward)
    fault = Run.failed(ModelFault("429"))
    assert (fault.outcome, fault.trace.error) == (Outcome.MODEL, "429")


# -- conversations ---------------------------------------------------------------------------

talk_env = Environment(name="talk")


@talk_env.template()
async def talk(messages: list[dict[str, Any]], tone: str = "plain") -> Steps:
    yield [{"role": m["role"], "content": m["content"]} for m in messages]
    yield 1.0


async def count_turns(run: Run) -> str:
    texts = [str(message["content"]) for message in run.args["messages"]]
    if texts[-1] == "break":
        raise ModelFault("429")
    return f"heard {len(texts)}: {texts[-1]}"


class Counter(Agent):
    async def __call__(self, run: Run) -> str:
        return await count_turns(run)


async def test_a_chat_is_one_job_with_a_run_per_turn_and_carries_its_messages() -> None:
    task = Task(env="talk", id="talk", args={"tone": "kind", "messages": []})
    chat = Chat(task, Counter(), runtime=LocalRuntime(talk_env))
    assert (await chat.send("hello")).content == "heard 1: hello"
    assert (await chat.send("again")).content == "heard 3: again"
    assert [message["role"] for message in chat.messages] == ["user", "assistant"] * 2
    assert chat.messages[-1] == {"role": "assistant", "content": "heard 3: again"}
    assert chat.job is not None and [run.member for run in chat.job.runs] == [0, 1]
    record = default_store().find_job(chat.job.id)
    assert (record.status, len(recorded_runs(record.id))) == ("completed", 2)
    assert chat.job.runs[0].args["tone"] == "kind"


async def test_a_turn_that_breaks_raises_and_takes_its_message_back() -> None:
    chat = Chat(Task(env="talk", id="talk"), Counter(), runtime=LocalRuntime(talk_env))
    await chat.send("hello")
    with pytest.raises(AgentFault, match=r"the turn ended without an answer: .*429"):
        await chat.send("break")
    assert len(chat.messages) == 2
    assert (await chat.send("again")).content == "heard 3: again"


async def test_a_chat_needs_a_runtime() -> None:
    with pytest.raises(ValueError, match=r"Chat\.send needs a runtime"):
        await Chat(Task(env="talk", id="talk"), Counter()).send("hello")
