"""`hud export`, as typed: files that hold what was recorded, and traces that arrive."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator
from pathlib import Path

import pandas as pd
import pytest

from hud._core.outcome import Outcome
from hud.store import Store, open_store
from tests.contenders import BEGAN, record_job
from tests.e2e.hud_command import Shell
from tests.otlp_receiver import attributes, receiving

STEP = json.dumps({"source": "agent", "model": "m1", "content": "the answer"}).encode()


@pytest.fixture
def hud(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def store(hud: Shell) -> Generator[Store]:
    store = open_store(hud.home)
    yield store
    store.close()


def test_runs_are_written_to_a_file_of_any_format_or_to_stdout(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5], "b": [Outcome.MODEL]})
    record_job(store, {"a": [1.0]}, taskset="other", created_at=BEGAN + 5)
    for name in ("runs.parquet", "runs.csv", "runs.jsonl"):
        done = hud("export", "runs", "--to", name, "--json")
        assert done.data == {"runs": 3, "to": name, "format": name.partition(".")[2]}, done.err
    assert len(pd.read_parquet(hud.folder / "runs.parquet")) == 3
    shown = hud("export", "runs", job[:8], "--to", "-")
    assert [json.loads(line)["reward"] for line in shown.out.splitlines()] == [0.5, None]
    assert shown.err == "2 runs written to -\n"
    table = hud("export", "runs", "--taskset", "other", "--to", "-", "--format", "csv")
    assert len(table.out.splitlines()) == 2


def test_steps_are_written_with_their_content_when_asked(hud: Shell, store: Store) -> None:
    record_job(store, {"a": [0.5]}, steps=[STEP, STEP])
    plain = hud("export", "steps", "--to", "-")
    assert [json.loads(line)["content"] for line in plain.out.splitlines()] == ["the answer"] * 2
    assert "payload" not in json.loads(plain.out.splitlines()[0])
    whole = hud("export", "steps", "--to", "-", "--payload")
    assert json.loads(json.loads(whole.out.splitlines()[0])["payload"])["model"] == "m1"


def test_traces_go_to_a_collector_and_say_what_was_said_only_when_asked(
    hud: Shell, store: Store
) -> None:
    job = record_job(store, {"a": [0.5], "b": [Outcome.MODEL]}, steps=[STEP])
    first = store.runs_of(job)[0].id
    with receiving() as receiver:
        done = hud("export", "otel", job[:10], first, "--to", receiver.url, "--json")
        assert done.data == {"runs": 2, "spans": 4, "to": receiver.url}, done.err
        root, chat = receiver.of_trace(first)
        assert attributes(root)["hud.reward"] == 0.5
        assert b"the answer" not in receiver.requests[0].SerializeToString()
        again = hud("export", "otel", first[:12], "--to", receiver.url, "--content")
        assert "1 run, 2 spans sent to http://127.0.0.1" in again.err
        assert b"the answer" in receiver.requests[1].SerializeToString()
        assert chat.span_id == receiver.of_trace(first)[-1].span_id, "the same spans again"
        receiver.status = 403
        refused = hud("export", "otel", first, "--to", f"{receiver.url}?key=sk-hidden")
        assert refused.code == 1
        assert "did not take 2 spans" in refused.err
        assert "403" in refused.err
        assert "sk-hidden" not in refused.err
    done = hud("export", "otel", "--taskset", "set", "--to", "traces.jsonl")
    assert "2 runs, 4 spans sent to traces.jsonl" in done.err
    [line] = (hud.folder / "traces.jsonl").read_text().splitlines()
    spans = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert {span["traceId"] for span in spans} == {run.id for run in store.runs_of(job)}


def test_what_cannot_be_exported_is_said_in_one_sentence(hud: Shell, store: Store) -> None:
    job = record_job(store, {"a": [0.5]})
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for words, code, says in (
            (["runs", "--to", "runs.xlsx"], 2, "names no format to write"),
            (["runs", "--to", "none/runs.csv"], 1, "cannot be written: No such file"),
            (["runs", "--to", "-", "--format", "parquet"], 2, "cannot be written to stdout"),
            (["runs", "ffff", "--to", "runs.csv"], 2, "there is no job ffff"),
            (["otel", "--to", nobody], 2, "it is not said what to send"),
            (["otel", "ffff", "--to", nobody], 2, "there is no run and no job ffff"),
            (["otel", job, "--to", "traces.xml"], 2, "neither an address nor a file"),
            (["otel", job, "--to", "ftp://x"], 2, "is no address of an OpenTelemetry collector"),
            (["otel", job, "--to", nobody], 1, "did not take"),
        ):
            found = hud("export", *words, env={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.3"})
            assert (found.code, says in found.err) == (code, True), (words, found.err)
    assert sorted(one.name for one in hud.folder.iterdir()) == []
