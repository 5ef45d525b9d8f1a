"""What a look at a workspace finds changed, and what of it is shown."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hud.environment.filetracking.scan import Bounds, Scanner
from hud.trace.file_steps import FileBatch, FileChange

KEY = "sk-" + "abcdefghij0123456789" * 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def scanner(root: Path, bounds: Bounds | None = None) -> Scanner:
    made = Scanner(root, shown_root="/workspace", bounds=bounds)
    made.begin()
    return made


def look(held: Scanner) -> dict[str, FileChange]:
    batch = held.look("agent")
    return {} if batch is None else {change.path: change for change in batch.patches}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_added_modified_and_deleted_files_are_diffs(root: Path) -> None:
    (root / "old").write_text("one\ntwo\n")
    (root / "gone").write_text("bye\n")
    (root / "same").write_text("same\n")
    held = scanner(root)
    (root / "old").write_text("one\n2\n")
    (root / "gone").unlink()
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/new").write_text("hello\n")
    (root / "same").write_text("same\n")
    batch = held.look("agent")
    assert batch is not None
    told = {change.path: change for change in batch.patches}
    assert {path: change.status for path, change in told.items()} == {
        "old": "modified",
        "gone": "deleted",
        "a/b/new": "added",
    }
    assert told["old"].patch == "--- a/old\n+++ b/old\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"
    assert told["gone"].patch == "--- a/gone\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-bye\n"
    assert told["a/b/new"].patch == "--- /dev/null\n+++ b/a/b/new\n@@ -0,0 +1,1 @@\n+hello\n"
    assert told["old"].content_hash_before == sha256(b"one\ntwo\n")
    assert told["old"].content_hash_after == sha256(b"one\n2\n")
    assert (told["old"].size_before, told["old"].size_after) == (8, 6)
    assert (batch.phase, batch.root, batch.files_scanned) == ("agent", "/workspace", 3)
    assert (batch.files_changed, batch.truncated) == (3, False)
    assert held.look("agent") is None


def test_a_write_that_leaves_size_and_times_alike_is_found(root: Path) -> None:
    (root / "file").write_text("aaaa")
    os.utime(root / "file", (1_000, 1_000))
    held = scanner(root)
    (root / "file").write_text("bbbb")
    os.utime(root / "file", (1_000, 1_000))
    assert look(held)["file"].content_hash_after == sha256(b"bbbb")
    for number in range(20):  # each within one tick of the clock that stamps files
        (root / "file").write_text(f"{number:04d}")
        assert look(held)["file"].content_hash_after == sha256(f"{number:04d}".encode())


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("image.png", b"\x89PNG\0\0", "binary"),
        ("latin", b"caf\xe9", "binary"),
        (".env", b"A=1\n", "secret"),
        (".env.local", b"A=1\n", "secret"),
        ("ID_RSA", b"x\n", "secret"),
        ("server.pem", b"x\n", "secret"),
        ("notes.txt", f"key = {KEY}\n".encode(), "secret"),
        ("page.txt", b"-----BEGIN RSA PRIVATE KEY-----\nx", "secret"),
        ("long.txt", b"x\n" * 200_000, "too_large"),
    ],
)
def test_binary_and_secret_contents_are_hashes_only(
    root: Path, name: str, data: bytes, why: str
) -> None:
    held = scanner(root)
    (root / name).write_bytes(data)
    change = look(held)[name]
    assert (change.patch, change.withheld) == (None, why)
    assert (change.content_hash_after, change.size_after) == (sha256(data), len(data))
    (root / name).write_bytes(b"harmless\n")
    if why in ("binary", "secret") and "." in name[1:]:
        assert look(held)[name].patch is None, "what was there before would be shown"


def test_what_only_resembles_a_key_is_shown(root: Path) -> None:
    held = scanner(root)
    (root / "todo.md").write_text("task-1, disk-2\n")
    assert look(held)["todo.md"].patch is not None


def test_a_file_that_becomes_secret_or_clean_is_never_shown(root: Path) -> None:
    (root / "a").write_text("clean\n")
    (root / "b").write_text(f"{KEY}\n")
    held = scanner(root)
    (root / "a").write_text(f"{KEY}\n")
    (root / "b").write_text("clean\n")
    told = look(held)
    assert told["a"].withheld == told["b"].withheld == "secret"
    assert KEY not in str(told)


def test_modes_links_and_special_files_are_told(root: Path) -> None:
    (root / "script").write_text("#!\n")
    (root / "script").chmod(0o644)
    (root / "link").symlink_to("script")
    held = scanner(root)
    (root / "script").chmod(0o755)
    (root / "link").unlink()
    (root / "link").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo")
    told = look(held)
    assert (told["script"].mode_before, told["script"].mode_after) == ("0644", "0755")
    assert told["script"].patch is None and told["script"].withheld is None
    assert told["link"].link_target == "/etc/passwd"
    assert (told["fifo"].status, told["fifo"].withheld) == ("added", "special")
    assert look(held) == {}


def test_caches_of_tools_are_left_out(root: Path) -> None:
    held = scanner(root)
    for folder in (".git", "a/node_modules/b", "__pycache__", ".venv/lib"):
        (root / folder).mkdir(parents=True)
        (root / folder / "file").write_text("x")
    (root / ".gitignore").write_text("x")
    assert set(look(held)) == {".gitignore"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_change_of_owner_is_no_change_of_a_file(root: Path) -> None:
    (root / "text").write_text("x")
    (root / "link").symlink_to("text")
    with (root / "huge").open("wb") as huge:
        huge.truncate(1 << 30)
    held = scanner(root)
    for name in ("text", "link", "huge"):
        os.chown(root / name, 12345, 12345, follow_symlinks=False)
    assert look(held) == {}


def test_names_that_are_no_text_are_spelled(root: Path) -> None:
    held = scanner(root)
    (Path(os.fsdecode(bytes(root) + b"/\xff\n"))).write_text("x")
    told = look(held)
    assert set(told) == {"\\xff\n"}
    assert told["\\xff\n"].model_dump_json()


def test_a_batch_is_bounded_and_says_so(root: Path) -> None:
    bounds = Bounds(changes=10, batch_chars=2_000, patch_chars=700)
    held = scanner(root, bounds)
    for number in range(50):
        (root / f"file-{number}").write_text("x\n" * 200)
    batch = held.look("agent")
    assert batch is not None
    assert len(batch.patches) == 10
    assert (batch.files_changed, batch.truncated) == (50, True)
    assert len(batch.model_dump_json()) < 6_000
    assert {change.withheld for change in batch.patches} == {None, "budget"}
    assert held.look("agent") is None


def test_an_episode_is_bounded(root: Path) -> None:
    held = scanner(root, Bounds(episode_chars=3_000))
    shown = 0
    for number in range(100):
        (root / "file").write_text(f"{number}\n" * 50)
        change = look(held)["file"]
        shown += change.patch is not None
        assert change.content_hash_after is not None
    assert 1 <= shown < 30
    held.begin()
    (root / "file").write_text("a new episode\n")
    assert look(held)["file"].patch is not None


def test_more_files_than_are_looked_at_make_no_false_changes(root: Path) -> None:
    for number in range(200):
        (root / f"{number}").write_text("x")
    held = scanner(root, Bounds(entries=100))
    for round_ in range(5):
        (root / f"new-{round_}").write_text("x")
        (root / f"{round_}").unlink()
        batch = held.look("agent")
        told = {} if batch is None else {change.path: change.status for change in batch.patches}
        assert set(told) <= {f"new-{round_}", f"{round_}"}
        assert batch is None or batch.truncated


def test_a_folder_that_is_gone_is_an_error_that_keeps_what_was_known(root: Path) -> None:
    (root / "file").write_text("x")
    held = scanner(root)
    root.rename(root.with_name("away"))
    with pytest.raises(FileNotFoundError):
        held.look("agent")
    root.with_name("away").rename(root)
    assert held.look("agent") is None


def test_a_look_that_is_broken_off_has_not_taken_place(root: Path) -> None:
    class Enough(Exception):
        pass

    calls = iter(range(1_000))

    def pause() -> None:
        if next(calls) == 5:
            raise Enough

    held = Scanner(root, shown_root="/", pause=pause)
    held.begin()
    for number in range(10):
        (root / str(number)).write_text("x")
    with pytest.raises(Enough):
        held.look("agent")
    assert len(look(held)) == 10


def test_nothing_outside_is_read_while_links_are_swapped_in(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host\n")
    swap = f"""
