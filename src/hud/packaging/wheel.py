"""The wheel of the very `hud` that runs, for what it builds to install; and a hold on its names.

The projects called `hud` and `hud-python` on the public index are other people's. Whatever an
image or a bundle installs gets this wheel instead, with constraints that let no other one in.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path
from typing import Any

from hud._core.errors import InputError
from hud._version import __version__

NAME = "hud-python"
MODULE = "hud"
_UI = "platform/ui"
_TIME = (1980, 1, 1, 0, 0, 0)
_TAG = "py3-none-any"
_SKIPPED = ("__pycache__",)


@dataclass(frozen=True, slots=True)
class Held:
    """The names `hud` and `hud-python`, held: what to install, and what pip is told of them.

    Attributes:
        wheel: The wheel of this `hud`.
        holder: An empty wheel of the name `hud`, which keeps the index's one out.
        constraints: File for `pip install --constraint`.
    """

    wheel: Path
    holder: Path
    constraints: Path


def package_folder() -> Path:
    """Return the folder of the `hud` that runs."""
    return Path(__file__).resolve().parents[1]


def own_wheel(into: str | Path, *, with_ui: bool = False) -> Path:
    """Write the wheel of the running `hud` into a folder and return it. Blocks.

    The same `hud` gives the same bytes, whether it runs from a checkout or is installed.

    Args:
        with_ui: Whether the platform's built web pages are in it.

    Raises:
        InputError: when its own files or metadata cannot be found.
    """
    metadata, entry_points = _metadata()
    folder = Path(into)
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        (f"{MODULE}/{path.relative_to(package_folder()).as_posix()}", path.read_bytes())
        for path in _package_files(with_ui=with_ui)
    ]
    return _write_wheel(folder, NAME, metadata, [*files], entry_points)


def hold_names(into: str | Path, *, with_ui: bool = False) -> Held:
    """Write the wheel, the holder of the other name, and the constraints; return them. Blocks."""
    folder = Path(into).resolve()
    wheel = own_wheel(folder, with_ui=with_ui)
    text = (
        f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: {__version__}\n"
        f"Summary: Holds the name of what {NAME} installs.\nRequires-Dist: {NAME}=={__version__}\n"
    )
    holder = _write_wheel(folder, MODULE, text, [], None)
    constraints = folder / "constraints.txt"
    constraints.write_text(constraint_lines(wheel.as_uri(), holder.as_uri()), "utf-8")
    return Held(wheel, holder, constraints)


def constraint_lines(wheel: str, holder: str) -> str:
    """Return constraints that tie both names to these addresses of the two wheels."""
    return f"{NAME} @ {wheel}\n{MODULE} @ {holder}\n"


def foreign_owner() -> str | None:
    """Return which other distribution claims the module `hud` in this Python, or None.

    That is one which is not ours but would be imported, or has been written over ours.
    """
    ours = package_folder()
    for found in distributions():
        name = found.metadata["Name"] or ""
        is_ours = re.sub(r"[-_.]+", "-", name).lower() == NAME and found.version == __version__
        if is_ours or not _claims(found):
            continue
        place = Path(str(found.locate_file(MODULE))).resolve()
        where = "in place of this one" if place == ours else f"in {place.parent}"
        return f"{name} {found.version} {where}"
    return None


def _claims(found: Distribution) -> bool:
    if re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower() not in (NAME, MODULE):
        return False
    return any(str(path).startswith(f"{MODULE}/") for path in found.files or ())


def _package_files(*, with_ui: bool) -> Iterator[Path]:
    top = package_folder()
    for folder, below, names in os.walk(top):
        below[:] = sorted(name for name in below if name not in _SKIPPED)
        place = Path(folder)
        if not with_ui and place.relative_to(top).as_posix() == _UI:
            below.clear()
            continue
        for name in sorted(names):
            if not name.endswith(".pyc") and (place / name).is_file():
                yield place / name


def _metadata() -> tuple[str, str | None]:
    """Return METADATA and entry points: of the checkout that runs, or as they were installed."""
    project = package_folder().parents[1] / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text("utf-8")).get("project", {})
        if table.get("name") == NAME:
            return _from_project(table)
    beside = package_folder().parent
    for folder in sorted(beside.glob("hud_python-*.dist-info")):
        found = PathDistribution(folder)
        text = found.read_text("METADATA")
        if text and found.version == __version__:
            return text, found.read_text("entry_points.txt")
    raise InputError(
        f"the hud in {beside} does not say what it depends on, so it cannot be packed",
        hint="install it with pip, or run it from its checkout",
    )


def _from_project(project: dict[str, Any]) -> tuple[str, str]:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {NAME}",
        f"Version: {__version__}",
        f"Summary: {project.get('description', '')}",
        f"Requires-Python: {project.get('requires-python', '>=3.11')}",
    ]
    lines += [f"Requires-Dist: {need}" for need in project.get("dependencies", [])]
    for extra, needs in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {need} ; extra == "{extra}"' for need in needs]
    scripts = [f"{name} = {at}" for name, at in project.get("scripts", {}).items()]
    return "\n".join(lines) + "\n", "\n".join(["[console_scripts]", *scripts]) + "\n"


def _write_wheel(
    folder: Path,
    name: str,
    metadata: str,
    files: list[tuple[str, bytes]],
    entry_points: str | None,
) -> Path:
    stem = f"{name.replace('-', '_')}-{__version__}"
    info = f"{stem}.dist-info"
    wheel = f"Wheel-Version: 1.0\nGenerator: hud {__version__}\nRoot-Is-Purelib: true\n"
    files = [*files, (f"{info}/METADATA", metadata.encode())]
    files.append((f"{info}/WHEEL", f"{wheel}Tag: {_TAG}\n".encode()))
    if entry_points:
        files.append((f"{info}/entry_points.txt", entry_points.encode()))
    files.append((f"{info}/RECORD", _record(files, f"{info}/RECORD").encode()))
    path = folder / f"{stem}-{_TAG}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside, content in files:
            header = zipfile.ZipInfo(inside, _TIME)
            header.compress_type = zipfile.ZIP_DEFLATED
            header.external_attr = 0o644 << 16
            archive.writestr(header, content)
    return path


def _record(files: Iterable[tuple[str, bytes]], own: str) -> str:
    lines: list[str] = []
    for name, content in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        quoted = f'"{name}"' if "," in name else name
        lines.append(f"{quoted},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{own},,"]) + "\n"
