"""Run hidden tests inside a sandbox and report each of them on a descriptor of its own.

A program, started by `pytest_grader` with an isolated Python; it reads one JSON line of settings.
The agent's modules are imported by the tests, so they come last on the path and never decide how
the tests are collected, and what they print is not where the report goes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Run the tests that standard input names, and write one JSON object."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    report = os.dup(1)
    os.set_inheritable(report, False)
    os.dup2(2, 1)
    import pytest

    # From here on whatever goes wrong is the doing of what is tested.
    os.write(report, f"{settings['nonce']} began\n".encode())
    outcomes: dict[str, str] = {}
    problems: list[str] = []
    collected: list[int] = []

    class Recorder:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                held = outcomes.get(report.nodeid)
                if held in (None, "lost", "passed"):
                    outcomes[report.nodeid] = report.outcome

        def pytest_collectreport(self, report: Any) -> None:
            # A module under test can also have the file that imports it skipped.
            if not report.passed:
                problems.append(str(report.nodeid))

        def pytest_collection_finish(self, session: Any) -> None:
            collected.append(len(session.items))
            for item in session.items:
                outcomes.setdefault(item.nodeid, "lost")

        @pytest.hookimpl(tryfirst=True)
        def pytest_load_initial_conftests(self) -> None:
            # Not before: a package that the agent left there could declare a plugin of pytest.
            sys.path.extend(settings["paths"])

    os.chdir(settings["cwd"])
    tests: str = settings["tests"]
    exit_code = pytest.main(
        [
            *("-p", "no:cacheprovider", "--import-mode=importlib", "-q"),
            *("-c", os.devnull, "--rootdir", tests, "--confcutdir", tests),
            # What a plugin that happens to be installed says of its settings is no result.
            *("-W", "ignore::pytest.PytestDeprecationWarning"),
            *settings["args"],
            tests,
        ],
        plugins=[Recorder()],
    )
    for name, outcome in list(outcomes.items()):
        if outcome == "lost":
            outcomes[name] = "error"
    body = {
        "nonce": settings["nonce"],
        "exit": int(exit_code),
        "outcomes": outcomes,
        "problems": problems,
        "collected": bool(collected),
    }
    with os.fdopen(report, "w", encoding="utf-8") as out:
        out.write("\n" + json.dumps(body) + "\n")


if __name__ == "__main__":
    main()