import os, itertools
for n in itertools.count():
    os.symlink({str(secret)!r}, "l"); os.rename("l", "file")
    f = open("f", "w"); f.write(str(n) + "\\n"); f.close(); os.rename("f", "file")
"""
    held = scanner(root)
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", swap], cwd=root)
    texts = links = 0
    try:
        while min(texts, links) < 30:
            assert process.poll() is None
            for change in look(held).values():
                assert "of the host" not in (change.patch or "")
                texts += change.patch is not None
                links += change.link_target is not None
    finally:
        process.kill()
        process.wait()


def test_random_changes_are_told_as_they_were(root: Path) -> None:
    """Whatever happens between two looks, the diffs lead from one state to the other."""
    import random

    from tests.unit.environment.test_filetracking_diffs import applied

    chance = random.Random(7)
    held = scanner(root)
    state: dict[str, str] = {}
    for _ in range(60):
        for _ in range(chance.randrange(1, 8)):
            path = root / chance.choice("abcdef") / chance.choice("xyz")
            change(chance, path)
        batch = held.look("agent")
        if batch is not None:
            follow(batch, state, applied)
        there = {
            str(path.relative_to(root)): path.read_text()
            for path in root.rglob("*")
            if path.is_file()
        }
        assert state == there


def change(chance: object, path: Path) -> None:
    import random

    assert isinstance(chance, random.Random)
    if path.exists() and chance.random() < 0.4:
        path.unlink()
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{chance.randrange(4)}\n" for _ in range(chance.randrange(12))))


def follow(batch: FileBatch, state: dict[str, str], applied: Callable[[str, str], str]) -> None:
    for told in batch.patches:
        before = state.pop(told.path, "")
        assert told.patch is not None
        after = applied(told.patch, before)
        if told.status != "deleted":
            state[told.path] = after
        else:
            assert after == ""
