"""What a reader of the public description types in works, letter by letter.

The snippets stand here as they are published; only white space that the publication lost is put
back. Other parts of it (deploying, containers, other providers' agents) are not built yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LETTER_COUNT = """\
from hud import Environment

env = Environment(name="letter-count")

@env.template()
async def count_letter(word: str = "strawberry", letter: str = "r"):
    answer = yield f"How many '{letter}'s are in '{word}'? Reply with just the number."
    yield 1.0 if answer and str(word.count(letter)) in answer else 0.0

tasks = [count_letter(word=w) for w in ("strawberry", "raspberry", "blueberry")]
"""

GRPO = """\
from hud.agents import create_agent
from hud.eval import Taskset, group_relative

agent = create_agent("claude-sonnet-4-5")
job = await Taskset(count_letter(word=w) for w in words).run(agent, group=16)

for runs in job.results.values():
    advantages = group_relative([r.reward for r in runs], normalize_std=True)
    ...  # feed (run.trace_id, adv) into your optimizer
"""


class Reader:
    """Someone with an empty home and an empty folder, typing."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder / "work"
        self.home = folder / "home"
        self.folder.mkdir()
        self.home.mkdir()
        bin_folder = Path(sys.executable).parent
        self.variables = {
            "HOME": str(self.home),
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            **variables,
        }

    def types(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def model_url() -> Iterator[str]:
    command = [sys.executable, "-m", "hud.testing.model_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip().removeprefix("MODEL_SERVER_PORT=")
        yield f"http://127.0.0.1:{port}"
        server.kill()


def test_the_letter_count_environment_is_evaluated_against_any_model(
    tmp_path: Path, model_url: str
) -> None:
    reader = Reader(tmp_path)
    (reader.folder / "tasks.py").write_text(LETTER_COUNT)
    done = reader.types(
        "hud eval tasks.py openai_compatible --model M "
        f"--config base_url={model_url}/v1 --all --group 3"
    )
    assert done.returncode == 0, done.stderr
    assert "9 of 9 graded" in done.stdout
    assert "mean reward   1.000" in done.stdout


@pytest.mark.parametrize(
    ("agent", "variables"),
    [
        ("claude", {"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "your-key-here"}),
        ("openai", {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "your-key-here"}),
        ("gemini", {"GOOGLE_GEMINI_BASE_URL": "{url}", "GEMINI_API_KEY": "your-key-here"}),
        ("claude", {"HUD_GATEWAY_URL": "{url}/inference", "HUD_API_KEY": "your-key-here"}),
        ("gpt-5.6", {"HUD_GATEWAY_URL": "{url}/inference", "HUD_API_KEY": "your-key-here"}),
    ],
)
def test_it_is_run_by_the_name_of_an_agent_or_a_model(
    tmp_path: Path, model_url: str, agent: str, variables: dict[str, str]
) -> None:
    given = {name: value.format(url=model_url) for name, value in variables.items()}
    reader = Reader(tmp_path, **given)
    (reader.folder / "tasks.py").write_text(LETTER_COUNT)
    done = reader.types(f"hud eval tasks.py {agent} --group 3")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 graded" in done.stdout
    assert "mean reward   1.000" in done.stdout


def test_a_group_of_rollouts_becomes_advantages(tmp_path: Path, model_url: str) -> None:
    """The name of the model is enough: the configured gateway serves it in its own dialect."""
    reader = Reader(tmp_path, HUD_GATEWAY_URL=f"{model_url}/inference", HUD_API_KEY="your-key-here")
    body = "".join(f"    {line}\n" for line in GRPO.splitlines())
    (reader.folder / "train.py").write_text(
        f"{LETTER_COUNT}\n"
        "import asyncio\n\n"
        'words = ("strawberry", "raspberry", "blueberry")\n\n'
        f"async def main():\n{body}"
        "    print(len(job.results), len(advantages), len(job.errors), set(advantages))\n\n"
        "asyncio.run(main())\n"
    )
    done = reader.types("python train.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 16 0 {0.0}\n"


def test_without_gateway_and_key_the_same_snippet_says_what_is_missing(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    done = reader.types(
        "python -c 'from hud.agents import create_agent; create_agent(\"claude-sonnet-4-5\")'"
    )
    assert done.returncode == 1
    assert "no key for the Anthropic API: ANTHROPIC_API_KEY is not set" in done.stderr


def test_a_scaffolded_environment_works_at_once(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    made = reader.types("hud init my-env")
    assert made.returncode == 0, made.stderr
    checked = reader.types("cd my-env && hud check && hud eval tasks.py oracle --all --json")
    assert checked.returncode == 0, checked.stderr
    report = json.loads(checked.stdout[checked.stdout.index("{") :])
    assert report["mean"] == 1.0


def test_a_key_is_set_by_command_or_by_variable(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    show = "python -c 'from hud.settings import settings; print(settings.api_key)'"
    done = reader.types("hud set HUD_API_KEY=your-key-here")
    assert done.returncode == 0, done.stderr
    assert "your-key-here" not in done.stdout + done.stderr
    assert reader.types(show).stdout == "your-key-here\n"
    exported = reader.types(f"export HUD_API_KEY=another-key; {show}")
    assert exported.stdout == "another-key\n"


def test_a_task_is_started_and_graded_against_a_served_environment(tmp_path: Path) -> None:
    """The `hud task` lines that are meant for a container, with the environment served beside."""
    reader = Reader(tmp_path)
    (reader.folder / "env.py").write_text(
        LETTER_COUNT.replace("env.template()", 'env.template(id="fix_bug")')
    )
    with subprocess.Popen(
        ["hud", "serve", "env.py", "--port", "0"],
        cwd=reader.folder,
        env=reader.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip().removeprefix("HUD_SERVE_PORT=")
        at = f"--url tcp://127.0.0.1:{port}"
        started = reader.types(f"hud task start fix_bug {at}")
        graded = reader.types(f'hud task grade fix_bug --answer "3" {at}')
        server.terminate()
    assert started.stdout == ("How many 'r's are in 'strawberry'? Reply with just the number.\n"), (
        started.stderr
    )
    assert graded.stdout == "1.0\n", graded.stderr
