"""What people work with still runs when it is confined, `/proc` closed to it included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import need_program
from tests.unit.sandbox.confined import (
    UID,
    need_filter,
    need_landlock,
    need_root,
    open_folder,
    rules_for,
    run_confined,
    system_python,
)


@pytest.fixture(autouse=True)
def _needs() -> None:
    need_root()
    need_landlock()
    need_filter()


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        os.chown(path, UID, UID)
        yield path


def run(folder: Path, script: str) -> str:
    done = run_confined([need_program("bash"), "-ec", script], rules_for(folder), folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_bash_with_pipes_substitution_and_jobs(folder: Path) -> None:
    script = (
        "cat <(echo a) <(echo b) | sort -r | tr -d '\\n'; sleep 0 & wait; cat < /dev/stdin <<< c"
    )
    assert run(folder, script) == "bac"


def test_git(folder: Path) -> None:
    need_program("git")
    script = """
        git init -q a; cd a; git config user.name n; git config user.email e@e
        echo x > f; git add f; git commit -qm first; git gc -q; cd ..
        git clone -q a b; git -C b log --format=%s
    """
    assert run(folder, script) == "first"


def test_gcc_and_what_it_made(folder: Path) -> None:
    need_program("gcc")
    script = "echo 'int main(void){return 0;}' > m.c; gcc m.c -o m; ./m && echo ran"
    assert run(folder, script) == "ran"


def test_node_with_a_worker_and_a_child(folder: Path) -> None:
    need_program("node")
    (folder / "m.js").write_text(
        "require('child_process').execSync('echo child', {stdio: 'inherit'});\n"
        "new (require('worker_threads').Worker)('console.log(\"worker\")', {eval: true});\n"
    )
    assert run(folder, "node m.js").split() == ["child", "worker"]


def test_python_with_children_and_tests(folder: Path) -> None:
    (folder / "test_it.py").write_text(
        "import asyncio, multiprocessing, subprocess, unittest\n"
        "async def echo():\n"
        "    child = await asyncio.create_subprocess_exec('echo', 'a')\n"
        "    return await child.wait()\n"
        "class Test(unittest.TestCase):\n"
        "    def test_children(self):\n"
        "        done = subprocess.run(['echo', 'x'], capture_output=True)\n"
        "        self.assertEqual(done.stdout, b'x\\n')\n"
        "        self.assertEqual(asyncio.run(echo()), 0)\n"
        "        with multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "            self.assertEqual(pool.map(abs, [-1, -2]), [1, 2])\n"
    )
    run(folder, f"{system_python()} -m unittest -q test_it.py")


def test_a_terminal_of_its_own(folder: Path) -> None:
    need_program("script")
    assert run(folder, "script -qec 'tty && echo yes' /dev/null").endswith("yes")


def test_a_browser(folder: Path) -> None:
    browser = need_program("chromium", "chromium-browser", "google-chrome")
    script = (
        f"{browser} --headless=new --no-sandbox --disable-gpu --no-first-run --disable-quic"
        " --user-data-dir=$HOME/profile --dump-dom 'data:text/html,<p>hello' 2>log"
    )
    assert "<p>hello</p>" in run(folder, script)
