"""The published client deploys to a platform of ours, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.platform.builds.building import source, write
from tests.platform.programs import Published
from tests.platform.server import Server


@pytest.fixture
def theirs(peer_python: Path, server: Server, tmp_path: Path) -> Published:
    write(tmp_path, source("their env"))
    write(tmp_path, {".env": "FROM_FILE=some-long-value"})
    key = server.key(team="their-team", scopes=("read", "write", "inference"))
    return Published(peer_python, server, tmp_path, key)


def test_it_deploys_versions_and_links_its_folder(server: Server, theirs: Published) -> None:
    first = theirs.hud(
        *("deploy", "--yes", "--env-file", ".env", "-e", "ONE=1", "--build-arg", "A=b")
    )
    assert (first["success"], first["status"]) == (True, "SUCCEEDED")
    assert first["details"]["version"] == 1
    assert [task["id"] for task in first["details"]["manifest"]["tasks"]] == ["add"]
    (theirs.folder / "more.py").write_text("X = 1\n", encoding="utf-8")
    second = theirs.hud("deploy", "--yes")
    assert second["registry_id"] == first["registry_id"]
    assert second["details"]["version"] == 2
    link = json.loads((theirs.folder / ".hud" / "config.json").read_text(encoding="utf-8"))
    assert first["registry_id"] in json.dumps(link)
    with server.client(theirs.key) as client:
        place = f"/v2/registry/{first['registry_id']}"
        assert client.get(f"{place}/variables").json() == {"names": ["FROM_FILE", "ONE"]}
        assert client.get(place).json()["name"] == "their-env"
    linked = theirs.hud("sync", "env", "their-env", ".", "--yes")
    assert linked["id"] == first["registry_id"]


def test_it_shows_the_log_and_the_link(server: Server, theirs: Published) -> None:
    done = theirs.attempt("-m", "hud.cli", "deploy", "--yes", "--no-env")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, said
    assert "building their env" in said
    assert "/environments/" in said


def test_a_failed_build_is_a_failed_deploy(theirs: Published) -> None:
    write(theirs.folder, source("their env", before="raise ValueError('broken on purpose')"))
    done = theirs.attempt("-m", "hud.cli", "deploy", "--yes", "--no-env")
    assert done.returncode == 1
    assert "broken on purpose" in done.stdout + done.stderr
