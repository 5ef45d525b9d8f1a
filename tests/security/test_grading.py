"""An agent works on its grader: what it leaves behind, what it keeps running, what it prints."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hud import Environment
from hud.capabilities.ssh import SSHClient
from hud.clients import connect
from hud.clients.client import HudClient
from hud.environment.server import bind
from hud.environment.workspace import Workspace
from hud.errors import CapabilityFault
from hud.graders import BashGrader, PytestGrader
from hud.runtimes.base import Runtime
from hud.sandbox.files import UnsafePath
from tests.security.world import DEADLINE_S, PYTHON, need_isolation, outside, processes_of

Grading = Callable[[Workspace], Awaitable[Any]]
HIDDEN = {"test_sum.py": "from sums import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"}
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b\n"


@dataclass
class Play:
    """One episode whose grade a test decides on."""

    env: Environment
    workspace: Workspace
    client: HudClient
    shell: SSHClient

    async def sh(self, command: str) -> str:
        """Run a command as the agent; it must succeed."""
        result = await self.shell.execute(command, timeout_s=DEADLINE_S)
        assert result.exit_status == 0, result
        return result.stdout

    async def write(self, **files: str) -> None:
        for name, text in files.items():
            await self.shell.write_text(f"{name}.py", text)

    async def grade(self) -> dict[str, Any]:
        return await self.client.grade({"answer": ""})


@contextlib.asynccontextmanager
async def playing(isolation: str, grading: Grading, **options: Any) -> AsyncGenerator[Play]:
    need_isolation(isolation)
    env = Environment("graded")
    workspace = env.workspace(isolation=isolation, track_files=False, **options)  # type: ignore[arg-type]

    @env.template()
    async def work() -> AsyncGenerator[Any, Any]:
        yield "go"
        yield await grading(workspace)

    async with asyncio.timeout(4 * DEADLINE_S), bind(env) as url, connect(Runtime(url)) as client:
        await client.start_task("work")
        yield Play(env, workspace, client, await client.open("shell", SSHClient))


@pytest.fixture(scope="module")
def tester() -> Generator[str]:
    """Return an interpreter with pytest that every uid of this machine may run."""
    from tests.needs import missing

    if not Path(PYTHON).exists():
        missing(PYTHON)
    folder = Path(tempfile.mkdtemp(prefix="hud-tester-", dir="/opt"))
    try:
        folder.chmod(0o755)
        venv = folder / "venv"
        subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
        (packages,) = venv.glob("lib/python3*/site-packages")
        for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
            source = Path(pytest.__file__).parent.parent / name
            shutil.copytree(source, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(pytest.__file__).parent.parent / "py.py", packages)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | 0o555)
        done = outside([str(venv / "bin/python"), "-m", "pytest", "--version"])
        assert done.returncode == 0, done
        yield str(venv / "bin/python")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hidden_tests(tester: str, tests: Any = HIDDEN, **more: Any) -> Grading:
    async def grade(workspace: Workspace) -> Any:
        found = await PytestGrader.compute_score(tests=tests, python=tester, **more)
        return {"score": found.value, "info": found.metadata}

    return grade


def seen(folder: str) -> dict[str, Any]:
    """Return the option that shows the test interpreter's folder inside."""
    from hud.sandbox.spec import Mount

    place = str(Path(folder).parents[2])
    return {"mounts": [Mount("ro", place, place)]}


@pytest.fixture
async def tested(isolation: str, tester: str) -> AsyncGenerator[Play]:
    async with playing(isolation, hidden_tests(tester), **seen(tester)) as play:
        yield play


async def test_hidden_tests_tell_right_from_wrong(tested: Play) -> None:
    await tested.write(sums=RIGHT)
    assert (await tested.grade())["score"] == 1.0
    await tested.client.start_task("work")
    shell = await tested.client.open("shell", SSHClient)
    await shell.write_text("sums.py", WRONG)
    assert (await tested.grade())["score"] == 0.0


async def test_hidden_tests_are_nowhere_before_grading(tested: Play) -> None:
    found = await tested.sh(
        "find / -name 'test_sum*' 2>/dev/null; grep -rs 'from sums import' / --include=*.py"
        " --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr; ls /run; true"
    )
    assert "test_sum" not in found
    assert "hidden" not in found


