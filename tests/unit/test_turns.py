"""Steps as text for a terminal."""

from __future__ import annotations

from typing import Any

from hud.cli.turns import turn

PATCH = "--- a/notes.txt\n+++ b/notes.txt\n@@ -1 +1 @@\n-old\n+new\n"


def _files(*patches: Any, **batch: Any) -> dict[str, Any]:
    return {
        "step_id": 3,
        "source": "system",
        "extra": {"files": {"patches": list(patches), **batch}},
    }


def test_changed_files_are_shown_with_their_diffs() -> None:
    shown = turn(_files({"path": "notes.txt", "status": "modified", "patch": PATCH}))
    assert shown.splitlines()[:2] == ["── 3 files changed", "  modified notes.txt"]
    assert "    -old\n    +new" in shown


def test_a_withheld_content_is_named_and_a_cut_list_is_said() -> None:
    secret = {"path": ".env", "status": "added", "withheld": "secret"}
    shown = turn(_files(secret, truncated=True, files_changed=70))
    assert "added .env (secret)" in shown
    assert "more changed than is kept: 70 in all" in shown


def test_a_batch_of_a_wrong_shape_is_shown_as_it_is() -> None:
    shown = turn(_files(7, {"path": "\x1b[2J", "status": None, "patch": 5}))
    assert "7" in shown
    assert "\x1b" not in shown
