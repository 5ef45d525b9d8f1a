"""Run every fenced block of one documentation page, as a reader would who types it all in.

`python page.py PAGE FOLDER` runs the page in that empty folder and exits 1, naming the line, when a
block fails or what it shows is not what comes out. `docs/index.md` tells readers the conventions.

- python: shares one namespace with the page's other python blocks; `await` works. A block whose
  first line is a comment with a file name is written to that file instead.
- bash: runs with `set -e`; folder and exported variables carry over. A line may end with
  `# exit code N`.
- text: what the block before printed, loosely: ids, times and ports may differ, `…` is anything.
- wire: one connection to the environment that the page serves: `>` lines are sent, `<` received.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

KINDS = ("python", "bash", "text", "wire")
SERVED_PORT = "8765"
LIMIT_S = 120.0

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>\S*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)
_FILE = re.compile(r"# ([\w./-]+\.\w+)")
_EXIT = re.compile(r"(?P<command>.*?)\s+# exit code (?P<code>\d+)\s*")
_ID = re.compile(r"\b[0-9a-f]{32}\b")
_LOOSE = (
    (re.compile(r"\b\d+(\.\d+)? (m?s)\b"), "T s"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b"), "WHEN"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"[ \t]+"), " "),
)


class PageError(AssertionError):
    """A block that does not do what the page says."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, and the line its text begins on."""

    kind: str
    code: str
    line: int

    @property
    def file(self) -> str | None:
        """The file this block is the content of, if it is one."""
        match = _FILE.fullmatch(self.code.partition("\n")[0]) if self.kind == "python" else None
        return match[1] if match else None


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page, in order."""
    for match in _FENCE.finditer(text):
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["code"].splitlines()]
        yield Block(match["kind"], "\n".join(lines) + "\n", text.count("\n", 0, match.start()) + 2)


class Page:
    """One page being run in one folder."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder.resolve()
        self.printed: list[str] = []
        self.ids: dict[str, str] = {}
        self.port = str(_free_port())
        self.groups: list[int] = []
        self.module = types.ModuleType("page")
        sys.modules["page"] = self.module
        self.loop = asyncio.new_event_loop()
        self._state = self.folder.parent / f"{self.folder.name}-state"

    def run(self) -> None:
        """Run all blocks; whatever was started in the background ends with the page."""
        blocks = list(blocks_of(self.path.read_text(encoding="utf-8")))
        os.chdir(self.folder)
        sys.path.insert(0, "")
        asyncio.set_event_loop(self.loop)
        try:
            for index, block in enumerate(blocks):
                try:
                    self._run(block, blocks[index + 1 :])
                except PageError as error:
                    raise PageError(f"{self.path.name}:{block.line}: {error}") from error
        finally:
            for group in self.groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            self.loop.close()

    def _run(self, block: Block, later: list[Block]) -> None:
        code = self._substituted(block.code)
        match block.kind:
            case "python" if block.file:
                self._write(block.file, block.code, later)
            case "python":
                self._python(code, block.line)
            case "bash":
                self._bash(code)
            case "text":
                self._compare(block.code)
            case "wire":
                self._wire(code)
            case _:
                raise PageError(f"a block of kind {block.kind!r} cannot be run (known: {KINDS})")

    def _substituted(self, code: str) -> str:
        """Put this run's ids and port where the page shows those of its author."""
        code = code.replace(SERVED_PORT, self.port)
        for shown, real in self.ids.items():
            code = code.replace(shown, real)
            code = re.sub(rf"\b{shown[:8]}\b", real[:8], code)
        return code

    def _write(self, name: str, code: str, later: list[Block]) -> None:
        stem = Path(name).stem
        if not any(re.search(rf"\b{re.escape(stem)}\b", block.code) for block in later):
            raise PageError(f"nothing on the page uses {name}")
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(code, encoding="utf-8")
        sys.modules.pop(stem, None)
        self.printed = []

    def _python(self, code: str, line: int) -> None:
        padded = "\n" * (line - 1) + code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        out = io.StringIO()
        try:
            compiled = compile(padded, str(self.path), "exec", flags=flags, dont_inherit=True)
            with contextlib.redirect_stdout(out):
                result = eval(compiled, self.module.__dict__)
                if asyncio.iscoroutine(result):
                    self.loop.run_until_complete(asyncio.wait_for(result, LIMIT_S))
        except Exception as error:
            raise PageError(f"{type(error).__name__}: {error}\n{out.getvalue()}") from error
        self.printed = [out.getvalue()]

    def _bash(self, code: str) -> None:
        lines = [_with_exit_code(line) for line in code.splitlines()]
        state = self._state
        trap = f"trap 'env -0 >{state}.env; pwd >{state}.cwd' EXIT"
        script = "\n".join(["set -e", trap, *lines]) + "\n"
        with Path(f"{state}.out").open("w+b") as out, Path(f"{state}.err").open("w+b") as err:
            process = subprocess.Popen(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            self.groups.append(process.pid)
            try:
                code_ = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                raise PageError(f"not done after {LIMIT_S:g} s") from None
            stdout, stderr = (Path(file.name).read_text("utf-8", "replace") for file in (out, err))
        if code_ != 0:
            raise PageError(f"exit code {code_}\n{stdout}{stderr}")
        for item in Path(f"{state}.env").read_text().split("\0"):
            name, equals, value = item.partition("=")
            if equals:
                os.environ[name] = value
        os.chdir(Path(f"{state}.cwd").read_text().strip())
        self.printed = [stdout, stderr, stdout + stderr, stderr + stdout]

    def _compare(self, expected: str) -> None:
        if not self.printed:
            raise PageError("a text block shows what the block before it printed")
        ids = _ID.findall(expected)
        pattern = _pattern(expected)
        for printed in self.printed:
            match = re.fullmatch(pattern, _loose(printed))
            if match:
                self.ids.update(zip(ids, match.groups(), strict=True))
                return
        shown = "\n--- or\n".join(dict.fromkeys(self.printed[:2]))
        raise PageError(f"the page shows\n{expected}--- and what came out is\n{shown}")

    def _wire(self, code: str) -> None:
        with _dial(int(self.port)) as peer, peer.makefile("rwb") as stream:
            for line in code.splitlines():
                if line.startswith("> "):
                    stream.write(self._substituted(line[2:]).encode() + b"\n")
                    stream.flush()
                elif line.startswith("< "):
                    received = stream.readline()
                    self._receive(line[2:], received)
                elif line.strip():
                    raise PageError(f"a wire line begins with '> ' or '< ', not {line!r}")
        self.printed = []

    def _receive(self, expected: str, received: bytes) -> None:
        if expected == "(closed)":
            if received:
                raise PageError(f"the connection should be closed, but it sent {received!r}")
            return
        if not received:
            raise PageError(f"the connection was closed instead of sending {expected}")
        if not fits(json.loads(expected), json.loads(received), self.ids):
            raise PageError(
                f"the page shows\n{expected}\n--- and what came is\n{received.decode()}"
            )


def _with_exit_code(line: str) -> str:
    match = _EXIT.fullmatch(line)
    if match is None:
        return line
    command, code = match["command"], match["code"]
    refusal = f'{{ echo "exit code $rc, not {code}"; exit 97; }}'
    return f"rc=0; {command} || rc=$?; [ $rc -eq {code} ] || {refusal}"


def _loose(text: str) -> str:
    for pattern, replacement in _LOOSE:
        text = pattern.sub(replacement, text)
    return "".join(f"{line.rstrip()}\n" for line in text.strip().splitlines())


def _pattern(expected: str) -> str:
    """Return what a shown output matches: a group per id, `…` for anything."""
    lines: list[str] = []
    for line in _loose(expected).splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*?")
            continue
        parts = [".*".join(map(re.escape, part.split("…"))) for part in _ID.split(line)]
        lines.append("([0-9a-f]{32})".join(parts) + r"\n")
    return "".join(lines)


def fits(expected: Any, received: Any, ids: dict[str, str]) -> bool:
    """Compare frames: `…` is anything, and an id is whatever id came, the same from then on."""
    if expected == "…":
        return True
    if isinstance(expected, dict) and isinstance(received, dict):
        shown, came = cast("dict[str, Any]", expected), cast("dict[str, Any]", received)
        if "…" not in shown and shown.keys() != came.keys():
            return False
        return all(k in came and fits(v, came[k], ids) for k, v in shown.items() if k != "…")
    if isinstance(expected, list) and isinstance(received, list):
        items, others = cast("list[Any]", expected), cast("list[Any]", received)
        pairs = zip(items, others, strict=False)
        return len(items) == len(others) and all(fits(a, b, ids) for a, b in pairs)
    if isinstance(expected, str) and isinstance(received, str) and _ID.fullmatch(expected):
        return ids.setdefault(expected, received) == received
    if isinstance(expected, str) and isinstance(received, str) and "…" in expected:
        return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), received) is not None
    return bool(expected == received)


def _dial(port: int) -> socket.socket:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise PageError(f"nothing serves at port {SERVED_PORT}") from None
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Run the page named on the command line."""
    page, folder = (Path(argument).resolve() for argument in sys.argv[1:3])
    sys.path.pop(0)
    try:
        Page(page, folder).run()
    except PageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
