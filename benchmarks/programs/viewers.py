"""Open the long trace in a viewer of somebody else, in a real Chromium, and say what it took."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Error

from benchmarks.programs.seen import chromium, opened_s, scrolled

_PATIENCE_S = 60.0
_UP_S = 120.0
_TAKEN_IN_S = 400.0
_COUNT = "{projects{edges{node{id recordCount}}}}"
_SPAN = '{getSpanByOtelId(spanId:"%s"){id}}'


def main() -> None:
    """Serve, fill where it is filled through its API, measure; what fails is null."""
    work = json.loads(sys.argv[1])
    url: str = work["url"]
    server = subprocess.Popen(
        work["command"],
        env={**os.environ, **work["env"]},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until(lambda: _is_up(url), _UP_S)
        pages: dict[str, Any] = work["pages"]
        if "fill" in work:
            pages = _fill(url, work)
        with chromium() as browser:

            def seen(path: str, wanted: str) -> float:
                return opened_s(browser, url + path, wanted, work["rounds"], patience_s=_PATIENCE_S)

            found: dict[str, Any] = {
                name: _or_none(lambda path=path, wanted=wanted: seen(path, wanted))
                for name, (path, wanted) in pages.items()
            }
            path, wanted = pages["open"]
            at = tuple(work["at"])
            found["scrolled"] = _or_none(
                lambda: scrolled(browser, url + path, wanted, at=at, patience_s=_PATIENCE_S)
            )
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
    print(json.dumps(found))


def _fill(url: str, work: dict[str, Any]) -> dict[str, Any]:
    """Send spans to a Phoenix, wait until it has taken them in, and name its pages."""
    subprocess.run(work["fill"], check=True, stdout=subprocess.DEVNULL)
    _until(lambda: _project(url)["recordCount"] > work["steps"], _TAKEN_IN_S)
    trace = f"/projects/{_project(url)['id']}/traces/{work['trace']}"
    span = _ask(url, _SPAN % f"{work['step'] + 1:016x}")["getSpanByOtelId"]["id"]
    return {
        "open": (trace, r"#trace-tree >> text=/^step \d+$/"),
        "link": (
            f"{trace}?selectedSpanNodeId={span}",
            f".span-header__name:text-is('step {work['step']}')",
        ),
    }


def _project(url: str) -> dict[str, Any]:
    return _ask(url, _COUNT)["projects"]["edges"][0]["node"]


def _ask(url: str, query: str) -> dict[str, Any]:
    body = json.dumps({"query": query}).encode()
    request = urllib.request.Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["data"]


def _until(is_so: Callable[[], bool], most_s: float) -> None:
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > most_s:
            raise SystemExit("the viewer did not get ready")
        time.sleep(0.5)


def _is_up(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def _or_none(measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except Error as error:
        print(str(error).splitlines()[0], file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
