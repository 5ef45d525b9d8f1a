"""A trace made of nothing but what an agent would write to harm or to confuse who reads it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.ui.viewer import Reader, Viewer, reading, viewing
from tests.ui.written import writing

PWN = "window.pwned=1"
MARKUP = [
    f"<script>{PWN}</script>",
    f"<img src=x onerror={PWN}>",
    f"<svg onload={PWN}><script>{PWN}</script></svg>",
    f"<iframe srcdoc='<script>parent.{PWN}</script>'></iframe>",
    f"<a href='javascript:{PWN}'>click</a>",
    "<style>*{display:none!important}</style>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'><form action=//evil.example><input autofocus>",
    "[link](javascript:alert(1)) ![x](https://evil.example/x.png)",
    "</div></article></main><h1>gone</h1>",
    "&lt;b&gt; &#x202e; {{constructor.constructor('return 1')()}} ${1+1}",
]
TURNED = "safe\u202egpj.exe\u202c \u2066isolate\u2069 \u200bzero \ufeffmark"
LINK = "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07"
ESCAPES = f"\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m {LINK} \x07\x00"
LONG_LINE = "x" * 5_000_000
SVG = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0id2luZG93LnB3bmVkPTEiLz4="


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"down": [value]}
    return value


DEEP = nested(150)


def picture(media_type: str, data: Any) -> dict[str, Any]:
    return {"type": "image", "mimeType": media_type, "data": data}


def tool(name: Any, arguments: Any, *blocks: Any, **more: Any) -> dict[str, Any]:
    call = {"name": name, "arguments": arguments, "id": "1"}
    return {"source": "tool", "call": call, "result": {"content": list(blocks), **more}}


def text(said: Any) -> dict[str, Any]:
    return {"type": "text", "text": said}


STEPS: list[Any] = [
    {
        "source": "task",
        "task_call": {"phase": "setup", "name": MARKUP[0], "arguments": {MARKUP[1]: MARKUP[2]}},
    },
    *({"source": "user", "messages": [{"role": "user", "content": text(one)}]} for one in MARKUP),
    {"source": "agent", "content": TURNED, "reasoning": ESCAPES, "model": MARKUP[1]},
    {
        "source": "agent",
        "content": "\n".join(MARKUP),
        "citations": [
            {"source": f"javascript:{PWN}", "title": MARKUP[0]},
            {"source": "https://example.org/\u202egpj.exe", "title": "a"},
            {"source": " https://example.org/", "title": "b"},
            {"source": "data:text/html,<script>1</script>", "title": "c"},
            {"source": "https://example.org/fine", "title": "d"},
        ],
        "tool_calls": [{"name": MARKUP[1], "arguments": "{not json"}],
    },
    tool("bash", {"command": ESCAPES}, text(ESCAPES)),
    tool("bash", {"command": "cat huge"}, text(LONG_LINE)),
    tool("bash", {"command": ["not", 1, None]}, text("\r" * 5000 + "z")),
    tool(
        "computer",
        {"action": "left_click", "coordinate": ["NaN", 1e400]},
        picture("image/png", "AAAA"),
    ),
    tool(
        "computer",
        {"action": "left_click", "coordinate": [-1e9, 1e9]},
        picture("image/svg+xml", SVG),
    ),
    tool("computer", {"actions": "x" * 1000}, picture("text/html", "PHNjcmlwdD4=")),
    tool(
        "computer",
        {"action": "type", "text": MARKUP[2] * 50},
        picture("image/png", "javascript:alert(1)"),
    ),
    tool("x", None, picture("image/png", {"$blob": "../../etc/passwd", "media_type": "image/png"})),
    tool("x", {}, picture("image/png", {"$blob": "0" * 64, "media_type": "image/png"})),
    tool(
        ["not", "a", "name"],
        7,
        None,
        3,
        "text",
        {"type": "resource_link", "uri": f"javascript:{PWN}"},
    ),
    tool("x", {"path": MARKUP[1], "old_str": MARKUP[0], "new_str": TURNED}, text("ok")),
    tool("x", {"diff": "@@ -1,99999999999 +0,0 @@\n" + MARKUP[1] + "\n+\u202e"}, isError="yes"),
    tool("x", DEEP, text({"$blob": "1" * 64, "size_bytes": -5, "media_type": MARKUP[0]})),
    {
        "source": "system",
        "extra": {
            "files": {
                "patches": [{"path": MARKUP[2], "status": MARKUP[0], "patch": MARKUP[0]}, 5, None]
            }
        },
    },
    {
        "source": "system",
        "extra": {"files": {"patches": [{"path": "../../x\u202e", "patch": 7}] * 2000}},
    },
    {"source": "system", "error": ESCAPES + MARKUP[0]},
    {
        "source": "observation",
        "tick": 1e300,
        "state": {MARKUP[1]: {"names": [{}], "values": ["x", None, 1e400]}},
    },
    {
        "source": "observation",
        "tick": -1,
        "state": "none",
        "images": {"a": picture("image/png", 3)},
    },
    {"source": "inference", "tick": 0, "chunk": [[1, "x"], "y", None], "names": [MARKUP[0]]},
    {
        "source": "video_segment",
        "camera": MARKUP[0],
        "fps": 0,
        "segment": {"mimeType": "video/mp4", "data": "AAAA"},
    },
    {
        "source": "subagent",
        "subagent": {
            "steps": [
                {"source": "agent", "content": MARKUP[0]},
                None,
                5,
                {"source": "subagent", "subagent": DEEP},
            ]
        },
    },
    {
        "source": "task",
        "task_call": {
            "phase": "evaluate",
            "name": MARKUP[0],
            "arguments": {"answer": MARKUP[1]},
            "result": {
                "score": "1.0",
                "subscores": [
                    {
                        "name": MARKUP[2],
                        "weight": "x",
                        "value": 1e400,
                        "info": {"reason": MARKUP[1], "log": ESCAPES},
                    },
                    {"children": [{"children": {"a": 1}}, None]},
                ],
            },
        },
    },
    {"source": "from another planet", "whatever": MARKUP},
    {"source": 17},
    {"no": "source"},
    b"[1, 2, 3]",
    b'"just a text"',
    b"null",
    b'{"$$blob": "aaaa", "constructor": {"prototype": 1}, "__proto__": {"x": 1}}',
]


@pytest.fixture(scope="module")
def hostile(built: None, tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Viewer, str]]:
    """Return a viewer on a home with the one run in it."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    with writing(home) as writer:
        run_id = writer.run(MARKUP[0] + TURNED, STEPS, error=MARKUP[1] + ESCAPES)
        writer.run(MARKUP[2], [], ends=False)
    with viewing(home) as viewer:
        yield viewer, run_id


