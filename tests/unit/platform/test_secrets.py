"""Secrets at rest: readable with the key they were encrypted with, and with no other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hud._core.errors import InputError, StoreError
from hud.platform.secrets import KEY_FILE, SecretBox


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUD_SECRET_KEY", raising=False)


def test_a_secret_comes_back_as_it_was_and_is_not_readable_in_between(tmp_path: Path) -> None:
    kept = SecretBox(tmp_path).encrypt("sk-provider-key")
    assert "provider" not in kept
    assert SecretBox(tmp_path).decrypt(kept) == "sk-provider-key"


def test_the_key_file_is_readable_by_its_owner_only_and_made_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(SecretBox(tmp_path).encrypt, "x") for _ in range(8)]
        kept = [each.result() for each in waiting]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert {SecretBox(tmp_path).decrypt(text) for text in kept} == {"x"}
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_without_its_key_a_secret_is_lost_and_the_error_says_which_key(tmp_path: Path) -> None:
    kept = SecretBox(tmp_path).encrypt("x")
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(StoreError, match="is missing"):
        SecretBox(tmp_path).decrypt(kept)
    assert not (tmp_path / KEY_FILE).exists()
    SecretBox(tmp_path).encrypt("another")
    with pytest.raises(StoreError, match="with another key"):
        SecretBox(tmp_path).decrypt(kept)


def test_a_key_of_the_environment_wins_and_must_be_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUD_SECRET_KEY", "short")
    with pytest.raises(InputError, match="shorter than"):
        SecretBox(tmp_path).encrypt("x")
    monkeypatch.setenv("HUD_SECRET_KEY", "a long enough key for this")
    kept = SecretBox(tmp_path).encrypt("x")
    assert not (tmp_path / KEY_FILE).exists()
    assert SecretBox(tmp_path / "elsewhere").decrypt(kept) == "x"
