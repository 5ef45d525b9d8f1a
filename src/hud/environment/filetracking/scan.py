"""Look at a workspace and find what changed since the last look.

A file is read only when its times, size, inode, mode or owner changed. The agent writes here while
this runs, so everything goes through `hud.sandbox.files`, and everything has a limit. When to look
is `tracker`'s part.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hud._core.errors import HudError
from hud.environment.filetracking.contents import Content, Texts, read_content
from hud.environment.filetracking.diffs import unified_diff
from hud.sandbox import files
from hud.trace.file_steps import FileBatch, FileChange, FilePhase, FileStatus, Withheld

EXCLUDED = frozenset(
    {
        ".bzr",
        ".cache",
        ".eggs",
        ".git",
        ".gradle",
        ".hg",
        ".idea",
        ".ipynb_checkpoints",
        ".mypy_cache",
        ".next",
        ".npm",
        ".nox",
        ".pnpm-store",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".terraform",
        ".tox",
        ".venv",
        "__pycache__",
        "bower_components",
        "node_modules",
        "site-packages",
        "venv",
    }
)

# The clock that stamps files ticks in steps; within them a second write leaves no mark.
_TICK_NS = 50_000_000
_GONE_CHECKS = 1_000
_LINK_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is looked at, and how much is told.

    Attributes:
        entries: Files and folders looked at.
        changes: Changes listed in one batch.
        batch_chars: Text in one batch, paths and diffs together.
        episode_chars: The same over a whole episode; after it only hashes are told.
        patch_chars: One diff.
        diff_s: Time a batch may take to look for short diffs.
        read_bytes: Content read in one look; files beyond it are known by their marks alone.
    """

    entries: int = 50_000
    changes: int = 2_000
    batch_chars: int = 1_000_000
    episode_chars: int = 16_000_000
    patch_chars: int = 256_000
    diff_s: float = 0.5
    read_bytes: int = 64 * 1024 * 1024


class _Mark(NamedTuple):
    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    mode: int
    owner: int


class _Known(NamedTuple):
    """A file as it was last seen. `is_fresh`: a later write may have left the same mark."""

    mark: _Mark
    digest: str | None
    withheld: Withheld | None
    target: str | None
    is_fresh: bool


