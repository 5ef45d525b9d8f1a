"""What a test needs that may be missing on a machine: skipped by name, or a failure under CI."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from typing import Any

import pytest


def missing(what: str) -> None:
    """Skip the test because `what` is not here; with `CI` set, fail it."""
    reason = f"{what} is not installed here"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and with CI set what needs it must run", pytrace=False)
    pytest.skip(reason)


def need_program(*names: str) -> str:
    """Return the path of the first of these programs that is installed."""
    for name in names:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
        if path is not None:
            return path
    missing(" or ".join(names))
    raise AssertionError


def need_package(name: str) -> None:
    """Make sure that a package is there, without importing it into the tests' process."""
    if importlib.util.find_spec(name) is None:
        missing(f"the Python package {name}")


def need_module(name: str) -> Any:
    """Import and return a module."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.split(".")[0] == error.name.split(".")[0]:
            missing(f"the Python package {error.name}")
        raise
