"""Replies kept in files: whole or not at all, for their owner only, within a limit."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hud._core.errors import InputError
from hud.models.cache import CacheSize, ResponseCache, parse_cache_setting
from hud.models.call import ModelCall
from hud.models.endpoint import Endpoint

REPLY: dict[str, Any] = {"id": "r-1", "choices": [{"text": "drei – 3"}], "usage": {"in": 5}}
KEY = "ab" + "0" * 62
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@pytest.fixture
def cache(tmp_path: Path) -> ResponseCache:
    return ResponseCache(tmp_path / "replies")


def key(number: int) -> str:
    return f"{number:064x}"


def path_of(cache: ResponseCache, key: str) -> Path:
    return cache.folder / key[:2] / f"{key[2:]}.json"


def call(**changes: Any) -> ModelCall:
    values: dict[str, Any] = {
        "endpoint": Endpoint("http://127.0.0.1:8000/v1", "sk-one"),
        "model": "m",
        "dialect": "chat",
        "request": {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5},
    }
    return ModelCall(**{**values, **changes})


def test_what_was_written_is_read_by_another_cache_on_the_same_folder(cache: ResponseCache) -> None:
    assert cache.read(KEY) is None
    cache.write(KEY, REPLY)
    assert ResponseCache(cache.folder).read(KEY) == REPLY
    assert cache.read(key(7)) is None


@given(reply=st.dictionaries(st.text(max_size=4), JSON))
@settings(max_examples=50, deadline=None)
def test_any_reply_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, reply: dict[str, Any]
) -> None:
    cache = ResponseCache(tmp_path_factory.mktemp("any"))
    cache.write(KEY, reply)
    assert cache.read(KEY) == reply


def test_a_file_is_readable_by_its_owner_only(cache: ResponseCache) -> None:
    cache.write(KEY, REPLY)
    path = path_of(cache, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in (cache.folder, path.parent)} == {0o700}


def test_a_file_cut_at_any_byte_is_a_miss(cache: ResponseCache) -> None:
    cache.write(KEY, REPLY)
    path = path_of(cache, KEY)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert cache.read(KEY) is None, size
        path.write_bytes(whole[:size] + bytes(len(whole) - size))
        assert cache.read(KEY) is None, size
    path.write_bytes(whole)
    assert cache.read(KEY) == REPLY


def test_a_file_with_any_byte_changed_is_a_miss_or_still_says_the_same(
    cache: ResponseCache,
) -> None:
    cache.write(KEY, REPLY)
    path = path_of(cache, KEY)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.read(KEY) in (None, REPLY), at


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"{}", b'{"id": "r-1"}', b"\xff\xfe", b"[" * 100_000],
    ids=["nothing", "null", "list", "object", "a reply", "binary", "deep"],
)
def test_a_foreign_file_is_a_miss_and_is_replaced(cache: ResponseCache, content: bytes) -> None:
    path = path_of(cache, KEY)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert cache.read(KEY) is None
    cache.write(KEY, REPLY)
    assert cache.read(KEY) == REPLY


def test_an_entry_under_anothers_name_is_a_miss(cache: ResponseCache) -> None:
    cache.write(KEY, REPLY)
    other = path_of(cache, key(1))
    other.parent.mkdir()
    path_of(cache, KEY).rename(other)
    assert cache.read(key(1)) is None


def test_a_pipe_a_link_and_a_folder_in_the_place_of_an_entry_are_misses(
    cache: ResponseCache, tmp_path: Path
) -> None:
    cache.write(KEY, REPLY)
    pipe, link, folder = (path_of(cache, key(number)) for number in (1, 2, 3))
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    kept = tmp_path / "kept"
    path_of(cache, KEY).rename(kept)
    link.symlink_to(kept)
    folder.mkdir()
    assert [cache.read(key(number)) for number in (1, 2, 3)] == [None, None, None]


def test_what_has_no_json_is_not_kept(cache: ResponseCache) -> None:
    assert cache.write(KEY, {"of": object()}) is None
    assert cache.size() == CacheSize(0, 0)


def test_a_disk_that_takes_nothing_is_told_once_and_loses_no_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    cache = ResponseCache(blocked / "inside")
    with caplog.at_level(logging.WARNING):
        assert cache.write(KEY, REPLY) is not None
        assert cache.write(key(1), REPLY) is not None
    assert len(caplog.records) == 1
    assert cache.read(KEY) is None


def test_beyond_its_limit_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path, limit_bytes=100_000)
    reply = {"text": "x" * 10_000}
    for number in range(9):
        cache.write(key(number), reply)
        os.utime(path_of(cache, key(number)), (1_000_000 + number, 1_000_000 + number))
    assert cache.read(key(0)) == reply
    for number in range(9, 12):
        cache.write(key(number), reply)
    assert cache.size().size_bytes <= 100_000
    kept = [number for number in range(12) if cache.read(key(number)) is not None]
    assert kept[0] == 0, "it was used a moment ago"
    assert kept[1:] == list(range(12 - len(kept) + 1, 12))


def test_trimming_and_clearing_leave_other_files_alone(tmp_path: Path) -> None:
    cache = ResponseCache(tmp_path, limit_bytes=10)
    others = [tmp_path / "notes.txt", tmp_path / "ab" / "notes.txt", tmp_path / "abc" / "x.json"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("keep me")
    cache.write(KEY, REPLY)
    cache.trim()
    assert cache.size().entries == 0
    cache = ResponseCache(tmp_path)
    cache.write(KEY, REPLY)
    cache.write(key(1), REPLY)
    assert cache.size().entries == 2
    assert cache.clear() == 2
    assert cache.size() == CacheSize(0, 0)
    assert all(other.read_text() == "keep me" for other in others)


def test_what_a_killed_writer_left_behind_is_removed_later(cache: ResponseCache) -> None:
    cache.write(KEY, REPLY)
    fresh, stale = (path_of(cache, KEY).parent / name for name in (".new-fresh", ".new-stale"))
    fresh.write_text("half")
    stale.write_text("half")
    os.utime(stale, (1_000_000, 1_000_000))
    cache.trim()
    assert fresh.exists() and not stale.exists()
    assert cache.read(KEY) == REPLY


WRITER = """
import sys
from pathlib import Path
from hud.models.cache import ResponseCache
cache = ResponseCache(Path(sys.argv[1]), limit_bytes=30_000)
for turn in range(150):
    key = f"{turn % 7:064x}"
    held = cache.read(key)
    assert held is None or held["key"] == key and len(set(held["text"])) == 1, held
    cache.write(key, {"key": key, "text": sys.argv[2] * 5_000})
