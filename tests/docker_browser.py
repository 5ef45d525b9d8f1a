"""An image to build on that has a browser too: this machine's Chromium over `docker_base`.

What `RUN apt-get install chromium` does where packages can be had.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from hud.environment.browser_process import NAMES
from tests.docker_base import BASE_IMAGE, libraries_of
from tests.docker_engine import DockerEngine
from tests.needs import missing, need_program

BROWSER_IMAGE = "hud-test-browser:latest"
_PLACE = "usr/lib/chromium"
_LEFT_OUT = ("libVkLayer", "crashpad", ".TOC")
_RECIPE = f"FROM {BASE_IMAGE}\nADD browser.tar /\n"
_FONTS = ("/etc/fonts", "/usr/share/fontconfig", "/usr/share/fonts/truetype/dejavu")


def add_browser(engine: DockerEngine) -> str:
    """Make the image in `engine`, which has the base, and return its name."""
    folder = engine.folder / "browser"
    folder.mkdir()
    (folder / "Dockerfile").write_text(_RECIPE)
    with tarfile.open(folder / "browser.tar", "w") as tar:
        _write(tar)
    engine.docker("build", "--quiet", "--network", "none", "--tag", BROWSER_IMAGE, str(folder))
    (folder / "browser.tar").unlink()
    return BROWSER_IMAGE


def _write(tar: tarfile.TarFile) -> None:
    program = chromium_program()
    for path in sorted(program.parent.rglob("*")):
        if not any(part in str(path) for part in _LEFT_OUT) and path.is_file():
            tar.add(path.resolve(), f"{_PLACE}/{path.relative_to(program.parent)}")
    link = tarfile.TarInfo("usr/bin/chromium")
    link.type, link.linkname = tarfile.SYMTYPE, f"/{_PLACE}/{program.name}"
    tar.addfile(link)
    loaded = sorted(_loaded_by_name())
    for name, path in libraries_of([program, *loaded]).items():
        tar.add(path.resolve(), name)
    for path in loaded:
        tar.add(path.resolve(), str(path).lstrip("/"))
    for top in _FONTS:
        if Path(top).is_dir():
            tar.add(top, top.lstrip("/"))


def chromium_program() -> Path:
    """Return the browser itself, where the command is a script that starts it."""
    found = Path(need_program(*NAMES)).resolve()
    for path in (found, *(Path(f"/usr/lib/{name}/{name}") for name in NAMES)):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    return path
    missing("a Chromium that can be put into an image")
    raise AssertionError


def _loaded_by_name() -> Iterator[Path]:
    """Yield the libraries that those of the browser open by themselves, for certificates."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"):
        for name in ("libsoftokn3.so", "libfreebl3.so", "libfreeblpriv3.so", "libnssckbi.so"):
            yield from (
                path for path in (Path(folder, name), Path(folder, "nss", name)) if path.exists()
            )
