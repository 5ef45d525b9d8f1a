"""A bundle: source, the `hud` that runs it and what it needs, under an address made of them.

Bundles lie in one folder and never change; running one is `runtimes.bundle`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import sys
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hud._core import json, processes
from hud._core.errors import InputError, NotFound, bounded
from hud._core.paths import hud_home, shown_folder
from hud._version import __version__
from hud.environment.loader import ENTRY_FILES
from hud.packaging import archive, packages, wheel
from hud.packaging.context import Limits, read_context
from hud.packaging.inspect import INSPECT_S, Offer, inspect
from hud.packaging.lock import Lock, read_lock, write_lock
from hud.packaging.root import write_files
from hud.packaging.variables import variables_of

PREFIX = "bundle:"
ADDRESS = re.compile(r"[0-9a-f]{64}")
"""What the folder of a bundle is called."""
_SHORT = re.compile(r"[0-9a-f]{8,64}")
_MAKING = re.compile(r"\.making-(\d+:\d+)-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Bundle:
    """One bundle on this machine.

    Attributes:
        folder: Holds `source`, `hud`, maybe `packages`, and `hud.lock`.
    """

    folder: Path
    lock: Lock

    @property
    def address(self) -> str:
        """64 hex digits that say what is in it."""
        return self.folder.name

    @property
    def uri(self) -> str:
        """How others name it."""
        return f"{PREFIX}{self.address}"


def bundle_store() -> Path:
    """Return the folder where this installation keeps its bundles."""
    return hud_home() / "bundles"


async def build_bundle(
    folder: str | Path,
    *,
    store: Path | None = None,
    target: str | None = None,
    env: str | None = None,
    variables: dict[str, str] | None = None,
    no_cache: bool = False,
    limits: Limits | None = None,
    timeout_s: float = INSPECT_S,
    on_line: Callable[[str], None] | None = None,
) -> Bundle:
    """Build the bundle of a source, or return it when it is there already.

    No code of the source runs outside of a wall. Cancelling leaves nothing behind.

    Args:
        folder: The source's folder, or its file: what is in the same folder is packed then too.
        store: Where bundles are kept; `HUD_HOME/bundles` otherwise.
        target: The file in the folder to load, or `file.py:attribute`; found there otherwise.
        env: Name of the environment, when the source has several.
        variables: Environment variables that loading it takes. They are not kept.
        no_cache: Build it even if it was built before.
        limits: How large the source may be.
        timeout_s: How long loading it may take.
        on_line: Told what is done and printed, line by line.

    Raises:
        InputError: when the source cannot be packed, installed or used.
        EnvironmentFault: when loading it ends its interpreter or takes too long.
        RuntimeFault: when nothing can be walled in on this machine.
    """
    top, wanted = _source(folder, target)
    tell = on_line or _nothing
    store = store or bundle_store()
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = store / f".making-{processes.identity_of(os.getpid())}-{uuid.uuid4().hex[:8]}"
    await asyncio.to_thread(sweep, store)
    try:
        making.mkdir(mode=0o700)
        made = await asyncio.to_thread(_collect, top, making, limits)
        files = "1 file" if made.files == 1 else f"{made.files:,} files"
        tell(f"packed {files}, {made.size:,} bytes")
        needs = packages.requirements_of(making / "source")
        key = _key(made, needs, wanted, env)
        kept = None if no_cache else await asyncio.to_thread(_kept, store, key)
        if kept is not None:
            tell(f"{kept.uri} is there already")
            return kept
        if needs:
            tell(f"installing {len(needs)} packages")
        locked = await packages.install(needs, making / "packages", made.held, on_line=on_line)
        if not locked:
            (making / "packages").rmdir()
        await asyncio.to_thread(_open_all, making)
        tell("loading the source")
        offer = await inspect(
            making, wanted, env=env, variables=variables, on_line=on_line, timeout_s=timeout_s
        )
        lock = _lock(made, offer, locked)
        bundle = await asyncio.to_thread(_keep, store, making, key, lock)
        tell(f"built {bundle.uri}")
        return bundle
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, making, ignore_errors=True))


def load_bundle(ref: str | Path, *, store: Path | None = None) -> Bundle:
    """Return a bundle by its address, the beginning of it (8 digits), or its folder.

    Raises:
        NotFound: when there is none.
        InputError: when the name says too little, or what is there is no bundle.
    """
    text = str(ref).removeprefix(PREFIX)
    if _SHORT.fullmatch(text):
        return _read((store or bundle_store()) / _resolved(text, store or bundle_store()))
    folder = Path(text)
    if not folder.is_dir():
        raise NotFound(
            f"there is no bundle {bounded(text)!r}", hint="build one with: hud build --bundle"
        )
    return _read(folder.resolve())


def note_used(folder: Path) -> None:
    """Keep in mind that a bundle is used now; blocks. What is not used for long may be removed."""
    with contextlib.suppress(OSError):  # it may be somebody else's, and lie on a read-only disk
        os.utime(folder)


def sweep(store: Path) -> int:
    """Remove what builds left that were killed; return how many there were. Blocks."""
    removed = 0
    for folder in list(store.iterdir()) if store.is_dir() else ():
        match = _MAKING.fullmatch(folder.name)
        if match is not None:
            pid = int(match[1].partition(":")[0])
            if processes.identity_of(pid) != match[1]:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
    return removed


@dataclass(frozen=True, slots=True)
class _Made:
    """What was collected of a source."""

    files: int
    size: int
    source_hash: str
    hud_hash: str
    held: wheel.Held
    lock_variables: tuple[tuple[str, ...], tuple[str, ...]]


def _source(folder: str | Path, target: str | None) -> tuple[Path, str]:
    """Return the folder to pack and what to load in it, relative to its top."""
    path, attribute = Path(folder), ""
    if not path.exists() and ":" in str(folder):
        head, _, tail = str(folder).rpartition(":")
        path, attribute = Path(head), f":{tail}"
    if path.is_file():
        return path.parent, target or f"{path.name}{attribute}"
    if not path.is_dir():
        raise InputError(f"source {path} does not exist", hint="create one with: hud init")
    wanted = target or "."
    inner = (path / wanted.partition(":")[0]).resolve()
    if not inner.is_relative_to(path.resolve()):
        raise InputError(f"{bounded(wanted)!r} leads out of the source's folder")
    if wanted == "." and not any((path / name).is_file() for name in ENTRY_FILES):
        raise InputError(
            f"there is no {' and no '.join(ENTRY_FILES)} in {shown_folder(path)}",
            hint="hud init writes them; where the file has another name, name it instead of the "
            "folder",
        )
    return path, wanted


def _collect(top: Path, making: Path, limits: Limits | None) -> _Made:
    context = read_context(top, limits)
    packed = archive.pack(context, making / "source.tar.gz")
    archive.unpack(packed.path, making / "source", limits)
    packed.path.unlink()
    held = wheel.hold_names(making / "wheels")
    digest = hashlib.sha256(held.wheel.read_bytes()).hexdigest()
    with zipfile.ZipFile(held.wheel) as unzipped:
        unzipped.extractall(making / "hud")
    write_files(making / "etc")
    found = variables_of(context)
    return _Made(
        len(context.names()),
        context.size,
        packed.source_hash,
        digest,
        held,
        (found.required, found.optional),
    )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _key(made: _Made, needs: list[str], target: str, env: str | None) -> str:
    """Return what the same build as before has too."""
    parts = (made.source_hash, made.hud_hash, _python(), packages.key_of(needs), target, env or "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _kept(store: Path, key: str) -> Bundle | None:
    try:
        address = (store / f".built-{key}").read_text("utf-8")
        kept = _read(store / address) if ADDRESS.fullmatch(address) else None
    except (OSError, InputError):
        return None
    if kept is not None:
        note_used(kept.folder)
    return kept


def _lock(made: _Made, offer: Offer, locked: tuple[str, ...]) -> Lock:
    required, optional = made.lock_variables
    source = f"{offer.source}:{offer.attribute}" if offer.attribute else offer.source
    return Lock.model_validate(
        {
            "name": offer.name,
            "source_hash": made.source_hash,
            "source": source,
            "environments": offer.environments,
            "hud": __version__,
            "hud_hash": made.hud_hash,
            "python": _python(),
            "packages": locked,
            "tasks": offer.tasks,
            "capabilities": offer.capabilities,
            "variables": {"required": required, "optional": optional},
        }
    )


def _keep(store: Path, making: Path, key: str, lock: Lock) -> Bundle:
    """Give what was made its address and put it there, unless it is there already."""
    shutil.rmtree(making / "wheels", ignore_errors=True)
    parts = {**lock.model_dump(mode="json"), "digest": None, "files": _files_hash(making)}
    address = hashlib.sha256(json.encode(parts)).hexdigest()
    lock = lock.model_copy(update={"digest": address})
    write_lock(lock, making / "hud.lock")
    making.chmod(0o755)
    place = store / address
    if not place.is_dir():
        try:
            making.rename(place)
        except OSError:
            if not place.is_dir():
                raise
    pointer = store / f".built-{key}"
    fresh = store / f".built-{key}.{os.getpid()}"
    fresh.write_text(address, "utf-8")
    fresh.replace(pointer)
    return Bundle(place, lock)


def _files_hash(making: Path) -> str:
    """Return a hash of what was installed; the source and `hud` have theirs in the lock."""
    total = hashlib.sha256()
    for folder, below, names in os.walk(making / "packages"):
        below.sort()
        for name in sorted(names):
            path = Path(folder) / name
            total.update(f"{path.relative_to(making).as_posix()}\0".encode("utf-8", "replace"))
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _open_all(making: Path) -> None:
    """Let the unprivileged user behind the wall read it all."""
    for folder, _, names in os.walk(making):
        top = Path(folder)
        if top != making:
            top.chmod(0o755)
        for name in names:
            path = top / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _resolved(text: str, store: Path) -> str:
    if ADDRESS.fullmatch(text):
        return text
    found = [path.name for path in store.iterdir()] if store.is_dir() else []
    fitting = [name for name in found if name.startswith(text) and ADDRESS.fullmatch(name)]
    if len(fitting) > 1:
        raise InputError(f"{len(fitting)} bundles begin with {text}", hint="give more digits")
    return fitting[0] if fitting else text


def _read(folder: Path) -> Bundle:
    if not folder.is_dir():
        raise NotFound(
            f"there is no bundle {bounded(folder.name)!r}",
            hint="build one with: hud build --bundle",
        )
    lock = read_lock(folder)
    if lock.digest != folder.name or not (folder / "source").is_dir():
        raise InputError(f"{folder} is no bundle, or was changed")
    if lock.packages and lock.python != _python():
        raise InputError(
            f"bundle {folder.name[:12]} is for Python {lock.python}, and this is {_python()}",
            hint="build it again here: hud build --bundle",
        )
    return Bundle(folder, lock)


def _nothing(line: str) -> None:
    """Tell nobody."""
