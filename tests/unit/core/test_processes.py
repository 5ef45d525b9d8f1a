"""Processes are told apart by their number and the moment of their start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hud._core.processes import LINUX, descendants_of, identity_of

pytestmark = pytest.mark.skipif(not LINUX, reason="reads /proc")


def test_a_process_keeps_its_identity_while_it_lives() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid()) is not None


def test_a_process_that_ended_is_gone_before_it_is_collected() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert identity_of(process.pid) is not None
        assert process.pid in descendants_of(os.getpid())
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity_of(process.pid) is None
        assert process.pid not in descendants_of(os.getpid())


def test_all_generations_below_a_process_are_found_parents_first() -> None:
    words = ["sh", "-c", "sh -c 'sleep 600 & echo $$ $!; wait' & wait"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            child, grandchild = map(int, process.stdout.readline().split())
            assert descendants_of(process.pid) == [child, grandchild]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
