"""A fresh interpreter for one rollout: the import that a forked child inherits happens here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import msgspec

from hud._core.processes import LINUX
from hud.runtimes.warm import child
from hud.runtimes.warm.source import WarmSource
from hud.runtimes.warm.wire import Load


class FreshOrder(msgspec.Struct, frozen=True):
    """What a fresh interpreter is started with, on its command line."""

    load: Load
    id: int
    env: str
    listener: int
    control: int
    parent: int


def command(order: FreshOrder) -> list[str]:
    """Return the command line that serves one rollout in an interpreter of its own."""
    text = msgspec.json.encode(order).decode()
    # Unbuffered: what a rollout printed last is wanted most when it crashed.
    return [sys.executable, "-u", "-P", "-m", "hud.runtimes.warm", "--fresh", text]


def main(text: str) -> NoReturn:
    """Import the source and serve; failures are reported to the eval process."""
    order = msgspec.json.decode(text, type=FreshOrder)
    for fd in (order.listener, order.control):
        os.set_inheritable(fd, False)
    if LINUX and os.getppid() != order.parent:
        os._exit(child.STATUS_BROKEN)
    report = child.Report(order.id, order.control)
    termination = child.Termination(lambda: os._exit(0))
    try:
        env = WarmSource.load(order.load).environment(order.env)
    except BaseException as error:
        child.leave(report.failed(error))
    child.serve(env, report, order.listener, order.parent, termination)
