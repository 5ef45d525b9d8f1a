"""Large values leave a step's payload and come back; what cannot be taken apart stays whole."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hud._core.errors import StoreError
from hud.store import JobRow, RunStart, StepRow, open_store
from hud.store.payload import move_out, put_back

IMAGE = base64.b64encode(bytes(range(256)) * 20).decode()
LONG = "ä\x00\n" * 30_000


class Blobs(dict[str, bytes]):
    """Blobs in memory, with the media types they were kept under."""

    def __init__(self) -> None:
        super().__init__()
        self.media_types: list[str] = []

    def keep(self, content: bytes, media_type: str) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        self[sha256] = content
        self.media_types.append(media_type)
        return sha256


def round_trip(payload: bytes) -> tuple[bytes, Blobs]:
    blobs = Blobs()
    shorter, moved = move_out(payload, blobs.keep)
    assert moved is bool(blobs)
    assert put_back(shorter, blobs.__getitem__) == payload if moved else shorter is payload
    return shorter, blobs


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("value", "media_type"),
    [
        ({"type": "image", "data": IMAGE, "mimeType": "image/png"}, "image/png"),
        ({"source": {"media_type": "image/webp", "data": IMAGE}}, "image/webp"),
        ({"image_url": {"url": f"data:image/jpeg;base64,{IMAGE}"}}, "image/jpeg"),
        ({"input_audio": {"data": IMAGE, "format": "wav"}}, "audio/wav"),
        ({"text": LONG}, "text/plain; charset=utf-8"),
        (LONG, "text/plain; charset=utf-8"),
    ],
)
def test_media_and_long_texts_become_blobs_of_their_type(value: object, media_type: str) -> None:
    shorter, blobs = round_trip(compact(value))
    assert blobs.media_types == [media_type]
    assert len(shorter) < 300


def test_short_texts_and_media_stay_where_they_are() -> None:
    value = {"mimeType": "image/png", "data": IMAGE[:4000], "text": "ä" * 30_000}
    assert not round_trip(compact(value))[1]


def test_what_only_looks_like_base64_is_kept_as_text() -> None:
    not_quite = IMAGE + "=" * 5
    assert not round_trip(compact({"mimeType": "image/png", "data": not_quite}))[1]
    assert IMAGE.endswith("8=")
    loose = IMAGE[:-2] + "9="  # decodes to the same bytes
    assert not round_trip(compact({"mimeType": "image/png", "data": loose}))[1]


@pytest.mark.parametrize(
    "payload",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"not": "json' + b"x" * 100_000,
        b'["\\ud800",' + b'"%s"]' % (b"x" * 100_000),
        compact([["x" * 1000] * 1000] * 10),
    ],
    ids=["too deep", "not json", "half a character", "many short texts"],
)
def test_what_cannot_be_taken_apart_becomes_one_blob(payload: bytes) -> None:
    shorter, blobs = round_trip(payload)
    assert list(blobs.values()) == [payload]
    assert json.loads(shorter)["media_type"] == "application/json"


_keys = st.sampled_from(["$blob", "$$blob", "$$$blob", "data", "mimeType", "encoding", "url"])
_values = st.recursive(
    st.sampled_from([IMAGE, LONG, "image/png", "json", f"data:image/png;base64,{IMAGE}", "0" * 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=4),
    max_leaves=8,
)


@given(_values)
def test_nothing_a_step_says_is_taken_for_a_reference(value: object) -> None:
    round_trip(compact(value))


def test_ten_mebibytes_survive_byte_for_byte_and_a_lost_blob_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    text = '日本語 \x00 "quoted" \\ \U0001f600' * 400_000
    assert len(text.encode()) > 10 * 2**20
    run = RunStart(id="5a" * 16, job_id="5b" * 16, task_slug="t", started_at=1)
    store.put(JobRow(id="5b" * 16, created_at=1))
    store.put(run)
    store.put(StepRow(run_id=run.id, seq=1, payload=compact({"prompt": text})))
    store.flush()
    [step] = store.read_steps(run.id)
    assert json.loads(step.payload) == {"prompt": text}
    [blob] = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    blob.write_bytes(b"something else")
    with pytest.raises(StoreError, match="is damaged"):
        list(store.read_steps(run.id))
    blob.unlink()
    with pytest.raises(StoreError, match="is missing from"):
        list(store.read_steps(run.id))
    assert len(list(store.read_steps(run.id, resolve=False))) == 1
    store.close()
