"""What a source needs installed: found in its files, checked, and installed without running any.

Only wheels are taken, because installing one runs no code of its author; a requirement that is an
address, a path or an option is refused, so that a stranger's file decides on nothing but names.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, cast

from hud._core.errors import InputError, RuntimeFault, bounded
from hud._core.redact import redact
from hud.packaging.wheel import MODULE, NAME, Held

INSTALL_S = 900.0
MOST_BYTES = 8 << 30
_LOOK_S = 1.0
_FILES = ("requirements.lock", "requirements.txt")
_TEXT_BYTES = 4 << 20
_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*"
    r"(?:\(?\s*(?:===|==|~=|!=|<=|>=|<|>)[^;@/\\:]*\)?)?\s*(?:;.*)?"
)
_HASH = re.compile(r"\s--hash[= ](sha(?:256|384|512):[0-9a-f]+)")
_LEFT_OUT = (MODULE, NAME)


def requirements_of(folder: Path) -> list[str]:
    """Return what the source in `folder` asks to have installed, `hud` itself left out.

    A file `requirements.lock` or `requirements.txt` decides; else the dependencies that
    `pyproject.toml` declares.

    Raises:
        InputError: for a line that is no name with versions.
    """
    for name in _FILES:
        path = folder / name
        if path.is_file() and not path.is_symlink():
            lines = list(_lines(_text(path), name))
            return [line for line in lines if not _is_own(line)]
    path = folder / "pyproject.toml"
    if not path.is_file() or path.is_symlink():
        return []
    try:
        table = cast("dict[str, Any]", tomllib.loads(_text(path)).get("project") or {})
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"pyproject.toml cannot be read: {error}") from error
    needs: Any = table.get("dependencies") or []
    checked = [_checked(str(need), "pyproject.toml") for need in needs]
    return [line for line in checked if not _is_own(line)]


def key_of(requirements: list[str]) -> str:
    """Return what tells these requirements from others."""
    return hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()


async def install(
    requirements: list[str],
    into: Path,
    held: Held,
    *,
    on_line: Callable[[str], None] | None = None,
    timeout_s: float = INSTALL_S,
    most_bytes: int = MOST_BYTES,
) -> tuple[str, ...]:
    """Install wheels into a new folder and return what they are, as `name==version`.

    Raises:
        InputError: when something cannot be found or installed, or is too large.
        RuntimeFault: when this Python has no pip.
    """
    into.mkdir(parents=True)
    if not requirements:
        return ()
    scratch = into.parent / f"{into.name}.pip"
    scratch.mkdir()
    listed = scratch / "requirements.txt"
    listed.write_text("\n".join(requirements) + "\n", "utf-8")
    argv = [
        *(sys.executable, "-m", "pip", "install", "--target", str(into), "--requirement"),
        *(str(listed), "--only-binary", ":all:", "--no-input", "--disable-pip-version-check"),
        *("--no-compile", "--progress-bar", "off", "--no-cache-dir"),
    ]
    if not any("--hash" in line for line in requirements):
        argv += ["--constraint", str(held.constraints)]
    try:
        await _run(argv, scratch, into, on_line, timeout_s, most_bytes)
        _forget_own(into)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = distributions(path=[str(into)])
    return tuple(sorted(f"{one.metadata['Name']}=={one.version}" for one in found))


async def _run(
    argv: list[str],
    scratch: Path,
    into: Path,
    on_line: Callable[[str], None] | None,
    timeout_s: float,
    most_bytes: int,
) -> None:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": ""},
            start_new_session=True,
            limit=1 << 20,
        )
    except OSError as error:
        raise RuntimeFault(f"pip could not be started: {error}") from error
    last: list[str] = []

    async def follow() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            text = redact(line[:4096].decode("utf-8", "replace").rstrip())
            last[:] = [*last[-9:], text]
            if on_line is not None:
                on_line(text)

    async def watch() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            used = await asyncio.to_thread(_size, [scratch, into])
            if used > most_bytes:
                raise InputError(f"what the source needs is larger than {most_bytes >> 20} MB")

    try:
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            await follow()
            await process.wait()
            watching.cancel()
    except TimeoutError:
        raise InputError(f"installing took more than {timeout_s:g} s") from None
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, 9)
            await process.wait()
    if process.returncode == 0:
        return
    said = " ".join(line for line in last if "ERROR" in line) or " ".join(last[-2:])
    if "No module named pip" in said:
        raise RuntimeFault(
            f"{sys.executable} has no pip, which installing takes",
            hint="python -m ensurepip, or install hud with pip",
        )
    raise InputError(
        f"what the source needs could not be installed: {bounded(said, 800)}",
        hint="only wheels are installed, so that nothing is run meanwhile",
    )


def _forget_own(into: Path) -> None:
    """Remove `hud` itself, should something have brought it in: a bundle has its own beside."""
    for found in distributions(path=[str(into)]):
        if _plain(found.metadata["Name"] or "") in _LEFT_OUT:
            shutil.rmtree(Path(str(getattr(found, "_path", into / "none"))), ignore_errors=True)
    shutil.rmtree(into / MODULE, ignore_errors=True)


def _size(folders: list[Path]) -> int:
    total = 0
    for folder in folders:
        for path, _, names in os.walk(folder):
            for name in names:
                try:
                    total += os.lstat(f"{path}/{name}").st_size
                except OSError:
                    continue
    return total


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_TEXT_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} cannot be read: {error}") from error


def _lines(text: str, where: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield _checked(bare, where)


def _checked(line: str, where: str) -> str:
    hashes = _HASH.findall(line)
    bare = _HASH.sub("", f" {line}").strip()
    if _REQUIREMENT.fullmatch(bare) is None:
        raise InputError(
            f"{where}: {bounded(line)!r} is no name with versions, so it cannot be installed",
            hint="addresses, paths and options of pip are not taken",
        )
    return " ".join([bare, *(f"--hash={value}" for value in hashes)])


def _is_own(line: str) -> bool:
    return _plain(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) in _LEFT_OUT


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