CHEATS: dict[str, dict[str, str]] = {
    "conftest": {
        "conftest.py": """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    found = yield
    found.get_result().outcome = "passed"
"""
    },
    "ini files": {
        "pytest.ini": "[pytest]\naddopts = --collect-only -p cheat\n",
        "tox.ini": "[pytest]\naddopts = -p cheat\n",
        "setup.cfg": "[tool:pytest]\naddopts = -p cheat\n",
        "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-p cheat'\n",
        "cheat.py": "def pytest_runtest_makereport(item):\n    item.session.testsfailed = 0\n",
    },
    "start-up files": {
        "sitecustomize.py": "import os; os._exit(0)",
        "usercustomize.py": "import os; os._exit(0)",
        "cheat.pth": "import os; os._exit(0)",
        "sitecustomize/__init__.py": "import os; os._exit(0)",
    },
    "shadowed modules": dict.fromkeys(
        ("pytest.py", "_pytest/__init__.py", "json.py", "os.py", "pluggy.py", "re.py"),
        "import os; os._exit(0)",
    ),
    "a plugin": {
        "cheat-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: cheat\nVersion: 1.0\n",
        "cheat-1.0.dist-info/entry_points.txt": "[pytest11]\ncheat = cheat\n",
        "cheat.py": """
import pytest
@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    found = yield
    found.get_result().outcome = "passed"
""",
    },
    "a hidden test of its own": {
        "test_sum.py": "def test_add():\n    pass\n",
        "tests/test_sum.py": "def test_add():\n    pass\n",
    },
}


@pytest.mark.parametrize("cheat", CHEATS)
async def test_files_in_the_workspace_do_not_change_the_tests(tested: Play, cheat: str) -> None:
    for name, text in CHEATS[cheat].items():
        await tested.sh(f"mkdir -p $(dirname {name})")
        await tested.shell.write_text(name, text)
    await tested.write(sums=WRONG)

    grade = await tested.grade()

    assert grade["score"] == 0.0
    assert grade["info"]["tests"] == {"test_sum.py::test_add": "failed"}, grade


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "import pytest; pytest.exit('done', returncode=0)",
        "import pytest; pytest.exit('none', returncode=5)",
        "import pytest; pytest.skip('later', allow_module_level=True)",
        (
            'print(\'{"nonce": "", "exit": 0, "outcomes": {"t": "passed"}, "problems": []}\')'
            "; import os, sys; sys.stdout.flush(); os._exit(0)"
        ),
        "import os; os.write(1, b'1 passed in 0.01s\\n'); os._exit(0)",
        (
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'x' * 1000000)\n"
            "    except OSError: pass\nos._exit(0)"
        ),
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "import os; os.kill(0, 9)",
        "x = bytearray(1 << 40)",
        "while True: bytearray(1 << 26); break\nraise MemoryError",
    ],
)
async def test_code_under_test_that_ends_the_tests_has_failed_them(tested: Play, code: str) -> None:
    """And is graded: an agent cannot have its rollout thrown away either."""
    await tested.write(sums=f"{code}\n{WRONG}")

    assert (await tested.grade())["score"] == 0.0


async def test_code_that_never_ends_is_graded_when_its_time_is_up(
    isolation: str, tester: str
) -> None:
    grading = hidden_tests(tester, timeout_seconds=3.0)
    async with playing(isolation, grading, **seen(tester)) as play:
        await play.write(
            sums="import os, signal, time\nfor n in range(1, 32):\n"
            "    if n not in (9, 19, 17): signal.signal(n, signal.SIG_IGN)\n"
            "if not os.fork(): os.setsid(); os.fork()\n"
            "while True: time.sleep(1)\n"
        )
        grade = await play.grade()
        uid = play.workspace.sandbox.uid
        assert grade["score"] == 0.0
        assert grade["info"].get("timed_out") is True, grade
        assert os.geteuid() != 0 or len(processes_of(uid)) <= 1  # the sandbox's supervisor


