"""Finding environments in sources: what works, what is refused and with which sentence."""

from __future__ import annotations

import asyncio
import pickle
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from hud._core.errors import InputError
from hud.environment import Environment, load_environment
from hud.environment.episode import Episode
from hud.environment.loader import Loaded, choose, execute, resolve, unload

ENV = "from hud.environment import Environment\nenv = Environment('one')\n"


class Folder:
    """A folder of sources; what they leave in the interpreter is taken back after the test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def execute(self, name: str) -> Loaded:
        return execute(resolve(self.path / name))


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Folder]:
    modules, path = set(sys.modules), list(sys.path)
    yield Folder(tmp_path)
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


def prompt(env: Environment, template: str, **args: Any) -> Any:
    """Start a template and return its prompt."""

    async def start() -> Any:
        episode = Episode(env.find(template), args)
        try:
            return (await episode.start())["prompt"]
        finally:
            await episode.close()

    return asyncio.run(start())


def refusal(target: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_environment(target, **options)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
    return caught.value.message


def test_a_file_a_directory_and_a_bare_name_lead_to_the_same_source(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder.write("env.py", ENV)
    monkeypatch.chdir(folder.path)

    assert {resolve(target) for target in (path, str(path), folder.path, "env", "env.py")} == {
        resolve(path)
    }
    assert load_environment(path).name == "one"


def test_a_directory_offers_its_tasks_before_its_environment(folder: Folder) -> None:
    folder.write("env.py", ENV)
    folder.write("tasks.py", "from env import env\n")

    assert resolve(folder.path).path.name == "tasks.py"
    assert load_environment(folder.path).name == "one"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("missing.py", "does not exist"),
        ("missing", "does not exist"),
        ("empty", "has no tasks.py or env.py"),
        ("notes.txt", "is not a Python file"),
        ("env.py:nothing", "env.py:nothing does not exist"),
        ("env.py:number", "env.py:number is no Environment but 5"),
        ("env.py:give_number", "env.py:give_number gave no Environment but 5"),
        ("env.py:fail", "env.py:fail raised ValueError: no luck"),
    ],
)
def test_a_source_that_is_not_there_is_refused_in_one_sentence(
    folder: Folder, name: str, says: str
) -> None:
    folder.write("notes.txt", "")
    (folder.path / "empty").mkdir()
    folder.write(
        "env.py",
        ENV + "number = 5\ndef give_number(): return 5\ndef fail(): raise ValueError('no luck')\n",
    )

    assert says in refusal(f"{folder.path}/{name}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\ndef f(:\n", "env.py line 2: invalid syntax"),
        ("x = 1\n  y = 2\n", "env.py line 2: unexpected indent"),
        ("x = '\0'\n", "env.py"),
        ("a = 1\nb = a / 0\n", "env.py line 2 raised ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit('no')\n", "env.py line 2 raised SystemExit: no"),
        ("\nimport not_installed_anywhere\n", "env.py line 2 raised ModuleNotFoundError: No mod"),
        ("def f():\n    raise KeyError('x')\nf()\n", "env.py line 2 raised KeyError"),
        ("import broken\n", "env.py line 1 raised SyntaxError: invalid syntax (broken.py, line 2)"),
        ("x = 1\n", "env.py declares no Environment"),
        (ENV + "two = Environment('two')\n", "env.py declares 2 environments: one, two"),
    ],
)
def test_a_source_that_does_not_work_is_refused_with_its_line(
    folder: Folder, text: str, says: str
) -> None:
    folder.write("broken.py", "\nx =\n")
    path = folder.write("env.py", text)
    before = set(sys.modules)

    assert says in refusal(path)
    with pytest.raises(InputError):
        choose(execute(resolve(path)))
    assert "env" not in set(sys.modules) - before or "declares" in says


def test_a_source_that_failed_can_be_loaded_once_it_is_mended(folder: Folder) -> None:
    path = folder.write("env.py", "1 / 0\n")
    refusal(path)
    path.write_text(ENV, encoding="utf-8")

    assert load_environment(path).name == "one"


def test_one_of_several_environments_is_chosen_by_name_or_attribute(folder: Folder) -> None:
    path = folder.write("env.py", ENV + "other = Environment('two')\n")

    assert choose(execute(resolve(path)), "two").name == "two"
    assert choose(execute(resolve(f"{path}:other"))).name == "two"
    with pytest.raises(InputError, match="no environment 'three'") as caught:
        choose(execute(resolve(path)), "three")
    assert caught.value.hint == "its environments: one, two"


def test_an_attribute_may_be_a_function_with_arguments_a_template_or_a_task(
    folder: Folder,
) -> None:
    path = folder.write(
        "env.py",
        ENV
        + """
@env.template()
async def it(n: int = 1):
    yield "p"
    yield 1

task = it(n=2)

def make(name="made", version="1"):
    return Environment(name, version=version)
""",
    )

    made = choose(execute(resolve(f"{path}:make")), args={"name": "x", "version": "9"})
    assert (made.name, made.version) == ("x", "9")
    assert choose(execute(resolve(f"{path}:it"))).name == "one"
    assert choose(execute(resolve(f"{path}:task"))).name == "one"
    assert [task.args for task in execute(resolve(path)).tasks()] == [{"n": 2}]


COUNTER = """
from __future__ import annotations
from hud.environment import Environment
import shelf
from parts.inner import bump
from parts import other

