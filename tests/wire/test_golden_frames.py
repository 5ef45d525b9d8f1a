"""Recorded exchanges: requests as bytes, and the exact replies to them.

A file holds one JSON object per line: `{">": TEXT}` is sent as it is, `{"<": FRAME}` must be the
next reply, `{"connect": true}` opens a new connection (dropping the one before it) and
`{"closed": true}` wants the end of the stream; `{"raw": TEXT}` are bytes of a stream. Session ids
are written `SESSION`, ports `PORT`, and a message that quotes a library ends with `…`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hud.environment import Answer, Capability, Environment
from hud.protocol import methods
from tests.wire.harness import Place, Steps, Wire
from tests.wire.test_tunnels import daemon, echo

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.jsonl"))


def golden_environment(port: int) -> Environment:
    rows = [
        Capability.ssh(url=f"127.0.0.1:{port}", host_pubkey="ssh-ed25519 AAAA", cwd="/work"),
        Capability("dark", "raw/1"),
    ]
    env = Environment("golden", version="1.0", capabilities=rows)

    @env.template(description="Spell a word.")
    async def spell(word: str, times: int = 1) -> Steps:
        answer = yield f"Spell {word} {times} times."
        yield {"score": 1.0 if answer == word else 0.0, "content": f"heard {answer}"}

    @env.template(returns=list[int])
    async def numbers() -> Steps:
        """Name some numbers."""
        answer: Answer[Any] = yield {"prompt": "numbers?", "bindings": {"shell": {"room": 1}}}
        yield 1.0 if answer.content == [1, 2] else 0.5

    @env.template()
    async def broken() -> Steps:
        yield "go on"
        raise RuntimeError("no scales")

    return env


def assert_same(found: dict[str, Any], golden: dict[str, Any]) -> None:
    says = golden.get("error", {}).get("message", "")
    if says.endswith("…"):
        assert found["error"]["message"].startswith(says[:-1])
        assert len(found["error"]["message"]) > len(says) - 1
        found["error"]["message"] = says
    assert found == golden


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
async def test_the_recorded_exchange_is_repeated_exactly(place: Place, path: Path) -> None:
    async with daemon(echo) as port:
        url = await place.serve(golden_environment(port))
        wire: Wire | None = None
        sessions: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            step: dict[str, Any] = json.loads(line)
            if "connect" in step:
                if wire is not None:
                    await wire.close()
                wire = await place.connect(url)
                continue
            assert wire is not None, f"{path.name} begins without connecting"
            if ">" in step:
                session = sessions[-1] if sessions else "none yet"
                wire.send_bytes(step[">"].replace("SESSION", session).encode() + b"\n")
            elif "<" in step:
                received = await wire.line()
                assert received.endswith(b"\n")
                reply = json.loads(received)
                found = reply.get("result", {}).get("session_id")
                if found:
                    sessions.append(found)
                text = json.dumps(reply).replace(str(found), "SESSION")
                assert_same(json.loads(text.replace(f":{port}", ":PORT")), step["<"])
            elif "raw" in step:
                assert await wire.reader.readexactly(len(step["raw"])) == step["raw"].encode()
            else:
                assert step == {"closed": True}
                assert await wire.ended() == b""


def test_there_is_an_exchange_for_every_method() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in GOLDEN)
    for method in ("hello", "tasks.list", "tasks.start", "tasks.grade", "tasks.cancel", "bye",
                   "tunnel.open"):  # fmt: skip
        assert f'\\"{method}\\"' in text, method


def test_every_golden_result_has_the_type_the_protocol_gives_it() -> None:
    checked: set[str] = set()
    for path in GOLDEN:
        asked: dict[Any, str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            step = json.loads(line)
            if step.get(">", "").startswith("{") and step[">"].endswith("}"):
                request = json.loads(step[">"])
                asked[request.get("id")] = request.get("method", "")
            elif "result" in step.get("<", {}):
                method = asked[step["<"]["id"]]
                msgspec.convert(step["<"]["result"], methods.RESULTS[method])
                checked.add(method)
    assert checked == set(methods.RESULTS)
