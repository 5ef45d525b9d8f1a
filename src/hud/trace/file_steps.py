"""Steps that say which files of a workspace changed, as diffs.

Such a step is a plain `system` step whose `extra["files"]` holds the batch, so any reader of steps
can read it; `files_of` gives the batch back. Who finds the changes is `environment.filetracking`.
"""

from __future__ import annotations

from typing import Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hud.trace.content import JsonValue
from hud.trace.steps import Step, StepSource

FILES_KEY = "files"
# The capability that tells of batches as they are found.
PROTOCOL = "hud-files/1"

FileStatus = Literal["added", "modified", "deleted"]
FilePhase = Literal["setup", "agent"]
Withheld = Literal["binary", "secret", "too_large", "budget", "no_before", "special"]


class FileChange(BaseModel):
    """One changed file. `path` is relative to the workspace, with `/`.

    Attributes:
        patch: A unified diff; None where `withheld` says why there is none, or nothing of the
            content changed.
        withheld: `binary` and `secret` contents are never shown, `too_large` and `budget` ones for
            their size; of `no_before` the former content was not kept; `special` is no plain file.
        content_hash_before: SHA-256 of the former content in hex, where it was read.
        mode_before: Former permissions in octal, when they changed.
        link_target: Where a symbolic link points now.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    status: FileStatus
    patch: str | None = None
    withheld: Withheld | None = None
    size_before: int | None = None
    size_after: int | None = None
    content_hash_before: str | None = None
    content_hash_after: str | None = None
    mode_before: str | None = None
    mode_after: str | None = None
    link_target: str | None = None


class FileBatch(BaseModel):
    """What one look at the workspace found changed since the one before.

    Attributes:
        phase: `setup` is what the template wrote before its prompt, `agent` what came after.
        snapshot_timestamp: When it was looked at, in seconds since the epoch.
        files_changed: How many changes there were; more than `patches` when `truncated`.
        truncated: Whether a limit kept files from being looked at or changes from being listed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    phase: FilePhase
    root: str = ""
    snapshot_timestamp: float = 0.0
    scan_duration_ms: float = 0.0
    files_scanned: int = 0
    files_changed: int = 0
    truncated: bool = False
    patches: list[FileChange] = Field(default_factory=list[FileChange])


class FilesStep(Step):
    """Files that changed."""

    source: StepSource = "system"

    @classmethod
    def of(cls, batch: FileBatch) -> Self:
        """Return the step that records a batch."""
        held = cast("JsonValue", batch.model_dump(mode="json", exclude_none=True))
        return cls(extra={FILES_KEY: held})


def files_of(step: Step) -> FileBatch | None:
    """Return the batch a step records, or None for a step that is about something else."""
    held: Any = step.extra.get(FILES_KEY)
    if step.source != "system" or not isinstance(held, dict):
        return None
    try:
        return FileBatch.model_validate(held)
    except ValidationError:
        return None
