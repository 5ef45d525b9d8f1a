"""Every block of every page runs, and prints what the page says it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs import page
from tests.docs.page import KINDS, blocks_of, fits

ROOT = Path(__file__).parents[2]
GENERATED = {ROOT / "docs" / "reference" / name for name in ("api.md", "cli.md", "python.md")}
# Figures with their date and machine: `scripts/bench` measures them, a test cannot.
MEASURED = {ROOT / "docs" / "benchmarks.md"}
PAGES = [ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - GENERATED - MEASURED)]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def chat_url() -> Iterator[str]:
    """A model API for pages that ask a model something."""
    command = [sys.executable, "-m", "hud.testing.chat_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip().removeprefix("CHAT_SERVER_PORT=")
        yield f"http://127.0.0.1:{port}/v1"
        server.kill()


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_a_page_does_what_it_says(path: Path, chat_url: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, page.__file__, str(path), str(folder)],
        cwd=folder,
        env={
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            # What a page calls $URL and $MODEL is the reader's own model API.
            "URL": chat_url,
            "MODEL": "test-model",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_a_page_has_only_blocks_that_can_be_run(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    kinds = {block.kind for block in blocks_of(text)}
    assert kinds <= set(KINDS)
    fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
    assert fences == 2 * len(list(blocks_of(text))), "a fence is not closed, or not recognised"


def test_generated_pages_say_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*PAGES, *sorted(GENERATED)], ids=_name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{target} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, f"{target} has no heading"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_a_page_that_lies_fails(tmp_path: Path) -> None:
    lies = {
        "print": "```python\nprint(2)\n```\n```text\n1\n```\n",
        "raise": "```python\n1 / 0\n```\n",
        "exit": "```bash\nfalse\n```\n",
        "code": "```bash\ntrue  # exit code 3\n```\n",
        "order": "```text\nnothing printed this\n```\n",
        "kind": "```ruby\nputs 1\n```\n",
        "file": "```python\n# unused.py\nx = 1\n```\n",
    }
    for name, text in lies.items():
        (tmp_path / f"{name}.md").write_text(text)
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, page.__file__, str(tmp_path / f"{name}.md"), str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, f"{name}: {done.stderr}"
        assert done.stderr.startswith(f"{name}.md:"), done.stderr


def test_a_received_frame_must_be_what_the_page_shows() -> None:
    came: dict[str, Any] = {
        "id": 1,
        "result": {"score": 1.0, "session_id": "a" * 32, "tags": ["x", "y"]},
    }
    ids: dict[str, str] = {}
    whole = {"id": 1, "result": {"score": 1.0, "session_id": "1" * 32, "tags": ["x", "…"]}}
    assert fits(whole, came, ids)
    assert ids == {"1" * 32: "a" * 32}
    assert fits({"id": 1, "…": "…"}, came, {})
    assert fits("frame is not JSON: …", "frame is not JSON: nothing", {})
    assert not fits({"id": 1}, came, {}), "a key the page does not show"
    assert not fits({"id": 1, "error": "…", "…": "…"}, came, {}), "a key that did not come"
    assert not fits({"id": 2, "…": "…"}, came, {})
    assert not fits(whole, {"id": 1, "result": {**came["result"], "tags": ["x"]}}, {})
    assert not fits("1" * 32, "b" * 32, ids), "an id that is another one by now"