@pytest.fixture
def eye(chromium: Browser, hostile: tuple[Viewer, str]) -> Generator[Reader]:
    """Return a reader of whom every request is watched."""
    viewer, _ = hostile
    asked: list[str] = []
    with reading(chromium, viewer) as one:
        one.page.on("request", lambda request: asked.append(request.url))
        yield one
        strangers = [
            url
            for url in asked
            if not url.startswith((viewer.url, "data:image/", f"blob:{viewer.url}"))
        ]
        assert not strangers, strangers
        assert one.page.evaluate("window.pwned") is None
        one.page.goto("about:blank")  # nothing is said after this
        # A picture that is none fails to load, and the browser says so.
        refused = ("Content Security Policy", "error:")
        worse = [said for said in one.complaints if any(word in said for word in refused)]
        assert not worse, worse
        one.complaints.clear()


def test_every_step_is_shown_as_data(eye: Reader, hostile: tuple[Viewer, str]) -> None:
    page = eye.open(f"/trace/{hostile[1]}")
    expect(page.locator(".timeline article.step[aria-current]")).to_be_visible()
    for number in range(1, len(STEPS) + 1):
        page.goto(f"{eye.viewer.url}/trace/{hostile[1]}?step={number}")
        card = page.locator(".timeline article.step[aria-current]")
        expect(card.locator(".step-no").first).to_have_text(f"#{number}")
        expect(card.locator(".skeleton")).to_have_count(0)
        page.keyboard.press("Enter")
        page.keyboard.press("Enter")
        page.keyboard.press("r")
        expect(card.locator(".json").first).to_be_visible()
        page.keyboard.press("r")
    for stage in ("Terminal", "Files", "Robot", "Screen"):
        page.get_by_role("tab", name=stage).click()
        expect(page.locator(".stage")).to_be_visible()