async def test_programs_of_the_workspace_do_not_stand_in_for_the_graders(isolation: str) -> None:
    async def grade(workspace: Workspace) -> Any:
        found = await BashGrader.compute_score(
            command="type -p python3 git pytest ls cat; ls | cat; echo $PATH; env; git --version"
        )
        return {"score": 0.0, "info": found.metadata}

    async with playing(isolation, grade) as play:
        await play.sh(
            "mkdir -p ~/.local/bin ~/bin bin .local/bin; for d in ~/.local/bin ~/bin bin ."
            " .local/bin; do for p in bash sh python python3 git pytest ls cat env; do"
            " printf '#!/bin/sh\\necho fooled; exit 0\\n' > $d/$p; chmod +x $d/$p; done; done;"
            "for f in ~/.bashrc ~/.profile ~/.bash_profile .bashrc .profile; do"
            " echo 'echo fooled; export PATH=.:$PATH; alias ls=false' > $f; done;"
            "printf 'echo fooled' > .envrc; ln -sf /bin/true ~/.local/bin/true"
        )
        info = (await play.grade())["info"]

    assert info["exit_code"] == 0, info
    assert "fooled" not in info["stdout"]
    assert "/usr/bin/python3" in info["stdout"]
    assert "HUD_" not in info["stdout"]


async def test_hooks_of_a_repository_do_not_run_in_the_graders_git(isolation: str) -> None:
    from tests.needs import need_program

    need_program("git")

    async def grade(workspace: Workspace) -> Any:
        found = await BashGrader.compute_score(
            command="git status --porcelain; git diff HEAD; git log --oneline | head -3;"
            " git add -A && git commit -qm graded; git checkout -q -b other; ls fired* 2>&1"
        )
        return {"score": 0.0, "info": found.metadata}

    async with playing(isolation, grade) as play:
        await play.sh(
            "git init -q .; git config user.email a@b; git config user.name a; echo 1 > f;"
            "git add f; git commit -qm first; echo 2 > f;"
            "for h in pre-commit post-commit post-checkout post-index-change reference-transaction;"
            " do printf '#!/bin/sh\\ntouch fired-'$h'\\n' > .git/hooks/$h; chmod +x .git/hooks/$h;"
            " done; mkdir hooks; cp .git/hooks/* hooks; git config core.hooksPath $PWD/hooks;"
            "printf '#!/bin/sh\\ntouch fired-monitor\\n' > monitor; chmod +x monitor;"
            "git config core.fsmonitor $PWD/monitor;"
            "git config core.pager 'touch fired-pager'; git status >/dev/null; ls fired-monitor"
        )
        assert (play.workspace.root / "fired-monitor").exists(), "the attempt works for the agent"
        await play.sh("rm -f fired*")
        info = (await play.grade())["info"]

    assert "fired" not in info["stdout"].replace("fired*", ""), info
    assert "+2" in info["stdout"], info
    assert "first" in info["stdout"]


async def test_links_and_pipes_at_the_path_the_grader_reads_are_refused(isolation: str) -> None:
    said: list[str] = []

    async def grade(workspace: Workspace) -> Any:
        for name in ("link", "folder/answer", "pipe", "device", "socket", "loop", "up/x"):
            try:
                said.append(f"{name}: {workspace.read_text(name)}")
            except (UnsafePath, OSError) as error:
                said.append(f"{name}: {type(error).__name__}")
        said.append(workspace.read_text("plain"))
        return 0.0

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Path(folder, "answer").write_text("42")
        async with playing(isolation, grade) as play:
            await play.sh(
                f"ln -s {folder}/answer link; ln -s {folder} folder; mkfifo pipe;"
                "echo fine > plain;"
                "ln -s /dev/zero device; ln -s loop loop; ln -s / up;"
                f"{PYTHON} -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'"
            )
            await play.grade()

    assert said[-1] == "fine\n"
    assert len(said) == 8
    assert not [line for line in said[:-1] if "42" in line or line.endswith(": ")], said
    assert {line.split(": ")[1] for line in said[:-1]} <= {"UnsafePath", "OSError"}, said


