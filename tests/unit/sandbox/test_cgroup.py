"""Control groups of this very machine: limits that hold, kills that reach, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from hud.sandbox.cgroup import Cgroup
from hud.sandbox.cgroup_places import UNIFIED, Place, find_places
from tests.unit.sandbox.confined import in_child

MIB = 1 << 20
DEADLINE_S = 30.0


@pytest.fixture
def groups() -> Iterator[Callable[..., Cgroup]]:
    """Make groups that are gone after the test."""
    made: list[Cgroup] = []

    def make(*, needs: str = "", **limits: float) -> Cgroup:
        group = Cgroup.create(f"test-{len(made)}", **limits)  # pyright: ignore[reportArgumentType]
        if group is None:
            pytest.skip("no control group can be made here (not root, or none are mounted)")
        made.append(group)
        if needs and needs not in group.applied:
            pytest.skip(f"the limit on {needs} cannot be set here")
        return group

    yield make
    for group in made:
        assert group.kill()
        assert group.remove()


@contextlib.contextmanager
def run_in(group: Cgroup, program: str) -> Generator[subprocess.Popen[str]]:
    """Start Python code that has entered the group before its first line; it ends with the block.

    A process that stands frozen, or turns without end, would otherwise be waited for for ever.
    """

    def enter() -> None:
        assert group.add(os.getpid())

    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=enter,  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            group.kill()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def test_a_memory_bomb_dies_and_is_counted(groups: Callable[..., Cgroup]) -> None:
    group = groups(memory_bytes=64 * MIB, needs="memory")
    with run_in(group, "data = bytearray(300 << 20)") as bomb:
        assert bomb.wait() == -signal.SIGKILL
    assert group.oom_kills() == 1
    peak = group.usage().memory_peak_bytes
    assert peak is None or peak <= 64 * MIB


def test_memory_within_the_limit_is_given(groups: Callable[..., Cgroup]) -> None:
    group = groups(memory_bytes=128 * MIB, needs="memory")
    with run_in(group, "data = bytearray(40 << 20)") as process:
        assert process.wait() == 0
    assert group.oom_kills() == 0
    peak = group.usage().memory_peak_bytes
    assert peak is None or peak >= 40 * MIB


def test_a_fork_bomb_is_bounded_counted_and_killed_whole(groups: Callable[..., Cgroup]) -> None:
    group = groups(pids=20, needs="pids")
    bomb = (
        "import os, time\n"
        "while True:\n"
        "    try:\n"
        "        os.fork()\n"
        "    except OSError:\n"
        "        time.sleep(0.01)\n"
    )
    with run_in(group, bomb) as process:
        until(lambda: group.refused_forks() > 0)
        assert len(group.pids()) <= 20
        assert group.kill()
        assert group.pids() == []
        assert process.wait() == -signal.SIGKILL


def test_processor_time_is_rationed_and_counted(groups: Callable[..., Cgroup]) -> None:
    group = groups(cpus=0.2, needs="cpu")
    # What the process used before it was put into the group is not the group's.
    spin = "import time\nbegin = time.process_time()\nwhile time.process_time() < begin + 0.2: pass"
    with run_in(group, spin) as process:
        assert process.wait() == 0
    folder = group._folders["cpu"]  # pyright: ignore[reportPrivateUsage]
    counted = dict(line.split() for line in (folder / "cpu.stat").read_text().splitlines())
    assert int(counted["nr_throttled"]) > 0
    used = group.usage().cpu_s
    assert used is None or used >= 0.2


def test_frozen_processes_can_be_killed(groups: Callable[..., Cgroup]) -> None:
    group = groups()
    with run_in(group, "input()") as process:
        group._set_frozen(True)  # pyright: ignore[reportPrivateUsage]
        assert group.kill()
        assert process.wait(DEADLINE_S) == -signal.SIGKILL


def test_a_group_in_use_is_not_removed_and_says_so(groups: Callable[..., Cgroup]) -> None:
    group = groups()
    with run_in(group, "input()"):
        assert not group.remove(timeout_s=0.0)
        assert group.kill()
        assert group.remove()
    assert group.remove()


def test_a_process_that_is_gone_does_not_enter(groups: Callable[..., Cgroup]) -> None:
    group = groups()
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert not group.add(gone.pid)


def test_what_a_dead_owner_left_behind_is_ended_by_the_next(
    groups: Callable[..., Cgroup],
) -> None:
    groups()
    owner = (
        "import os, subprocess, sys\n"
        "from hud.sandbox.cgroup import Cgroup\n"
        "group = Cgroup.create('left')\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=-3, stderr=-3)\n"
        "group.add(child.pid)\n"
        "print(child.pid, group.name, flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", owner], capture_output=True, text=True)
    pid, name = done.stdout.split()
    places = [place.folder / name for place in find_places()]
    assert all(folder.exists() for folder in places)
    groups()
    until(lambda: not any(folder.exists() for folder in places))
    until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in _state(int(pid)))


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_two_groups_of_one_name_are_two(groups: Callable[..., Cgroup]) -> None:
    group = groups()
    again = Cgroup.create("test-0")
    assert again is not None
    assert again.name != group.name
    assert again.remove()


def test_groups_of_the_living_stay(groups: Callable[..., Cgroup]) -> None:
    first, second = groups(), groups()
    with run_in(first, "input()") as process:
        assert groups().pids() == []
        assert first.pids() == [process.pid]
        assert second.pids() == []


def test_every_limit_this_machine_takes_is_named(groups: Callable[..., Cgroup]) -> None:
    group = groups(memory_bytes=64 * MIB, cpus=1.5, pids=10)
    controllers = {name for place in find_places() for name in place.controllers}
    assert {"memory", "cpu", "pids"} & controllers == group.applied - {"swap"}


@pytest.mark.parametrize("name", ["", "a/b", "..", "../..", "a b", "x" * 101])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Cgroup.create(name, places=[])


def test_without_control_groups_there_is_none(tmp_path: Path) -> None:
    assert find_places(tmp_path) == []
    assert Cgroup.create("x", memory_bytes=1, places=[]) is None
    unwritable = Place(tmp_path / "nothing", frozenset({"memory"}), is_v2=True)
    assert Cgroup.create("x", memory_bytes=1, places=[unwritable]) is None


def test_a_folder_that_takes_no_limits_applies_none(tmp_path: Path) -> None:
    place = Place(tmp_path, frozenset({"memory", "cpu", "pids", UNIFIED}), is_v2=True)
    group = Cgroup.create("x", memory_bytes=1, cpus=1, pids=1, places=[place])
    assert group is not None
    assert group.applied == set()
    usage = group.usage()
    assert (usage.memory_bytes, usage.cpu_s, usage.pids, group.oom_kills()) == (None, None, None, 0)
    assert group.remove()


def test_an_ordinary_user_gets_none_and_no_error() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def body() -> bool:
        os.setresuid(65_534, 65_534, 65_534)
        return Cgroup.create("x", memory_bytes=MIB, pids=1) is None

    assert in_child(body)


def fake_proc(tmp_path: Path, cgroup: str, mountinfo: str) -> Path:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(cgroup)
    (tmp_path / "self" / "mountinfo").write_text(mountinfo)
    return tmp_path


def fake_v2(folder: Path, *, children_get: str, procs: str = "", kind: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind is not None:
        (folder / "cgroup.type").write_text(f"{kind}\n")
    (folder / "cgroup.controllers").write_text("cpu memory pids io")
    (folder / "cgroup.subtree_control").write_text(children_get)
    (folder / "cgroup.procs").write_text(procs)


def test_each_controller_of_version_1_is_found_at_its_own_nested_path(tmp_path: Path) -> None:
    tree = tmp_path / "a b"
    (tree / "memory" / "deep" / "own").mkdir(parents=True)
    (tree / "cpu").mkdir()
    escaped = str(tree).replace(" ", "\\040")
    proc = fake_proc(
        tmp_path,
        "4:memory:/box/deep/own\n2:cpu,cpuacct:/\n1:name=systemd:/x\n0::/\n",
        f"1 0 0:1 /box {escaped}/memory rw shared:1 - cgroup cgroup rw,memory\n"
        f"2 0 0:2 / {escaped}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        f"3 0 0:3 / {escaped}/pids ro - cgroup cgroup rw,pids\n",
    )
    assert find_places(proc) == [
        Place(tree / "memory" / "deep" / "own", frozenset({"memory"}), is_v2=False),
        Place(tree / "cpu", frozenset({"cpu", "cpuacct"}), is_v2=False),
    ]


def test_a_delegated_group_of_version_2_is_used(tmp_path: Path) -> None:
    own = tmp_path / "tree" / "user" / "own"
    fake_v2(own, children_get="cpu memory pids")
    line = f"1 0 0:1 / {tmp_path}/tree rw - cgroup2 cgroup2 rw\n"
    proc = fake_proc(tmp_path, "0::/user/own\n", line)
    assert find_places(proc) == [
        Place(own, frozenset({"cpu", "memory", "pids", UNIFIED}), is_v2=True)
    ]


@pytest.mark.parametrize("limit", ["max", "1000000"])
def test_a_group_beside_the_own_is_made_only_if_no_limit_is_left_by_it(
    tmp_path: Path, limit: str
) -> None:
    tree = tmp_path / "tree"
    fake_v2(tree, children_get="cpu memory pids")
    fake_v2(tree / "own", children_get="", procs="1\n2\n", kind="domain")
    (tree / "own" / "memory.max").write_text(limit)

    line = f"1 0 0:1 / {tree} rw - cgroup2 cgroup2 rw\n"
    (place,) = find_places(fake_proc(tmp_path, "0::/own\n", line))
    if limit == "max":
        assert place.folder == tree
        assert "memory" in place.controllers
    else:
        assert place == Place(tree / "own", frozenset({UNIFIED}), is_v2=True)


def test_a_process_alone_in_its_group_makes_room_below_it() -> None:
    place = next(
        (place for place in find_places() if {UNIFIED, "memory"} <= place.controllers), None
    )
    if place is None:
        pytest.skip("version 2 does not offer all controllers here, or not to this user")
    unit = place.folder / "hud-test-unit"
    unit.mkdir()

    def alone() -> tuple[list[Place], set[str], bool, bool]:
        (unit / "cgroup.procs").write_text(str(os.getpid()))
        group = Cgroup.create("below", memory_bytes=64 * MIB, cpus=1, pids=20)
        assert group is not None
        with run_in(group, "input()") as process:
            is_in = group.pids() == [process.pid]
            group.kill()
        return find_places(), group.applied, is_in, group.remove()

    try:
        places, applied, is_in, removed = in_child(alone)
    finally:
        until(lambda: not (unit / "cgroup.events").read_text().startswith("populated 1"))
        for folder in (*(entry for entry in unit.iterdir() if entry.is_dir()), unit):
            folder.rmdir()
    assert [place.folder for place in places] == [unit]
    assert {"memory", "cpu", "pids"} <= applied
    assert is_in and removed


def test_below_a_threaded_group_none_is_made(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fake_v2(tree, children_get="cpu memory pids")
    fake_v2(tree / "own", children_get="cpu pids", procs="1\n", kind="domain threaded")
    line = f"1 0 0:1 / {tree} rw - cgroup2 cgroup2 rw\n"
    (place,) = find_places(fake_proc(tmp_path, "0::/own\n", line))
    assert place.folder == tree


def test_in_a_namespace_of_its_own_the_mount_is_the_group(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fake_v2(tree, children_get="cpu memory pids")
    line = f"1 0 0:1 /docker/abc {tree} rw - cgroup2 cgroup2 rw\n"
    (place,) = find_places(fake_proc(tmp_path, "0::/\n", line))
    assert place.folder == tree
