"""What an image says of itself is a stranger's: whatever it is, the build ends with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hud.errors import RuntimeFault
from hud.packaging.docker.build import ImageAsk, build_image

# Stands for an engine whose image has a `python3` of its own.
ENGINE = """#!/bin/sh
case "$1" in
  info) echo '{}' | sed 's/{}/{"NCPU": 1}/' ;;
  version) echo 20.10.24 ;;
  build) while [ $# -gt 0 ]; do [ "$1" = --iidfile ] && echo sha256:1 > "$2"; shift; done ;;
  image) echo null; echo null ;;
  run) cat SAID ;;
esac
"""


@pytest.mark.parametrize(
    "said",
    [
        "{}",
        "[]",
        '{"name": "x"}',
        '{"name": "x", "source": "env.py", "environments": 7, "tasks": {}, "capabilities": []}',
        '{"name": [], "source": {}, "environments": ["x"], "tasks": [1], "capabilities": [null]}',
    ],
)
async def test_an_image_that_describes_itself_wrongly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    (tmp_path / "said").write_text(said)
    engine = tmp_path / "engine"
    engine.write_text(ENGINE.replace("SAID", str(tmp_path / "said")))
    engine.chmod(0o755)
    monkeypatch.setenv("HUD_ENGINE", str(engine))
    source = tmp_path / "source"
    source.mkdir()
    (source / "Dockerfile.hud").write_text("FROM scratch\nCOPY . .\n")
    lines: list[str] = []
    with pytest.raises(RuntimeFault, match="describes itself wrongly"):
        await build_image(source, ImageAsk(), on_line=lines.append)
