"""What every test may ask for: the `--soak` switch, and interpreters that hold optional parts."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background by a script, this process ignores Ctrl-C, and so would what it
    # starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", default=False, help="also run the tests marked `soak`"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--soak"):
        return
    soaking = [item for item in items if item.get_closest_marker("soak") is not None]
    if soaking:
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item.get_closest_marker("soak") is None]


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """Return the interpreter of the venv that holds the published client."""
    return _interpreter("HUD_TEST_PEER_PYTHON", "the published client is not installed")


@pytest.fixture(scope="session")
def browser_use_python() -> Path:
    """Return the interpreter of the venv that holds browser-use."""
    return _interpreter("HUD_TEST_BROWSER_USE_PYTHON", "browser-use is not installed")


@pytest.fixture(scope="session")
def torch_python() -> Path:
    """Return the interpreter of a venv that holds this project and torch."""
    return _interpreter("HUD_TEST_TORCH_PYTHON", "torch is not installed")


def _interpreter(variable: str, missing: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{missing} ({variable} is not set; scripts/test sets it where it can)")
    path = Path(value)
    if not path.exists():
        pytest.fail(f"{variable} names {value}, which does not exist")
    return path