class Scanner:
    """Everything known of one workspace; used by one thread at a time."""

    def __init__(
        self,
        root: Path,
        *,
        shown_root: str,
        exclude: Collection[str] = EXCLUDED,
        bounds: Bounds | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        """Prepare to look at `root`.

        Args:
            shown_root: What readers know the folder as.
            pause: Called between two entries; what it raises ends the look, which then has not
                taken place.
        """
        self._root = root
        self._shown_root = shown_root
        self._exclude = exclude
        self._bounds = bounds or Bounds()
        self._pause = pause
        self._known: dict[str, _Known] = {}
        self._texts = Texts()
        self._was_cut = False
        self._looked_ns = 0
        self._episode_chars = 0

    def begin(self) -> None:
        """Take what is there now as what later looks compare with."""
        self._look(None)
        self._episode_chars = 0

    def look(self, phase: FilePhase) -> FileBatch | None:
        """Return what changed since the last look, or None when nothing did.

        Raises:
            OSError: when the folder itself cannot be read.
        """
        return self._look(_Report(phase, self._shown_root, self._bounds, self._episode_chars))

    def _look(self, report: _Report | None) -> FileBatch | None:
        began, now_ns = time.perf_counter(), time.time_ns()
        with files.root_of(self._root) as top:
            root_owner = os.fstat(top).st_uid
        walk = files.Walk(self._root, max_entries=self._bounds.entries, exclude=self._exclude)
        seen: dict[str, _Known] = {}
        texts: dict[str, str | None] = {}
        left = self._bounds.read_bytes
        with contextlib.closing(iter(walk)) as entries:
            for entry in entries:
                if self._pause is not None:
                    self._pause()
                if stat.S_ISDIR(entry.stat.st_mode):
                    continue
                mark, path = _mark(entry.stat), entry.path
                old = self._known.get(path)
                if old is not None and old.mark == mark and not old.is_fresh:
                    seen[path] = old
                    continue
                has_room = not self._texts.is_full if report is None else report.has_room
                is_wanted = has_room and mark.size <= left
                left -= mark.size if is_wanted else 0
                new, content = _looked_into(entry, mark, root_owner, now_ns, is_wanted)
                seen[path] = new
                texts[path] = None if content is None else content.text
                if report is not None and not self._is_unseen(old, mark):
                    report.compare(path, old, new, self._texts.get(path), content)
        is_cut = walk.exceeded is not None or walk.unreadable > 0
        gone = [path for path in self._known if path not in seen]
        for path in self._really_gone(gone, seen, is_cut):
            if report is not None:
                report.deleted(path, self._known[path], self._texts.get(path))
            texts[path] = None
        for path, text in texts.items():
            self._texts.put(path, text)
        self._known, self._was_cut, self._looked_ns = seen, is_cut, now_ns
        if report is None:
            return None
        self._episode_chars = report.episode_chars
        return report.batch(len(seen), is_cut, now_ns, time.perf_counter() - began)

    def _is_unseen(self, old: _Known | None, mark: _Mark) -> bool:
        """Tell whether a file is only new because the last look did not get as far as it."""
        return old is None and self._was_cut and mark.ctime_ns < self._looked_ns

    def _really_gone(self, gone: list[str], seen: dict[str, _Known], is_cut: bool) -> list[str]:
        """Return which of the paths not seen are gone; the others stay known."""
        if not is_cut:
            return gone
        told: list[str] = []
        for index, path in enumerate(gone):
            try:
                is_there = index >= _GONE_CHECKS or files.exists(self._root, path)
            except (OSError, HudError):
                is_there = False
            if is_there:
                seen[path] = self._known[path]
            else:
                told.append(path)
        return told


def _mark(found: os.stat_result) -> _Mark:
    return _Mark(
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_size,
        found.st_ino,
        found.st_mode,
        found.st_uid,
    )


def _looked_into(
    entry: files.Entry, mark: _Mark, root_owner: int, now_ns: int, is_wanted: bool
) -> tuple[_Known, Content | None]:
    is_fresh = now_ns - mark.ctime_ns < _TICK_NS
    if stat.S_ISLNK(mark.mode):
        try:
            target = os.readlink(entry.name, dir_fd=entry.folder)[:_LINK_CHARS]
        except OSError:
            target = ""
        return _Known(mark, None, "special", target, is_fresh), None
    if not stat.S_ISREG(mark.mode):
        return _Known(mark, None, "special", None, is_fresh), None
    if not is_wanted:
        return _Known(mark, None, "budget", None, is_fresh), None
    content = read_content(entry.folder, entry.name, mark.size, root_owner)
    return _Known(mark, content.digest, content.withheld, None, is_fresh), content


class _Report:
    """The batch of one look, as it grows."""

    def __init__(self, phase: FilePhase, root: str, bounds: Bounds, spent_chars: int) -> None:
        self._phase: FilePhase = phase
        self._root = root
        self._bounds = bounds
        self._deadline = time.perf_counter() + bounds.diff_s
        self._changes: list[FileChange] = []
        self._count = 0
        self._chars = 0
        self.episode_chars = spent_chars

    @property
    def has_room(self) -> bool:
        """Whether another change would be listed."""
        bounds = self._bounds
        return len(self._changes) < bounds.changes and self._chars < bounds.batch_chars

    def compare(
        self,
        path: str,
        old: _Known | None,
        new: _Known,
        before: str | None,
        content: Content | None,
    ) -> None:
        """List a file whose mark is new, if anything of it is."""
        if old is None:
            self._add(path, "added", None, new, None, content)
        elif _differ(old, new):
            self._add(path, "modified", old, new, before, content)

    def deleted(self, path: str, old: _Known, before: str | None) -> None:
        self._add(path, "deleted", old, None, before, None)

    def batch(self, scanned: int, is_cut: bool, now_ns: int, took_s: float) -> FileBatch | None:
        """Return the batch, or None when it lists nothing."""
        if not self._count:
            return None
        return FileBatch(
            phase=self._phase,
            root=self._root,
            snapshot_timestamp=now_ns / 1e9,
            scan_duration_ms=round(took_s * 1e3, 3),
            files_scanned=scanned,
            files_changed=self._count,
            truncated=is_cut or self._count > len(self._changes),
            patches=sorted(self._changes, key=lambda change: change.path),
        )

    def _add(
        self,
        path: str,
        status: FileStatus,
        old: _Known | None,
        new: _Known | None,
        before: str | None,
        content: Content | None,
    ) -> None:
        self._count += 1
        if not self.has_room:
            return
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        patch, withheld = self._patch(shown, old, new, before, content)
        self._chars += len(shown) + len(patch or "")
        self.episode_chars += len(shown) + len(patch or "")
        is_remoded = old is not None and new is not None and old.mark.mode != new.mark.mode
        self._changes.append(
            FileChange(
                path=shown,
                status=status,
                patch=patch,
                withheld=withheld,
                size_before=None if old is None else old.mark.size,
                size_after=None if new is None else new.mark.size,
                content_hash_before=None if old is None else old.digest,
                content_hash_after=None if new is None else new.digest,
                mode_before=_octal(old) if is_remoded else None,
                mode_after=_octal(new) if is_remoded else None,
                link_target=None if new is None or new.target is None else _shown(new.target),
            )
        )

    def _patch(
        self,
        shown: str,
        old: _Known | None,
        new: _Known | None,
        before: str | None,
        content: Content | None,
    ) -> tuple[str | None, Withheld | None]:
        """Return the diff, or why there is none."""
        if old is not None and new is not None and old.digest and old.digest == new.digest:
            return None, None  # only its permissions changed
        if new is not None and new.withheld is not None:
            return None, new.withheld
        if old is not None and old.withheld is not None:
            unknown = old.withheld in ("budget", "too_large")
            return None, "no_before" if unknown else old.withheld
        after = None if content is None else content.text
        if old is not None and before is None:
            return None, "no_before"
        if new is not None and after is None:
            return None, "special"
        left = min(
            self._bounds.patch_chars,
            self._bounds.batch_chars - self._chars,
            self._bounds.episode_chars - self.episode_chars,
        )
        patch = unified_diff(shown, before, after, max_chars=left, deadline=self._deadline)
        return (patch, None) if patch is not None else (None, "budget")


def _differ(old: _Known, new: _Known) -> bool:
    """Tell whether a file that was looked at again is a changed file."""
    if old.mark.mode != new.mark.mode or old.target != new.target:
        return True
    if old.digest is not None and new.digest is not None:
        return old.digest != new.digest
    if new.target is not None or old.mark == new.mark:
        return False
    times_apart = old.mark._replace(ctime_ns=0, owner=0) != new.mark._replace(ctime_ns=0, owner=0)
    # Without the contents: a change of owner explains a new ctime, nothing else does.
    return times_apart or old.mark.owner == new.mark.owner


def _octal(known: _Known | None) -> str | None:
    return None if known is None else f"{stat.S_IMODE(known.mark.mode):04o}"


def _shown(text: str) -> str:
    return os.fsencode(text).decode("utf-8", "backslashreplace")