env = Environment("fresh")
seen = []

@env.template()
async def count():
    from late import LATE
    seen.append(1)
    LATE.append(1)
    yield f"{len(seen)} {shelf.add()} {bump()} {other.NAME} {len(LATE)}"
    yield 1
"""


def write_counter(folder: Folder) -> None:
    folder.write("counter.py", COUNTER)
    folder.write("shelf.py", "items = []\ndef add():\n    items.append(1)\n    return len(items)\n")
    folder.write("late.py", "LATE = []\n")
    folder.write("parts/__init__.py", "")
    folder.write("parts/other.py", "NAME = 'other'\n")
    folder.write(
        "parts/inner.py",
        "from . import other\nimport shelf\ndef bump():\n    from late import LATE\n"
        "    LATE.append(1)\n    return f'{other.NAME}{shelf.add()}'\n",
    )


def test_no_global_is_shared_between_two_executions(folder: Folder) -> None:
    write_counter(folder)
    before = set(sys.modules)
    one, two = folder.execute("counter.py"), folder.execute("counter.py")

    for loaded in (one, two):
        env = choose(loaded)
        assert prompt(env, "count") == "1 1 other2 other 2"
        assert prompt(env, "count") == "2 3 other4 other 4"
    assert one.module is not two.module
    assert one.siblings["shelf"] is not two.siblings["shelf"]
    assert [path.name for path in one.files] == [
        "counter.py", "__init__.py", "inner.py", "other.py", "shelf.py",
    ]  # fmt: skip

    unload(one)
    unload(two)
    assert {name for name in set(sys.modules) - before if "hud" not in name} == set()
    assert {name for name in sys.modules if name.startswith("hud_source_counter")} == set()


def test_a_source_loaded_as_the_process_own_behaves_like_an_imported_module(
    folder: Folder,
) -> None:
    write_counter(folder)
    env = load_environment(folder.path / "counter.py")

    assert prompt(env, "count") == "1 1 other2 other 2"
    assert sys.modules["counter"].env is env
    assert "shelf" in sys.modules
    assert str(folder.path) in sys.path


def test_modules_that_import_each_other_see_one_environment(folder: Folder) -> None:
    folder.write(
        "env.py",
        ENV
        + """
import importlib
import first
importlib.import_module("more.second")
""",
    )
    template = """
from env import env

@env.template(id=__name__.rpartition(".")[2])
async def it():
    yield "p"
    yield 1
"""
    folder.write("first.py", template)
    folder.write("more/__init__.py", "")
    folder.write("more/second.py", template)

    for _ in range(2):
        loaded = folder.execute("env.py")
        assert sorted(choose(loaded).templates) == ["first", "second"]
    assert sorted(load_environment(folder.path / "env.py").templates) == ["first", "second"]


def test_relative_imports_and_packages_without_init_work(folder: Folder) -> None:
    folder.write("env.py", ENV + "from .near import NEAR\nfrom bare.deep import DEEP\n")
    folder.write("near.py", "NEAR = 'near'\n")
    folder.write("bare/deep.py", "DEEP = 'deep'\n")

    module = folder.execute("env.py").module

    assert (vars(module)["NEAR"], vars(module)["DEEP"]) == ("near", "deep")


def test_a_file_named_like_a_standard_module_hides_nothing(folder: Folder) -> None:
    folder.write("json.py", "raise RuntimeError('not me')\n")
    path = folder.write("calendar.py", ENV + "import json\nTEXT = json.dumps({})\n")

    assert vars(folder.execute("calendar.py").module)["TEXT"] == "{}"
    assert load_environment(path).name == "one"


MODELS = """
from __future__ import annotations
from dataclasses import dataclass, field
from pathlib import Path
from pydantic import BaseModel

class Item(BaseModel):
    name: str
    parent: Item | None = None

@dataclass
class Order:
    items: list[Item]
    folder: Path = field(default_factory=Path)
"""


@pytest.mark.parametrize("beside", [False, True], ids=["inside", "beside"])
def test_models_with_postponed_annotations_work(folder: Folder, beside: bool) -> None:
    head = "from __future__ import annotations\nfrom models import Order\n" if beside else MODELS
    folder.write("models.py", MODELS)
    folder.write(
        "shop.py",
        head
        + """
from hud.environment import Environment
env = Environment("shop")

@env.template()
async def order(order: Order, count: int = 1):
    yield f"{order.items[0].parent.name} {type(order.folder).__name__} {count}"
    yield 1
""",
    )
    args: Any = {"order": {"items": [{"name": "a", "parent": {"name": "b"}}], "folder": "/x"}}
    loaded = folder.execute("shop.py")
    env = choose(loaded)

    assert prompt(env, "order", **args, count="2") == "b PosixPath 2"
    schema = env.manifest()[0]["args"]
    assert sorted(schema["$defs"]) == ["Item", "Order"]
    order_type = vars(loaded.module)["Order"]
    value = order_type(items=[])
    assert pickle.loads(pickle.dumps(value)) == value


def test_a_changed_file_is_compiled_again(folder: Folder) -> None:
    path = folder.write("env.py", ENV)
    assert choose(folder.execute("env.py")).name == "one"
    path.write_text(ENV.replace("'one'", "'changed'"), encoding="utf-8")

    assert choose(folder.execute("env.py")).name == "changed"
