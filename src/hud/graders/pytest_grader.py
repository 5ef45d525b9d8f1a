"""Score by hidden tests: pytest over the files an agent left, in a sandbox made for it.

The tests are put into the sandbox only now. What they cannot withstand is a module under test that
attacks pytest from inside its own process; test such code by running it as a program.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from hud._core.errors import CapabilityFault, GraderFault, InputError
from hud.graders.base import Grader
from hud.graders.result import SubScore
from hud.sandbox import files, folders, interpreter, roots
from hud.sandbox.fresh import run_fresh
from hud.sandbox.spec import Mount

_TESTS_INSIDE = "/run/hidden-tests"
_DRIVER_INSIDE = "/run/pytest_driver.py"
_OUTPUT_BYTES = 256 * 1024
_LOG_CHARACTERS = 16_000
_NO_TESTS = 5  # what pytest exits with


class PytestGrader(Grader):
    """Run hidden tests over the workspace: 1.0 when all pass, else 0.0 or the share that does.

    Attributes:
        default_timeout: Seconds the tests may take when `timeout_seconds` is not given.
    """

    name: ClassVar[str] = "PytestGrader"
    default_timeout: ClassVar[float] = 600

    @classmethod
    async def compute_score(
        cls,
        tests: str | os.PathLike[str] | Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        paths: Sequence[str] = (".",),
        args: Sequence[str] = (),
        partial: bool = False,
        timeout_seconds: float | None = None,
        python: str | None = None,
        **kwargs: Any,
    ) -> SubScore:
        """Return how the tests ended; `info` has every test's outcome and the end of the log.

        Args:
            tests: A folder or file of tests, or their sources by file name. The agent must not
                have been able to read them.
            cwd: The workspace; the grading environment's own when None.
            paths: Folders, relative to the workspace, whose modules the tests import.
            args: Further arguments of pytest.
            partial: Score the share of tests that pass.
            timeout_seconds: Tests that take longer score 0.0.
            python: Interpreter inside that has pytest; this one, with its packages, when None.

        Raises:
            GraderFault: when there is no workspace, no test, or no sandbox.
        """
        if not tests:
            raise ValueError("PytestGrader needs `tests`: a path, or sources by file name")
        live = roots.current_root() if cwd is None else roots.root_of(cwd)
        if live is None:
            raise GraderFault(
                "PytestGrader found no workspace to test",
                hint="declare one with env.workspace(…), or pass cwd=workspace.root",
            )
        timeout_s = float(cls.default_timeout if timeout_seconds is None else timeout_seconds)
        nonce = secrets.token_hex(16)
        with tempfile.TemporaryDirectory(prefix=folders.prefix_of("tests")) as folder:
            hidden = Path(folder, "tests")
            await asyncio.to_thread(_lay_out, tests, hidden)
            await asyncio.to_thread(_let_read, hidden)
            done = await _run(live, hidden, nonce, paths, args, timeout_s, python)
        log = done.stderr.decode("utf-8", "replace")[-_LOG_CHARACTERS:]
        info: dict[str, Any] = {"exit_code": done.exit_code, "log": log}
        if done.timed_out:
            return SubScore(name=cls.name, value=0.0, info={**info, "timed_out": True})
        if done.ended_because:
            return SubScore(name=cls.name, value=0.0, info={**info, "error": done.ended_because})
        report = _report(done.stdout, nonce)
        if report is None and not done.stdout:
            raise GraderFault(
                f"PytestGrader: pytest could not be started (exit code {done.exit_code}): "
                f"{log.strip()[-300:]}",
                hint="name an interpreter that has pytest, and that the agent's uid may run",
            )
        if report is None:
            info["error"] = "the tests ended without a report of their own"
            return SubScore(name=cls.name, value=0.0, info=info)
        outcomes = cast("dict[str, str]", report["outcomes"])
        info |= {"tests": outcomes, "not_collected": report["problems"]}
        passed = sum(outcome == "passed" for outcome in outcomes.values())
        is_empty = report["collected"] and report["exit"] == _NO_TESTS
        if not outcomes and not report["problems"] and is_empty:
            raise GraderFault("PytestGrader: there is no test in what was given as `tests`")
        share = passed / max(1, len(outcomes))
        complete = share == 1.0 and not report["problems"] and report["exit"] == 0
        value = share if partial and not report["problems"] else float(complete)
        return SubScore(name=cls.name, value=value, info=info)


def _lay_out(tests: str | os.PathLike[str] | Mapping[str, str], hidden: Path) -> None:
    hidden.mkdir()
    if isinstance(tests, Mapping):
        for name, source in tests.items():
            path = hidden / name
            if hidden not in path.resolve().parents:
                raise InputError(f"PytestGrader: {name!r} is no file name of a test")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source, "utf-8")
        return
    source_path = Path(tests)
    if source_path.is_file():
        (hidden / source_path.name).write_bytes(source_path.read_bytes())
    elif source_path.is_dir():
        files.copy_tree(source_path, hidden)
    else:
        raise GraderFault(f"PytestGrader: there are no tests at {str(source_path)!r}")


def _let_read(hidden: Path) -> None:
    """Let the uid of the tests' sandbox read them, whatever this process's umask."""
    for path in (hidden, *hidden.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


async def _run(
    live: roots.LiveRoot,
    hidden: Path,
    nonce: str,
    paths: Sequence[str],
    args: Sequence[str],
    timeout_s: float,
    python: str | None,
) -> Any:
    from dataclasses import replace

    driver = Path(__file__).with_name("pytest_driver.py")
    seen = live.sandbox.isolation == "bwrap"
    where = _TESTS_INSIDE if seen else str(hidden)
    program = _DRIVER_INSIDE if seen else str(hidden.parent / "driver.py")
    if not seen:
        Path(program).write_bytes(driver.read_bytes())
        uid, gid = live.sandbox.uid, live.sandbox.gid
        for path in (hidden.parent, *hidden.parent.rglob("*")):
            os.chown(path, uid, gid, follow_symlinks=False)
    workspace = live.sandbox.guest_path
    settings = {
        "nonce": nonce,
        "tests": where,
        "cwd": workspace,
        "paths": [os.path.normpath(f"{workspace}/{path}") for path in paths],
        "args": list(args),
    }
    mounts = [Mount("ro", str(hidden), where), Mount("ro", str(driver), program)]
    if not seen:
        mounts = [Mount("ro", str(hidden.parent), str(hidden.parent))]
    try:
        return await run_fresh(
            replace(live.spec, python=True) if python is None else live.spec,
            [python or interpreter.venv_executable(), "-I", "-B", program],
            uid=live.sandbox.uid if live.sandbox.is_running else None,
            mounts=mounts,
            timeout_s=timeout_s,
            input=json.dumps(settings).encode() + b"\n",
            max_output_bytes=_OUTPUT_BYTES,
        )
    except CapabilityFault as error:
        raise GraderFault(f"the tests' sandbox cannot be made: {error.message}") from error


def _report(stdout: bytes, nonce: str) -> dict[str, Any] | None:
    """Return the last line that is a report with this nonce, or None."""
    for line in reversed(stdout.splitlines()):
        try:
            body: Any = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(body, dict) and cast("dict[str, Any]", body).get("nonce") == nonce:
            report = cast("dict[str, Any]", body)
            return report if _is_report(report) else None
    return None


def _is_report(body: Mapping[str, Any]) -> bool:
    """Whether it has the driver's shape: what is tested shares a process with who writes it."""
    outcomes, problems = body.get("outcomes"), body.get("problems")
    return (
        isinstance(outcomes, dict)
        and all(isinstance(value, str) for value in cast("dict[str, Any]", outcomes).values())
        and isinstance(problems, list)
        and isinstance(body.get("exit"), int)
        and isinstance(body.get("collected"), bool)
    )
