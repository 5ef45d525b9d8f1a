"""Spans as clients upload them: kept whole, once, in order, the bad ones told apart."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import Any

import httpx
import pytest

from hud._core.ids import new_id
from hud.store import JobRow, RunStart, StepRow, open_store
from hud.trace.file_steps import files_of
from hud.trace.robot_steps import ObservationStep
from hud.trace.steps import Step, Trace
from tests.platform.server import Server
from tests.platform.spans import ENDED, STARTED, attributes, span, step, upload_path

DATABASES = ("sqlite", "postgres")


def upload(client: httpx.Client, run: str, *spans: Any) -> dict[str, Any]:
    answer = client.post(upload_path(run), json={"telemetry": list(spans)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def steps_of(client: httpx.Client, run: str, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/v2/trace/{run}/steps", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_a_step_is_kept_as_it_came(client: httpx.Client) -> None:
    run = new_id()
    payload: dict[str, Any] = {
        "content": "ünï\n",
        "tool_calls": [{"name": "t", "meta": {}}],
        "extra": {"a": None},
    }
    told = upload(client, run, step(run, 3, payload))
    assert told == {
        "id": run,
        "accepted": 1,
        "rejected_count": 0,
        "rejected": [],
        "cancel": [],
        "cancel_job": False,
    }
    [kept] = steps_of(client, run)
    assert kept["payload"] == {"source": "agent", "step_id": 3, **payload}
    assert (kept["seq"], kept["source"]) == (3, "agent")
    assert (kept["started_at"], kept["ended_at"]) == (STARTED, ENDED)


def test_spans_come_twice_and_in_any_order(client: httpx.Client) -> None:
    run = new_id()
    spans = [step(run, number) for number in range(1, 8)]
    upload(client, run, *spans[4:])
    upload(client, run, *spans[:5], spans[0])
    upload(client, str(uuid.UUID(run)), *spans)
    kept = steps_of(client, run)
    assert [each["seq"] for each in kept] == list(range(1, 8))
    assert [each["span_id"] for each in kept] == [each["span_id"] for each in spans]


def test_a_number_is_taken_from_where_the_client_put_it(client: httpx.Client) -> None:
    run = new_id()
    upload(
        client,
        run,
        step(run, None, **attributes(hud__seq=5)),
        step(run, 9, **attributes(hud__seq=6)),
    )
    upload(client, run, step(run, None), step(run, -4), step(run, 2**70), step(run, 6))
    numbers = [each["seq"] for each in steps_of(client, run)]
    assert numbers[:2] == [5, 6]
    assert len(numbers) == 6 and numbers[2] >= 1_000_000_000


def test_bad_spans_are_told_apart_and_the_good_ones_kept(client: httpx.Client) -> None:
    run, other = new_id(), new_id()
    told = upload(
        client,
        run,
        step(run, 1),
        {"span_id": "zz"},
        {"name": "no id"},
        7,
        None,
        step(other, 2),
        span(run, "step.agent", **{"hud.schema": "hud.step.v1", "hud.payload": "text"}),
        span(run, "step.agent", **{"hud.schema": "hud.step.v1"}),
        step(str(uuid.UUID(run)).upper(), 3),
    )
    assert (told["accepted"], told["rejected_count"]) == (2, 7)
    reasons = {each["index"]: each["reason"] for each in told["rejected"]}
    assert sorted(reasons) == [1, 2, 3, 4, 5, 6, 7]
    assert "another run's" in reasons[5] and "span_id" in reasons[1]
    assert [each["seq"] for each in steps_of(client, run)] == [1, 3]
    assert client.get(f"/v2/trace/{other}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"telemetry": {}}', b'{"telemetry": null}', b"\xff", b"[" * 100_000],
)
def test_what_is_no_upload_is_refused_in_one_sentence(client: httpx.Client, body: bytes) -> None:
    answer = client.post(upload_path(new_id()), content=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail", "code", "hint"}


def test_values_that_json_does_not_have_are_kept_as_what_it_has(client: httpx.Client) -> None:
    run = new_id()
    values = b'[NaN, 1e999, -Infinity, "\\ud800", "\\u0000", 123456789012345678901234567890]'
    raw = (
        b'{"telemetry": [{"name": "step.agent", "span_id": "00000000000000aa", "attributes": '
        b'{"hud.schema": "hud.step.v1", "hud.payload": {"step_id": 1, "source": "agent", '
        b'"content": %s}}}]}' % values
    )
    assert client.post(upload_path(run), content=raw).json()["accepted"] == 1
    [kept] = steps_of(client, run)
    assert kept["payload"]["content"][:3] == [None, None, None]
    bad_text = b'{"telemetry": [{"span_id": "bb", "attributes": {"hud.schema": "hud.step.v1", '
    bad_text += b'"hud.payload": {"step_id": 2, "content": "\xff\xfe"}}}]}'
    assert client.post(upload_path(run), content=bad_text).json()["accepted"] == 1
    assert "\ufffd" in steps_of(client, run)[1]["payload"]["content"]


def test_hostile_fields_come_back_as_data(client: httpx.Client) -> None:
    run = new_id()
    nasty = "<script>alert(1)</script>\x1b[2J\u202e'; DROP TABLE runs; --"
    told = upload(
        client,
        run,
        step(run, 1, {"content": nasty, "model": nasty, "usage": nasty, "tool_calls": nasty}),
        step(run, 2, {"usage": {"prompt_tokens": -5, "cost_usd": "free", "llm_call_count": [1]}}),
        step(run, 3, source=nasty, **attributes(hud__seq=nasty)),
        {**step(run, 4), "start_time": nasty, "end_time": 10**30, "name": [nasty]},
        {**step(run, 5), "attributes": {"hud.schema": [nasty], "hud.payload": nasty}},
    )
    assert told["accepted"] == 5, told
    assert steps_of(client, run)[0]["payload"]["content"] == nasty
    assert client.get(f"/v2/trace/{run}/events").status_code == 200
    shown = client.get(f"/v2/trace/{run}").json()
    assert (shown["turns"], shown["prompt_tokens"]) == (3, 0)


def test_a_subject_nested_deeply_is_kept(client: httpx.Client) -> None:
    run = new_id()
    deep: Any = "bottom"
    for _ in range(400):
        deep = {"d": deep}
    assert upload(client, run, step(run, 1, {"extra": {"deep": deep}}))["accepted"] == 1
    assert steps_of(client, run)[0]["payload"]["extra"]["deep"] == deep
    assert client.get(f"/v2/trace/{run}/events").status_code == 200


def test_what_the_turns_used_is_shown_with_the_run(client: httpx.Client) -> None:
    job, run = new_id(), new_id()
    client.post(f"/v2/trace/{run}/enter", json={"job_id": job, "task_slug": "t"})
    priced = {"usage": {"prompt_tokens": 10, "completion_tokens": 2, "cost_usd": 0.5}}
    inner = {"steps": [{"source": "agent", **priced}, {"source": "tool"}]}
    upload(client, run, step(run, 1, priced), step(run, 2, {"subagent": inner}, source="subagent"))
    client.post(f"/v2/trace/{run}/exit", json={"status": "completed", "reward": 0.0})
    again = step(run, 3, {"usage": {"prompt_tokens": 1, "cached_tokens": 1}}, span_id="c" * 16)
    for _ in range(2):
        upload(client, run, again)
    shown = client.get(f"/v2/trace/{run}").json()
    used = (shown["turns"], shown["prompt_tokens"], shown["completion_tokens"])
    assert used == (3, 21, 4)
    assert (shown["known_cost_usd"], shown["unpriced_turns"], shown["cost_usd"]) == (1.0, 1, None)
    whole = client.get(f"/v2/jobs/{job}").json()["used"]
    assert (whole["turns"], whole["known_cost_usd"], whole["cost_usd"]) == (3, 1.0, None)


def test_robot_steps_and_tracked_files_are_read_as_steps(
    client: httpx.Client, server: Server
) -> None:
    run = new_id()
    observed = {"tick": 4, "images": {}, "state": {"arm": {"names": ["a"], "values": [0.5]}}}
    patches = [{"path": "a.py", "status": "modified", "patch": "@@", "size_after": 3}]
    changed = {"snapshot_timestamp": 1.0, "files_scanned": 9, "patches": patches}
    captured = {"files_captured": 1, "files": [{"path": "b.pdf", "status": "captured"}]}

    def files(kind: str, payload: Any) -> Any:
        fields = {"hud.schema": "hud.filetracking.v1", "hud.payload": payload}
        return span(run, f"filetracking.{kind}", **fields)

    upload(
        client,
        run,
        step(run, 1, observed, source="observation", schema="hud.robot.step.v1"),
        files("setup", changed),
        files("diff", changed),
        files("capture", captured),
    )
    kept = steps_of(client, run)
    assert [each["source"] for each in kept] == ["observation", "system", "system", "system"]
    trace = Trace.model_validate({"steps": [each["payload"] for each in kept]})
    assert isinstance(trace.steps[0], ObservationStep) and trace.steps[0].tick == 4
    setup, diff = files_of(trace.steps[1]), files_of(trace.steps[2])
    assert setup is not None and (setup.phase, setup.files_scanned) == ("setup", 9)
    assert diff is not None and diff.phase == "agent" and diff.patches[0].path == "a.py"
    assert kept[3]["payload"]["extra"]["filetracking"] == {"kind": "capture", **captured}
    assert Step.model_validate(kept[3]["payload"]).started_at == STARTED


def test_debug_spans_are_kept_beside_the_steps(client: httpx.Client) -> None:
    run = new_id()
    debug = span(run, "my.function", **attributes(code__function="f"))
    unknown = span(run, "step.new", **attributes(hud__schema="hud.step.v9", hud__payload={"a": 1}))
    upload(client, run, debug, unknown, debug, step(run, 1))
    kept = client.get(f"/v2/trace/{run}/spans").json()["items"]
    assert {each["name"]: each["span"] for each in kept} == {
        "my.function": debug,
        "step.new": unknown,
    }
    assert len(steps_of(client, run)) == 1


def test_an_upload_of_tens_of_mebibytes_is_taken_in_and_its_media_moved(
    client: httpx.Client,
) -> None:
    run = new_id()
    picture = secrets.token_bytes(12 * 1024 * 1024)
    image = {"type": "image", "mimeType": "image/png", "data": base64.b64encode(picture).decode()}
    result = {"content": [image, {"type": "text", "text": "t" * 200_000}]}
    assert upload(client, run, step(run, 1, {"result": result}, source="tool"))["accepted"] == 1
    [kept] = steps_of(client, run)
    reference = kept["payload"]["result"]["content"][0]["data"]
    assert (reference["size_bytes"], reference["media_type"]) == (len(picture), "image/png")
    assert client.get(f"/v2/blobs/{reference['$blob']}").content == picture
    [whole] = steps_of(client, run, resolve=True)
    assert whole["payload"]["result"]["content"][0] == image
    assert whole["payload"]["result"]["content"][1]["text"] == "t" * 200_000


def test_an_upload_beyond_the_limit_is_refused(client: httpx.Client) -> None:
    def parts() -> Any:
        yield b'{"telemetry": ["'
        for _ in range(100):
            yield b"x" * 1024 * 1024

    refused = client.post(upload_path(new_id()), content=parts())
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")


def test_what_a_command_line_says_of_its_use_is_thrown_away(
    open_client: Any, client: httpx.Client
) -> None:
    stranger = open_client(None)
    path = "/telemetry/v3/api/sdk-events/cli"
    assert stranger.post(path, json={"events": [{"command": "eval"}]}).json() == {}
    assert stranger.post(path, content=b"x" * 100_000).status_code == 413
    assert client.get("/v2/jobs").json()["items"] == []


def test_a_run_recorded_beside_the_server_is_not_doubled_by_its_reports(
    server: Server, open_client: Any
) -> None:
    job, run = new_id(), new_id()
    store = open_store(server.home, database=server.database)
    store.put(JobRow(id=job, created_at=1))
    store.put(RunStart(id=run, job_id=job, task_slug="t", started_at=1))
    store.put(StepRow(run_id=run, seq=1, payload=b'{"source": "user"}', source="user"))
    store.flush()
    local = open_client(server.key())
    client_spans = [step(run, 1, **attributes(hud__seq=1)), step(run, 2, **attributes(hud__seq=2))]
    upload(local, run, *client_spans)
    assert [each["source"] for each in steps_of(local, run)] == ["user", "agent"]
    store.close()
