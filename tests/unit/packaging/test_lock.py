"""A lock comes back as it was written, and what is none is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud._core.errors import InputError
from hud.packaging.lock import Lock, LockedCapability, LockedTask, Variables, read_lock, write_lock

LOCK = Lock(
    name="checked",
    digest="ab" * 32,
    source_hash="cd" * 32,
    hud="1.0",
    python="3.11",
    tasks=(LockedTask(id="ask", description="d", args={"type": "object"}),),
    capabilities=(LockedCapability(name="shell", protocol="ssh/2"),),
    variables=Variables(required=("KEY",)),
)


def test_a_lock_comes_back(tmp_path: Path) -> None:
    assert write_lock(LOCK, tmp_path) == tmp_path / "hud.lock"
    assert read_lock(tmp_path) == LOCK


def test_the_manifest_and_summary_are_what_a_platform_reads() -> None:
    assert LOCK.manifest() == {
        "tasks": [{"id": "ask", "description": "d", "args": {"type": "object"}}],
        "capabilities": [{"name": "shell", "protocol": "ssh/2"}],
    }
    assert LOCK.summary()["environment"]["variables"] == {"required": ["KEY"], "optional": []}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 1}', '{"version": 9}'])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "hud.lock").write_text(text)
    with pytest.raises(InputError, match="is no lock"):
        read_lock(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_lock(tmp_path / "other")
