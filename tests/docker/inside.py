"""Run this project's tests inside a container: this machine's programs and the checkout, read-only.

The image holds empty folders; what is in them is mounted, so that nothing has to be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker_engine import DockerEngine

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "hud-test-inside:latest"
_LIMIT_S = 1_500
_FOLDERS = "usr etc proc sys dev run home var/lib opt tmp var/tmp root"
_MAKE = (
    f"mkdir -p {_FOLDERS} && chmod 1777 tmp var/tmp opt && chmod 0711 root"
    " && for name in bin sbin lib lib64; do ln -s usr/$name $name; done && tar c ."
)


@dataclass(frozen=True)
class Report:
    """What became of the tests, by name; `skipped` has the reasons."""

    passed: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])
    skipped: dict[str, str] = field(default_factory=dict[str, str])
    said: str = ""


def make_image(engine: DockerEngine) -> str:
    """Make the image and return its name."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["sh", "-c", _MAKE], cwd=folder, capture_output=True, check=True)
        archive = engine.folder / "inside.tar"
        archive.write_bytes(packed.stdout)
    engine.docker("import", "--change", f"ENV PATH={_path()}", str(archive), IMAGE)
    archive.unlink()
    return IMAGE


def run_tests(
    engine: DockerEngine, options: Sequence[str], tests: Sequence[str], *, without: Sequence[str]
) -> Report:
    """Run tests in a container with these options of `docker run`, and return what became of them.

    Args:
        tests: Files and folders, seen from the checkout.
        without: Words; tests with one of them in their name are left out.
    """
    with tempfile.TemporaryDirectory(prefix="hud-inside-") as folder:
        out = Path(folder)
        out.chmod(0o777)
        words = [
            *("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"),
            *("--junitxml=/out/report.xml", "-k", " and ".join(f"not {word}" for word in without)),
            *tests,
        ]
        environ = {
            "PATH": _path(),
            "PYTHONPATH": f"{ROOT}/src",
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/tmp/home",
            "HUD_HOME": "/tmp/hud",
            "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        }
        # A shell is the first process, as in most images; tests look at their own parent.
        start = 'mkdir -p /tmp/home && chmod 0700 /tmp/home; "$@"; exit $?'
        done = subprocess.run(
            [
                *("docker", "run", "--rm", *options, "--volume", f"{out}:/out"),
                *(f"--volume={place}:{place}:ro" for place in _places()),
                *(f"--env={name}={value}" for name, value in environ.items()),
                *("--workdir", str(ROOT), IMAGE, "sh", "-c", start, "sh", *words),
            ],
            env={**os.environ, **engine.environ},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
        )
        report = out / "report.xml"
        assert report.exists(), done.stdout + done.stderr
        return _read(report, (done.stdout + done.stderr)[-20_000:])


def _path() -> str:
    return f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def _places() -> list[str]:
    """Return what the container sees of this machine; nothing twice."""
    found = ["/usr", "/etc"]
    for path in (str(ROOT), sys.prefix, os.path.realpath(sys.prefix), sys.base_prefix):
        if not any(path == place or path.startswith(f"{place}/") for place in found):
            found.append(path)
    return found


def _read(path: Path, said: str) -> Report:
    report = Report(said=said)
    for case in ET.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if skipped is not None:
            report.skipped[name] = skipped.get("message") or ""
        elif case.find("failure") is not None or case.find("error") is not None:
            report.failed.append(name)
        else:
            report.passed.append(name)
    return report