"""


def test_several_processes_write_read_and_trim_the_same_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [
        subprocess.Popen([*command, letter], stderr=subprocess.PIPE, text=True) for letter in "ab"
    ]
    told = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    assert not list(tmp_path.rglob(".new-*"))


def test_the_order_of_names_does_not_matter_to_the_key() -> None:
    request = call().request
    assert call(request=dict(reversed(request.items()))).key() == call().key()


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": Endpoint("http://127.0.0.1:8001/v1", "sk-one")},
        {"model": "n"},
        {"dialect": "responses"},
        {"request": {"messages": [{"role": "user", "content": "hi!"}], "temperature": 0.5}},
        {"request": {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.6}},
        {"repeat": 1},
        {"cache_key": {}},
    ],
    ids=["address", "model", "dialect", "message", "parameter", "repeat", "own key"],
)
def test_whatever_matters_changes_the_key(changes: dict[str, Any]) -> None:
    assert call(**changes).key() != call().key()


def test_neither_keys_nor_passwords_are_in_the_key() -> None:
    endpoints = [
        Endpoint("http://127.0.0.1:8000/v1", "sk-two"),
        Endpoint("http://user:pass@127.0.0.1:8000/v1/?api_key=x", "sk-one"),
    ]
    assert {call(endpoint=endpoint).key() for endpoint in endpoints} == {call().key()}


def test_what_differs_from_run_to_run_is_left_out_by_a_key_of_ones_own() -> None:
    asked = [
        call(request={"previous_response_id": name}, cache_key={"input": ["hi"]})
        for name in ("r-1", "r-2")
    ]
    assert asked[0].key() == asked[1].key()


def test_a_request_of_foreign_types_and_broken_characters_has_a_key() -> None:
    assert call(request={"path": Path("/a"), "text": "\ud800"}).key()


@pytest.mark.parametrize("value", ["", "0", "false", "No", " off "])
def test_the_setting_turns_it_off(value: str) -> None:
    assert parse_cache_setting(value) is None


def test_the_setting_names_the_folder_in_the_home_or_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_HOME", str(tmp_path / "home"))
    in_home, named = parse_cache_setting("1"), parse_cache_setting(str(tmp_path / "named"))
    assert in_home is not None and in_home.folder == tmp_path / "home" / "cache" / "models"
    assert named is not None and named.folder == tmp_path / "named"


def test_a_setting_that_means_nothing_and_a_folder_that_cannot_be_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'ture' is neither 1 nor a folder"):
        parse_cache_setting("ture")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        parse_cache_setting(str(tmp_path / "file"))


def test_an_entry_is_json_that_a_person_can_look_at(cache: ResponseCache) -> None:
    cache.write(KEY, REPLY)
    entry = json.loads(path_of(cache, KEY).read_text())
    assert (entry["key"], entry["body"]) == (KEY, REPLY)
