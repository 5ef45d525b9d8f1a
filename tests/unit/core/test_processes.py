"""Processes are told apart by their number and the moment of their start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hud._core.processes import LINUX, identity_of

pytestmark = pytest.mark.skipif(not LINUX, reason="reads /proc")


def test_a_process_keeps_its_identity_while_it_lives() -> None:
    assert identity_of(os.getpid()) == identity_of(os.getpid()) is not None


def test_a_process_that_ended_is_gone_before_it_is_collected() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert identity_of(process.pid) is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert identity_of(process.pid) is None