def test_no_element_of_the_page_comes_from_the_trace(
    eye: Reader, hostile: tuple[Viewer, str]
) -> None:
    page = eye.open(f"/trace/{hostile[1]}")
    for number in (2, 14, 30, len(STEPS)):
        page.goto(f"{eye.viewer.url}/trace/{hostile[1]}?step={number}")
        expect(page.locator(".timeline article.step[aria-current]")).to_be_visible()
        found: list[str] = page.evaluate(
            "() => [...document.querySelectorAll('iframe, object, embed, base, form, meta, style,"
            ' script:not([src^="/assets/"])\')].map(element => element.outerHTML)'
        )
        assert all("viewport" in one or "charset" in one or "color-scheme" in one for one in found)
        links: list[str] = page.evaluate("() => [...document.links].map(link => link.href)")
        outside = [link for link in links if not link.startswith(eye.viewer.url)]
        assert all(link.startswith("https://example.org/") for link in outside), outside


def test_links_say_where_they_lead_and_tell_nobody(
    eye: Reader, hostile: tuple[Viewer, str]
) -> None:
    page = eye.open(f"/trace/{hostile[1]}?step=14")
    fine = page.get_by_role("link", name="https://example.org/fine")
    expect(fine).to_have_attribute("rel", "noreferrer noopener nofollow")
    expect(page.get_by_role("link", name="javascript:")).to_have_count(0)


def test_what_is_hidden_in_a_text_is_seen(eye: Reader, hostile: tuple[Viewer, str]) -> None:
    page = eye.open(f"/trace/{hostile[1]}?step=13")
    shown = page.locator(".timeline article.step[aria-current]")
    for name in ("U+202E", "U+200B", "U+FEFF", "U+2066"):
        expect(shown.locator(".hidden-char", has_text=name).first).to_be_visible()
    heading = page.get_by_role("heading", level=1)
    expect(heading.locator(".hidden-char").first).to_be_visible()


def test_five_million_letters_in_one_line_are_not_shown_at_once(
    eye: Reader, hostile: tuple[Viewer, str]
) -> None:
    page = eye.open(f"/trace/{hostile[1]}?step=16")
    card = page.locator(".timeline article.step[aria-current]")
    more = card.get_by_role("button", name="Load a text of")
    expect(more).to_be_visible()
    more.click()
    everything = card.get_by_role("button", name="Show all")
    expect(everything).to_be_visible()
    assert len(card.inner_text()) < 20_000
    everything.click()
    expect(card.get_by_role("button", name="Show less")).to_be_visible()
    page.keyboard.press("k")
    expect(page.locator(".timeline article.step[aria-current] .step-no").first).to_have_text("#15")


def test_lists_show_hostile_names_as_names(eye: Reader) -> None:
    page = eye.open("/jobs")
    page.get_by_role("link", name="<script>window.pwned=1</script>safe").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    page.get_by_role("tab", name="Runs").click()
    expect(page.locator(".datatable-row")).to_contain_text("onerror")


def test_a_run_that_never_ended_says_so(eye: Reader, tmp_path: Path) -> None:
    page = eye.open("/jobs")
    page.get_by_role("link", name="<svg").click()
    page.get_by_role("tab", name="Runs").click()
    page.locator(".row-link").click()
    expect(page.get_by_text("interrupted").first).to_be_visible()
