"""Landlock as it stands alone: what a child may still reach after `restrict`, root or not."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hud.sandbox.guest import landlock
from tests.unit.sandbox.confined import attempt, forbid_new_privileges, in_child, need_landlock


def restricted(do: Callable[[], Any], **rules: Any) -> Any:
    """Return what `do` returns in a child under these rules."""
    need_landlock()

    def body() -> Any:
        forbid_new_privileges()
        landlock.restrict(**rules)
        return do()

    return in_child(body)


@pytest.fixture
def trees(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name for name in ("read", "write", "other")}
    for path in made.values():
        path.mkdir()
        (path / "file").write_text(path.name)
    return made


def test_trees_can_be_read_written_or_neither(trees: dict[str, Path]) -> None:
    def tries() -> dict[str, list[str]]:
        return {
            name: [
                attempt((path / "file").read_text),
                attempt(lambda path=path: list(path.iterdir())),
                attempt(lambda path=path: (path / "file").write_text("new")),
                attempt(lambda path=path: (path / "folder").mkdir()),
                attempt(lambda path=path: (path / "link").symlink_to("file")),
                attempt(lambda path=path: os.mkfifo(path / "fifo")),
            ]
            for name, path in trees.items()
        }

    assert restricted(tries, read=[str(trees["read"])], write=[str(trees["write"])]) == {
        "read": ["done"] * 2 + ["EACCES"] * 4,
        "write": ["done"] * 6,
        "other": ["EACCES"] * 6,
    }


def test_a_single_file_can_be_allowed(trees: dict[str, Path]) -> None:
    beside = trees["read"] / "beside"
    beside.write_text("")

    def tries() -> list[str]:
        return [
            attempt((trees["read"] / "file").read_text),
            attempt(beside.read_text),
            attempt(lambda: (trees["write"] / "file").write_text("")),
            attempt((trees["write"] / "file").unlink),
        ]

    rules = {"read": [str(trees["read"] / "file")], "write": [str(trees["write"] / "file")]}
    assert restricted(tries, **rules) == ["done", "EACCES", "done", "EACCES"]


def test_a_tree_to_list_hides_what_its_files_say(trees: dict[str, Path]) -> None:
    def tries() -> list[str]:
        tree = trees["other"]
        return [attempt(lambda: list(tree.iterdir())), attempt((tree / "file").read_text)]

    assert restricted(tries, list_only=[str(trees["other"])]) == ["done", "EACCES"]


def test_device_nodes_cannot_be_made_anywhere(trees: dict[str, Path]) -> None:
    def tries() -> str:
        return attempt(lambda: os.mknod(trees["write"] / "disk", 0o60600, os.makedev(8, 0)))

    assert restricted(tries, write=[str(trees["write"])]) in ("EACCES", "EPERM")


def test_what_is_not_there_is_skipped(trees: dict[str, Path]) -> None:
    missing = [str(trees["read"] / "nothing"), str(trees["read"] / "file" / "below")]
    assert restricted(lambda: "lives", read=missing, write=missing) == "lives"


def test_a_name_that_moves_into_an_allowed_tree_afterwards_opens_nothing(
    trees: dict[str, Path],
) -> None:
    link = trees["write"] / "escape"

    def tries() -> list[str]:
        link.symlink_to(trees["other"] / "file")
        return [
            attempt(link.read_text),
            attempt(lambda: os.link(trees["other"] / "file", trees["write"] / "second")),
            attempt(lambda: (trees["other"] / "file").rename(trees["write"] / "third")),
        ]

    seen = restricted(tries, write=[str(trees["write"])])
    assert "done" not in seen, seen


def test_the_rules_hold_for_children_and_cannot_be_widened(trees: dict[str, Path]) -> None:
    def tries() -> list[str]:
        landlock.restrict(read=["/"], write=["/"])
        return [
            attempt((trees["other"] / "file").read_text),
            in_child(lambda: attempt((trees["other"] / "file").read_text)),
        ]

    assert restricted(tries, read=[str(trees["read"])]) == ["EACCES", "EACCES"]


def test_ports_are_allowed_one_by_one() -> None:
    need_landlock(4)
    with (
        socket.create_server(("127.0.0.1", 0)) as allowed,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        addresses = [allowed.getsockname(), other.getsockname()]

        def tries() -> list[str]:
            def bind() -> None:
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", 0))

            def connect(address: tuple[str, int]) -> None:
                with socket.socket() as stream:
                    stream.connect(address)

            return [*(attempt(partial(connect, address)) for address in addresses), attempt(bind)]

        connecting = [addresses[0][1]]
        assert restricted(tries, tcp_connect=connecting) == ["done", "EACCES", "done"]
        assert restricted(tries, tcp_connect=[], tcp_bind=[]) == ["EACCES"] * 3
        assert restricted(tries) == ["done"] * 3


def test_signals_to_other_domains_can_be_closed() -> None:
    need_landlock(6)
    own = os.getpid()

    def tries() -> str:
        return attempt(lambda: os.kill(own, 0))

    assert restricted(tries) == "done"
    assert restricted(tries, scope_signals=True) == "EPERM"
    assert signal.getsignal(signal.SIGTERM) is not None


def test_what_an_older_kernel_cannot_enforce_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    need_landlock()
    asked: list[tuple[int, dict[str, Any], str]] = [
        (0, {}, "no Landlock"),
        (3, {"tcp_bind": [80]}, "ABI 4"),
        (5, {"scope_signals": True}, "ABI 6"),
    ]
    for version, rules, text in asked:
        monkeypatch.setattr(landlock, "abi", lambda version=version: version)
        with pytest.raises(OSError, match=text):
            landlock.restrict(read=["/"], **rules)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_rules_for_an_older_kernel_are_accepted_by_a_newer_one(
    version: int, trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    need_landlock(version)
    monkeypatch.setattr(landlock, "abi", lambda: version)

    def tries() -> list[str]:
        return [
            attempt((trees["read"] / "file").read_text),
            attempt((trees["other"] / "file").read_text),
            attempt(lambda: (trees["read"] / "file").write_text("")),
        ]

    assert restricted(tries, read=[str(trees["read"])]) == ["done", "EACCES", "EACCES"]
