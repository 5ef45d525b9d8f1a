"""Runs and steps as data frames and as files: types, what counts, and what is not known."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hud._core.errors import InputError, StoreError
from hud._core.outcome import Outcome
from hud.eval import load_runs, load_steps
from hud.eval.columns import PAYLOAD_COLUMN, RUN_COLUMNS, STEP_COLUMNS
from hud.eval.reading import Selection, run_batches
from hud.eval.tabular import format_of, whole_file, write_table
from hud.store import RunEnd, RunStart, StepRow, Store, open_store
from tests.contenders import BEGAN, record_job

STEPS = (
    json.dumps({"source": "user", "messages": []}).encode(),
    json.dumps(
        {
            "source": "agent",
            "content": "héllo",
            "model": "m1",
            "finish_reason": "stop",
            "tool_calls": [{"name": "add"}],
            "usage": {"prompt_tokens": 30, "completion_tokens": 5, "cost_usd": 0.25},
        }
    ).encode(),
    json.dumps({"source": "tool", "call": {"name": "add"}, "result": {"isError": True}}).encode(),
    json.dumps({"source": "agent", "usage": {"prompt_tokens": 3}}).encode(),
    b"no json at all",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Generator[Store]:
    store = open_store(home)
    yield store
    store.close()


def again(store: Store, job_id: str, reward: float) -> None:
    """Record a second attempt at task b, member 0."""
    run_id = "f" * 32
    store.put(RunStart(id=run_id, job_id=job_id, task_slug="b", started_at=BEGAN, attempt=2))
    store.put(
        RunEnd(
            id=run_id,
            job_id=job_id,
            status="completed",
            outcome=Outcome.GRADED,
            reward=reward,
            ended_at=BEGAN + 1_500_000,
        )
    )
    store.flush()


class TestRuns:
    def test_every_column_has_its_type_and_what_is_not_known_is_na(
        self, home: Path, store: Store
    ) -> None:
        record_job(store, {"a": [0.5], "b": [Outcome.MODEL]}, cost_usd=None)
        frame = load_runs(home=home)
        kinds = {
            "text": "string",
            "category": "category",
            "int": "Int64",
            "float": "Float64",
            "bool": "boolean",
            "time": "datetime64[us, UTC]",
        }
        found = {name: str(kind) for name, kind in frame.dtypes.items()}
        assert found == {column.name: kinds[column.kind] for column in RUN_COLUMNS}
        graded, broken = (frame.iloc[at] for at in range(2))
        assert (graded["task"], graded["outcome"], graded["reward"]) == ("a", "graded", 0.5)
        assert (broken["outcome"], broken["error"]) == ("model", "it broke")
        assert broken["reward"] is pd.NA, "an ungraded run is no zero"
        assert frame["reward"].mean() == 0.5
        assert frame["reward"].fillna(0.0).mean() == 0.25, "only who asks gets zeros"
        assert graded["cost_usd"] is pd.NA, "an unknown price is no zero"
        assert graded["started_at"] == pd.Timestamp(BEGAN + 1_000, unit="us", tz="UTC")
        assert graded["duration_s"] == 2.0
        assert frame["prompt_tokens"].sum() == 160

    def test_what_counts_is_the_latest_attempt_and_no_invalid_run(
        self, home: Path, store: Store
    ) -> None:
        job_id = record_job(store, {"a": [1.0, 0.0], "b": [Outcome.MODEL]})
        again(store, job_id, 0.75)
        wrong = next(run for run in store.runs_of(job_id) if run.reward == 0.0)
        store.mark_invalid(wrong.id, "wrong image", actor="somebody")
        assert list(load_runs(job_id[:8], home=home)["reward"]) == [1.0, 0.75]
        every = load_runs(home=home, all_attempts=True)
        assert list(every["is_latest"]) == [True, False, True]
        assert list(every["attempt"]) == [1, 1, 2]
        with_invalid = load_runs(home=home, include_invalid=True)
        assert list(with_invalid["invalid_reason"].dropna()) == ["wrong image"]

    def test_jobs_tasksets_and_teams_are_told_apart(self, home: Path, store: Store) -> None:
        first = record_job(store, {"a": [1.0]}, taskset="one")
        second = record_job(store, {"a": [0.0]}, taskset="two", created_at=BEGAN + 5)
        record_job(store, {"a": [0.0]}, team="theirs")
        assert list(load_runs(home=home)["job_id"]) == [second, first], "newest first"
        assert list(load_runs([first, second, first], home=home)["job_id"]) == [first, second]
        assert list(load_runs(taskset="two", home=home)["job_id"]) == [second]
        assert len(load_runs(home=home, team="theirs")) == 1
        with pytest.raises(InputError, match="no job of a taskset 'three'"):
            load_runs(taskset="three", home=home)
        with pytest.raises(InputError, match="there is no job ffff"):
            load_runs("ffff", home=home)

    def test_an_open_store_is_read_and_stays_open(self, store: Store) -> None:
        record_job(store, {"a": [1.0]})
        assert len(load_runs(store=store)) == 1
        assert len(load_runs(store=store)) == 1

    def test_where_nothing_is_recorded_an_error_says_so_and_nothing_is_made(
        self, home: Path
    ) -> None:
        with pytest.raises(StoreError, match="there is no store"):
            load_runs(home=home)
        assert not home.exists()

    def test_an_empty_store_gives_an_empty_frame_of_the_same_types(
        self, home: Path, store: Store
    ) -> None:
        del store
        frame = load_runs(home=home)
        assert (len(frame), str(frame.dtypes["reward"])) == (0, "Float64")
        assert len(frame.columns) == len(RUN_COLUMNS)

    def test_more_runs_than_a_batch_come_whole_and_in_order(self, home: Path, store: Store) -> None:
        count = 5_203
        job_id = record_job(store, {"t": [float(n % 2) for n in range(count)]})
        frame = load_runs(job_id, home=home)
        assert list(frame["member"]) == list(range(count))
        assert frame["is_latest"].all()
        assert len(frame["task"].cat.categories) == 1


class TestSteps:
    def test_a_row_per_step_with_what_it_used_and_which_tool_it_called(
        self, home: Path, store: Store
    ) -> None:
        job_id = record_job(store, {"a": [1.0]}, steps=STEPS)
        frame = load_steps(job_id, home=home)
        assert list(frame.columns) == [column.name for column in STEP_COLUMNS]
        assert list(frame["seq"]) == [1, 2, 3, 4, 5]
        assert list(frame["source"].dropna()) == ["user", "agent", "tool", "agent"]
        turn = frame.iloc[1]
        assert (turn["prompt_tokens"], turn["completion_tokens"]) == (30, 5)
        assert (turn["cost_usd"], turn["model"], turn["tool_calls"]) == (0.25, "m1", 1)
        assert turn["content"] == "héllo"
        tool = frame.iloc[2]
        assert (tool["tool"], tool["is_error"]) == ("add", True)
        assert tool["prompt_tokens"] is pd.NA
        assert frame.iloc[3]["cost_usd"] is pd.NA, "an unknown price is no zero"
        assert frame["prompt_tokens"].sum() == 33

    def test_steps_of_single_runs_and_with_their_payload(self, home: Path, store: Store) -> None:
        long = json.dumps({"source": "agent", "content": "x" * 100_000}).encode()
        job_id = record_job(store, {"a": [1.0], "b": [1.0]}, steps=[long])
        run = store.runs_of(job_id)[1]
        frame = load_steps(runs=run.id[:12], home=home, payload=True)
        assert list(frame["task"]) == ["b"]
        assert json.loads(frame["payload"][0])["content"] == "x" * 100_000
        assert frame["content"][0] == "x" * 100_000
        short = load_steps(runs=[run.id], home=home)
        assert short["content"][0] is pd.NA, "what lies apart is fetched only with the payload"

    def test_whatever_a_step_claims_becomes_a_row(self, home: Path, store: Store) -> None:
        claims: list[Any] = [
            {"source": "agent", "usage": {"prompt_tokens": 10**30, "cost_usd": "a lot"}},
            {"source": "agent", "usage": 5, "content": ["x"], "model": {}, "tool_calls": "no"},
            {"source": "tool", "call": "add", "result": []},
            {"source": "subagent", "subagent": {"steps": 5}},
            {"source": "agent", "usage": {"prompt_tokens": 1, "cost_usd": 1e999}},
            [1],
        ]
        job_id = record_job(store, {"a": [1.0]})
        run_id = store.runs_of(job_id)[0].id
        for seq, claim in enumerate(claims, start=1):
            payload = json.dumps(claim).replace("Infinity", "1e999").encode()
            store.put(StepRow(run_id=run_id, seq=seq, payload=payload, started_at=2**62))
        store.flush()
        frame = load_steps(home=home)
        assert len(frame) == len(claims)
        assert frame["cost_usd"].isna().all()
        assert frame["started_at"].isna().all(), "no calendar has that time"


class TestFiles:
    def written(self, store: Store, path: Path) -> int:
        batches = run_batches(store, Selection())
        return write_table(path, format_of(path), RUN_COLUMNS, batches)

    def test_all_formats_hold_the_same(self, home: Path, store: Store, tmp_path: Path) -> None:
        record_job(store, {"a": [0.5], "b": [Outcome.MODEL]})
        for name in ("runs.parquet", "runs.jsonl", "runs.csv"):
            assert self.written(store, tmp_path / name) == 2
        wanted = load_runs(home=home)
        parquet = pd.read_parquet(tmp_path / "runs.parquet")
        assert list(parquet["run_id"]) == list(wanted["run_id"])
        assert str(parquet["started_at"].dtype) == "datetime64[us, UTC]"
        assert parquet["reward"].isna().tolist() == [False, True]
        lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
        assert [line["reward"] for line in lines] == [0.5, None]
        assert lines[0]["started_at"] == "2023-11-14T22:13:20.001000Z"
        rows = list(csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text())))
        assert [row["reward"] for row in rows] == ["0.5", ""]
        assert list(rows[0]) == [column.name for column in RUN_COLUMNS]
        assert stat.S_IMODE((tmp_path / "runs.csv").stat().st_mode) == 0o600

    def test_no_cell_of_a_csv_is_run_as_a_formula(self, store: Store, tmp_path: Path) -> None:
        for slug in ("=1+1", "@x", "-2+3", "plain"):
            record_job(store, {slug: [1.0]})
        self.written(store, tmp_path / "runs.csv")
        rows = csv.DictReader(io.StringIO((tmp_path / "runs.csv").read_text()))
        assert {row["task"] for row in rows} == {"'=1+1", "'@x", "'-2+3", "plain"}

    def test_a_file_appears_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "file.jsonl"
        path.write_text("before")
        half = whole_file(path)
        half.__enter__().write(b"half")
        assert not half.__exit__(RuntimeError, RuntimeError(), None)
        assert path.read_text() == "before"
        link = tmp_path / "link.jsonl"
        link.symlink_to(path)
        with whole_file(link) as file:
            file.write(b"after")
        assert (path.read_text(), link.is_symlink()) == ("after", True)
        assert sorted(one.name for one in tmp_path.iterdir()) == ["file.jsonl", "link.jsonl"]
        with whole_file(Path(os.devnull)) as file:
            file.write(b"gone")
        assert not Path(os.devnull).is_file(), "a device stays one"

    def test_what_cannot_be_written_is_one_sentence(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot be written: No such file"):
            self.written(store, tmp_path / "none" / "runs.csv")
        with pytest.raises(InputError, match="names no format"):
            format_of(Path("runs.xlsx"))

    def test_columns_are_told_apart_and_explained(self) -> None:
        for columns in (RUN_COLUMNS, (*STEP_COLUMNS, PAYLOAD_COLUMN)):
            assert len({column.name for column in columns}) == len(columns)
            assert all(column.about for column in columns)


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    program = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "pyarrow", "opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
from hud._core.errors import InputError
from hud.eval import load_runs
from hud.eval.otel_export import otel_library
for work in (load_runs, otel_library):
    try:
        work()
    except InputError as error:
        print(error.message, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    frames, spans = done.stdout.splitlines()
    assert frames == "load_runs needs the Python package pandas | pip install 'hud-python[data]'"
    assert spans.startswith("sending OpenTelemetry needs the Python package opentelemetry |")
    assert spans.endswith("pip install 'hud-python[otel]'")


def test_importing_hud_eval_loads_no_data_frames() -> None:
    program = "import hud.eval, sys; print({'pandas', 'pyarrow', 'opentelemetry'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