@pytest.mark.parametrize("kind", ["a link", "a link of the folder above", "a link to its home"])
async def test_a_grader_never_follows_the_agent_out_of_the_sandbox(
    isolation: str, kind: str
) -> None:
    """Its folder is the workspace's, whatever the agent put in the place of it."""
    marks: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        Path(folder, "project").mkdir()
        mark = Path(folder, "mark")

        async def grade(workspace: Workspace) -> Any:
            cwd = workspace.root / "here" / "project"
            found = await BashGrader.compute_score(command=f"touch {mark}", cwd=cwd)
            marks.append(found)
            return found.value

        async with playing(isolation, grade) as play:
            match kind:
                case "a link":
                    await play.sh(f"mkdir here; ln -s {folder} here/project")
                case "a link of the folder above":
                    await play.sh(f"ln -s {folder} here")
                case _:
                    await play.sh("mkdir -p ~/project; ln -s ~ here")
            grade_ = await play.grade()
        assert grade_["score"] == 0.0, marks
        assert not mark.exists()


async def test_nothing_that_was_left_running_outlives_the_episode(isolation: str) -> None:
    states: list[tuple[str, list[int]]] = []

    async def grade(workspace: Workspace) -> Any:
        workspace.write_text("answer", "of the grader")
        left = processes_of(workspace.sandbox.uid)
        found = await BashGrader.compute_score(command="cat answer; ps ax | grep -c rewrite")
        states.append((str((found.info or {})["stdout"]), left))
        states.append((workspace.read_text("answer"), left))
        return float(workspace.read_text("answer") == "of the grader")

    rewrite = "while :; do echo forged > answer; done # rewrite"
    async with playing(isolation, grade) as play:
        await play.sh(
            f"(setsid nohup sh -c '{rewrite}' >/dev/null 2>&1 &);"
            f"nohup sh -c '{rewrite}' >/dev/null 2>&1 & disown;"
            f"{PYTHON} - <<'END'\n"
            "import os, signal, time\n"
            "for n in range(1, 32):\n"
            "    if n not in (9, 19): signal.signal(n, signal.SIG_IGN)\n"
            "for _ in range(3):\n"
            "    if os.fork(): os._exit(0)\n"
            "    os.setsid()\n"
            "for fd in range(64):\n"
            "    try: os.close(fd)\n"
            "    except OSError: pass\n"
            "while True:\n"
            "    open('answer', 'w').write('forged')\n"
            "    if os.fork(): os._exit(0)\n"
            "END\n"
            "until [ -s answer ]; do :; done"
        )
        await play.sh("rm answer; until grep -q forged answer; do :; done")
        uid = play.workspace.sandbox.uid
        assert (await play.grade())["score"] == 1.0, states
        assert os.geteuid() != 0 or len(states[0][1]) <= 1, (uid, states)


