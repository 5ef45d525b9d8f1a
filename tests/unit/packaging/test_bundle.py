"""A source becomes a bundle with an address of its own; what cannot be one says why."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hud._core.errors import EnvironmentFault, HudError, InputError
from hud.packaging.bundle import ADDRESS, build_bundle, load_bundle
from hud.packaging.packages import requirements_of
from hud.packaging.root import problem
from tests.needs import missing


@pytest.fixture(autouse=True, scope="module")
def walls() -> None:
    """Need what a bundle's root is made with; under CI its lack is a failure."""
    if (why := problem()) is not None:
        missing(why)


SOURCE = """
import os
from hud import Environment

env = Environment(name="checked")
TOKEN = os.environ["NEEDED"]
LEVEL = os.environ.get("LEVEL")

@env.template()
async def ask(word: str = "yes"):
    "Say a word."
    answer = yield f"say {word}"
    yield float(answer == word)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "tasks.py").write_text(SOURCE)
    (folder / ".env").write_text("NEEDED=secret")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "bundles"


async def test_a_bundle_says_what_it_offers_and_needs(source: Path, store: Path) -> None:
    said: list[str] = []
    made = await build_bundle(
        source, store=store, variables={"NEEDED": "a-secret"}, on_line=said.append
    )
    assert made.lock.manifest() == {
        "tasks": [
            {
                "id": "ask",
                "description": "Say a word.",
                "args": {
                    "type": "object",
                    "properties": {"word": {"title": "Word", "type": "string", "default": "yes"}},
                    "additionalProperties": False,
                },
            }
        ],
        "capabilities": [],
    }
    assert made.lock.variables.required == ("NEEDED",)
    assert made.lock.variables.optional == ("LEVEL",)
    assert made.lock.name == "checked" and made.lock.digest == made.address
    assert said[-1] == f"built {made.uri}"
    kept = b"".join(path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    assert b"a-secret" not in kept and not (made.folder / "source/.env").exists()


async def test_the_same_source_is_the_same_bundle(source: Path, store: Path) -> None:
    needed = {"NEEDED": "x"}
    first = await build_bundle(source, store=store, variables=needed)
    said: list[str] = []
    again = await build_bundle(source, store=store, variables=needed, on_line=said.append)
    rebuilt = await build_bundle(source / "tasks.py", store=store, variables=needed, no_cache=True)
    assert again == first and said[-1] == f"{first.uri} is there already"
    (source / "tasks.py").write_text(f"{SOURCE}\n# changed\n")
    changed = await build_bundle(source, store=store, variables=needed)
    assert changed.address != first.address
    assert {rebuilt.address, first.address} == {first.address}
    kept = {folder.name for folder in store.iterdir() if ADDRESS.fullmatch(folder.name)}
    assert kept == {first.address, changed.address}
    for ref in (first.uri, first.address, first.address[:8], first.folder):
        assert load_bundle(ref, store=store) == first


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("raise OSError('no disk')", InputError, "raised OSError: no disk"),
        ("x = 1", InputError, "declares no Environment"),
        ("import os; print('last words', flush=True); os._exit(3)", EnvironmentFault, "last words"),
        ("while True: pass", EnvironmentFault, "did not finish importing within 2 s"),
        ("import ctypes; ctypes.string_at(0)", EnvironmentFault, "could not be inspected"),
    ],
)  # fmt: skip
async def test_a_source_that_cannot_be_used_says_why_and_leaves_nothing(
    source: Path, store: Path, text: str, kind: type[HudError], says: str
) -> None:
    (source / "tasks.py").write_text(text)
    with pytest.raises(kind, match=says):
        await build_bundle(source, store=store, timeout_s=2.0)
    assert list(store.iterdir()) == []


async def test_a_folder_without_a_source_is_named_as_it_is_known_outside(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=f"no tasks.py and no env.py in {empty}") as refused:
        await build_bundle(empty, store=store)
    assert "hud init" in (refused.value.hint or "")
    monkeypatch.chdir(empty)
    with pytest.raises(InputError, match="in this folder"):
        await build_bundle(".", store=store)


async def test_files_are_named_from_the_top_of_the_source(source: Path, store: Path) -> None:
    (source / "more.py").write_text("import traceback\ntraceback.print_stack()\n1 / 0\n")
    (source / "tasks.py").write_text("import more\n")
    said: list[str] = []
    with pytest.raises(InputError) as refused:
        await build_bundle(source, store=store, on_line=said.append)
    told = "\n".join([*said, refused.value.message, refused.value.hint or ""])
    assert 'File "more.py", line 2' in told
    assert "/bundle/source" not in told


async def test_a_build_that_is_cancelled_leaves_nothing(source: Path, store: Path) -> None:
    (source / "tasks.py").write_text("print('here', flush=True)\nwhile True: pass")
    began = asyncio.Event()

    def hear(line: str) -> None:
        if line == "here":
            began.set()

    build = asyncio.create_task(build_bundle(source, store=store, on_line=hear))
    await began.wait()
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert list(store.iterdir()) == []


async def test_what_a_killed_build_left_goes_with_the_next(source: Path, store: Path) -> None:
    left = store / ".making-999999999:1-abcdef"
    (left / "source").mkdir(parents=True)
    made = await build_bundle(source, store=store, variables={"NEEDED": "x"})
    assert not left.exists() and made.folder.is_dir()


async def test_a_source_being_loaded_sees_nothing_of_the_machine(
    source: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_SECRET", "x")
    home = tmp_path / "home"
    home.mkdir()
    (home / "hud.db").write_text("secret")
    (source / "tasks.py").write_text(
        "import os, socket\n"
        "from hud import Environment\n"
        f"found = [path for path in ({str(home)!r}, {str(store)!r}, '/root/.ssh', '/etc/shadow')"
        " if os.path.exists(path) and os.access(path, os.R_OK)]\n"
        "assert not found, found\n"
        "assert 'OWN_SECRET' not in os.environ, sorted(os.environ)\n"
        "assert os.getuid() != 0\n"
        "assert [name for _, name in socket.if_nameindex()] == ['lo']\n"
        "assert not os.access('/usr/bin', os.W_OK)\n"
        "env = Environment(name='walled')\n"
    )
    assert (await build_bundle(source, store=store)).lock.name == "walled"


def test_requirements_are_names_with_versions_and_nothing_else(tmp_path: Path) -> None:
    listed = tmp_path / "requirements.txt"
    listed.write_text(
        "# comment\nnumpy>=1.26,<3  # why\nhud-python==9\n"
        "pydantic[email]~=2.1 ; python_version > '3.8'\n"
        "attrs==23.1 \\\n  --hash=sha256:ab\n"
    )
    assert requirements_of(tmp_path) == [
        "numpy>=1.26,<3",
        "pydantic[email]~=2.1 ; python_version > '3.8'",
        "attrs==23.1 --hash=sha256:ab",
    ]
    for line in (
        "-e .",
        "--extra-index-url https://x",
        "git+https://host/x",
        "x @ file:///etc/passwd",
        "./local",
        "/abs",
        "-r other.txt",
        "name --config-settings=x",
    ):
        listed.write_text(line)
        with pytest.raises(InputError, match="is no name with versions"):
            requirements_of(tmp_path)
    listed.unlink()
    (tmp_path / "pyproject.toml").write_text('[project]\nname="x"\ndependencies=["hud","attrs>=1"]')
    assert requirements_of(tmp_path) == ["attrs>=1"]