@pytest.fixture(params=["groups", "no groups"])
def groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let sandboxes have control groups, and none, as in most containers."""
    from hud.sandbox import launch

    def no_group(_: object) -> None:
        return None

    if request.param == "no groups":
        monkeypatch.setattr(launch, "_cgroup", no_group)
    return str(request.param)


@pytest.mark.usefixtures("groups")
async def test_graders_beside_each_other_do_not_end_each_other(isolation: str) -> None:
    """The first to finish leaves the others alone, though all of them run as one uid."""

    async def grade(workspace: Workspace) -> Any:
        slow = asyncio.create_task(
            BashGrader.compute_score(
                command="touch begun; until [ -e go ]; do sleep 0.05; done", timeout_seconds=60
            )
        )
        while not (workspace.root / "begun").exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        found = [await BashGrader.compute_score(command="sleep 300 & true") for _ in range(3)]
        workspace.write_text("go", "")
        found.append(await slow)
        return {"score": min(one.value for one in found), "info": {"all": repr(found)}}

    async with playing(isolation, grade) as play:
        grade_ = await play.grade()
        assert grade_["score"] == 1.0, grade_


async def test_a_command_of_the_template_leaves_what_runs_in_the_workspace(isolation: str) -> None:
    async with playing(isolation, _nothing) as play:
        await play.sh("sleep 300 & echo $! > pid")
        done = await play.workspace.run(["true"], isolated=True)
        assert done.exit_code == 0
        await play.sh("kill -0 $(cat pid)")


@pytest.mark.usefixtures("groups")
async def test_what_a_grader_left_running_is_gone_with_it(isolation: str) -> None:
    """Also what forks on and on, and though the uid is shared with other graders."""
    left: list[list[int]] = []

    async def grade(workspace: Workspace) -> Any:
        if os.geteuid() == 0:
            left.append(processes_of(workspace.sandbox.uid))
        found = await BashGrader.compute_score(
            command=f"{PYTHON} - <<'END'\n"
            "import os\n"
            "if os.fork(): os._exit(0)\n"
            "os.setsid()\n"
            "while True:\n"
            "    open('answer', 'w').write('forged')\n"
            "    if os.fork(): os._exit(0)\n"
            "END\n"
            "until [ -s answer ]; do :; done"
        )
        workspace.write_text("answer", "of the grader")
        if os.geteuid() == 0:
            left.append(processes_of(workspace.sandbox.uid))
        for _ in range(20):
            await asyncio.sleep(0.01)
        return found.value * float(workspace.read_text("answer") == "of the grader")

    async with playing(isolation, grade) as play:
        assert (await play.grade())["score"] == 1.0, left
        assert not left or len(left[0]) == len(left[1]), left


@pytest.mark.parametrize("place", [".", "~"])
async def test_a_graders_command_has_no_more_disk_than_the_agent(
    isolation: str, place: str
) -> None:
    """What is tested may do the writing, so it is a score, with the reason."""
    from hud.sandbox.spec import Limits

    async def grade(workspace: Workspace) -> Any:
        found = await BashGrader.compute_score(
            command=f"cd {place}; head -c 100M /dev/zero > big; while :; do sleep 1; done",
            timeout_seconds=DEADLINE_S,
        )
        return {"score": found.value, "info": found.info or {}}

    limits = Limits(disk_mb=50, memory_mb=64)
    async with playing(isolation, grade, limits=limits) as play:
        grade_ = await play.grade()
    assert grade_["score"] == 0.0
    if place == "." or isolation == "uid":  # elsewhere a home is memory, which is all used up
        assert "limit of 50 MB" in str(grade_) or "limit of 64 MB" in str(grade_), grade_
        assert grade_["info"]["exit_code"] == -9, grade_


async def test_hidden_tests_have_no_more_disk_than_the_agent(isolation: str, tester: str) -> None:
    from hud.sandbox.spec import Limits

    limits = Limits(disk_mb=50)
    async with playing(isolation, hidden_tests(tester), limits=limits, **seen(tester)) as play:
        await play.write(
            sums="import os, time\nopen('big', 'wb').write(bytes(100 << 20))\n"
            "while True: time.sleep(1)\n"
        )
        grade_ = await play.grade()
    assert grade_["score"] == 0.0
    assert "limit of 50 MB" in grade_["info"]["error"], grade_


async def _nothing(_: Workspace) -> float:
    return 0.0


async def test_an_agent_that_keeps_its_connection_cannot_run_anything_in_grading(
    isolation: str,
) -> None:
    graded, go = asyncio.Event(), asyncio.Event()

    async def grade(workspace: Workspace) -> Any:
        graded.set()
        await go.wait()
        return float(not (workspace.root / "late").exists())

    async with playing(isolation, grade) as play:
        row = play.workspace.capability()
        connections = [await SSHClient.connect(row) for _ in range(4)]
        sessions = [await one.create_process("cat >> late") for one in connections]
        grading = asyncio.create_task(play.grade())
        await graded.wait()
        for one, session in zip(connections, sessions, strict=True):
            with pytest.raises((CapabilityFault, OSError)):
                await one.execute("touch late", timeout_s=DEADLINE_S)
            with contextlib.suppress(OSError):
                session.stdin.write(b"x")
        with pytest.raises(CapabilityFault):
            await SSHClient.connect(row)
        (play.workspace.root / "late").unlink(missing_ok=True)
        go.set()
        assert (await grading)["score"] == 1.0
        for one in connections:
            await one.close()


async def test_a_sandbox_that_its_agent_fights_over_is_graded_all_the_same(isolation: str) -> None:
    """Processes beyond the limit are no reason not to grade."""
    from hud.sandbox.spec import Limits

    async def grade(workspace: Workspace) -> Any:
        found = await BashGrader.compute_score(command="test $(ls | wc -l) = 1 && echo $((6*7))")
        return found.value

    async with playing(isolation, grade, limits=Limits(processes=64)) as play:
        await play.sh("touch one")
        await play.shell.create_process(":(){ :|:& };:")
        await play.shell.create_process("while :; do (while :; do :; done) & done")
        await asyncio.sleep(0.5)
        assert (await play.grade())["score"] == 1.0
