"""Mouse and keyboard of the cdp client, on a real Chromium."""

from __future__ import annotations

from typing import Any

import pytest

from hud.capabilities.cdp import CDPClient, CDPError
from tests.e2e.capabilities.cdp_page import browser, cdp, logged, show, web
from tests.e2e.capabilities.cdp_site import Site

__all__ = ["browser", "cdp", "web"]

LOG = """<script>
  log = [];
  for (const name of ['mousedown', 'mouseup', 'click', 'dblclick', 'auxclick', 'contextmenu'])
    addEventListener(name, (e) => log.push(
      [name, e.clientX, e.clientY, e.button, e.detail, e.ctrlKey, e.shiftKey]));
</script>"""


async def test_a_click_at_a_point_lands_on_its_pixel(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, LOG)
    await cdp.click(200, 50)
    assert await logged(cdp) == [
        [name, 200, 50, 0, 1, False, False] for name in ("mousedown", "mouseup", "click")
    ]


async def test_clicks_count_and_carry_button_and_modifiers(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, LOG)
    await cdp.click(10, 20, count=2)
    events = [(event[0], event[4]) for event in await logged(cdp)]
    assert events[-1] == ("dblclick", 2)
    assert ("click", 2) in events
    await cdp.evaluate("log = []")
    await cdp.click(10, 20, button="middle", modifiers=["ctrl", "Shift"])
    assert ["auxclick", 10, 20, 1, 1, True, True] in await logged(cdp)
    await cdp.evaluate("log = []")
    await cdp.click(10, 20, button="right")
    assert "contextmenu" in [event[0] for event in await logged(cdp)]


async def test_an_element_out_of_view_is_scrolled_to_and_clicked(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        "<div style='height:5000px'></div><div style='height:3000px'>"
        "<button style='width:80px;height:30px' onclick='this.textContent=`hit`'>go</button></div>",
    )
    await cdp.click(selector="button")
    assert await cdp.evaluate("document.querySelector('button').textContent") == "hit"


async def test_an_element_larger_than_the_view_is_clicked_where_it_is_seen(
    cdp: CDPClient, web: Site
) -> None:
    await show(cdp, web, f"{LOG}<div id=d style='height:9000px;background:red'></div>")
    await cdp.click(selector="#d")
    name, x, y, *_ = (await logged(cdp))[-1]
    width, height = await cdp.viewport()
    assert name == "click"
    assert 0 < x < width
    assert 0 < y < height


async def test_a_node_of_the_tree_can_be_clicked_also_in_a_frame(cdp: CDPClient, web: Site) -> None:
    web.pages["/inner"] = "<button onclick='parent.hit=this.textContent'>inner one</button>"
    await show(cdp, web, "<div style='height:70px'></div><iframe src=/inner></iframe>")
    tree = await cdp.accessibility_tree()
    found = next(node for node in tree.nodes if node.name == "inner one" and node.role == "button")
    await cdp.click(node=found.node)
    assert await cdp.evaluate("hit") == "inner one"
    assert found.box is not None
    assert found.box.y > 70
    await cdp.evaluate("hit = 0")
    await cdp.click(*found.box.center)
    assert await cdp.evaluate("hit") == "inner one"


async def test_what_cannot_be_clicked_is_the_agents_to_know(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, "<p style='display:none' id=h>x</p><p id=z style='height:0'></p>")
    for place, reason in (
        ({"selector": "#nothing"}, "nothing on the page matches '#nothing'"),
        ({"selector": "p["}, "not a valid selector"),
        ({"selector": "#h"}, "cannot be seen|has no size"),
        ({"selector": "#z"}, "has no size"),
        ({"node": 987654}, "node 987654 cannot be seen"),
        ({}, "it takes one place"),
        ({"x": 1.0}, "it takes one place"),
        ({"x": 1.0, "y": 2.0, "selector": "p"}, "it takes one place"),
        ({"x": float("nan"), "y": 2.0}, "is no place on a page"),
        ({"x": 1.0, "y": 1e9}, "is no place on a page"),
        ({"x": 1.0, "y": 1.0, "button": "middel"}, "no mouse button 'middel'"),
        ({"x": 1.0, "y": 1.0, "count": 0}, "cannot click 0 times"),
        ({"x": 1.0, "y": 1.0, "modifiers": ["a"]}, "'a' is no modifier"),
    ):
        arguments: dict[str, Any] = dict(place)
        with pytest.raises(CDPError, match=reason):
            await cdp.click(**arguments)


async def test_the_pointer_moves_and_hovers(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        "<style>b:hover{color:rgb(1, 2, 3)}</style><b id=b>over</b><p style='height:300px'></p>",
    )
    await cdp.move(selector="#b")
    assert await cdp.evaluate("getComputedStyle(b).color") == "rgb(1, 2, 3)"
    await cdp.move(300, 200)
    assert await cdp.evaluate("getComputedStyle(b).color") != "rgb(1, 2, 3)"


async def test_dragging_moves_with_the_button_down(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        """<script>log = [];
        for (const name of ['mousedown', 'mousemove', 'mouseup'])
          addEventListener(name, (e) => log.push([name, e.clientX, e.clientY, e.buttons]));
        </script>""",
    )
    await cdp.drag((10, 10), (110, 60), steps=4)
    events = await logged(cdp)
    down = next(index for index, event in enumerate(events) if event[0] == "mousedown")
    assert events[down][1:] == [10, 10, 1]
    moves = [event[1:] for event in events[down + 1 : -1]]
    assert moves == [[35, 22, 1], [60, 35, 1], [85, 47, 1], [110, 60, 1]]
    assert events[-1] == ["mouseup", 110, 60, 0]


async def test_an_element_is_dragged_and_dropped(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        """<div id=a draggable=true style='width:50px;height:50px;background:red'></div>
        <div id=b style='width:50px;height:50px;background:blue'></div>
        <script>log = [];
        a.ondragstart = (e) => {
          log.push('start'); e.dataTransfer.setData('text/plain', 'cargo'); };
        b.ondragover = (e) => e.preventDefault();
        b.ondrop = (e) => { e.preventDefault(); log.push(e.dataTransfer.getData('text/plain')); };
        a.ondragend = () => log.push('end');
        </script>""",
    )
    await cdp.drag((25, 25), (25, 75))
    assert (await logged(cdp))[:2] == ["start", "cargo"]


async def test_the_wheel_scrolls_what_is_under_it(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        """<div id=d style='width:200px;height:200px;overflow:auto'><p style='height:999px'></div>
        <div style='width:5000px;height:5000px'></div>""",
    )
    await cdp.evaluate(
        "ends = []; document.addEventListener('scrollend', (e) => ends.push(1), true)"
    )
    ended = "new Promise((done) => { const look = () => ends.length >= %d ? done(1) : "
    ended += "requestAnimationFrame(look); look(); })"
    await cdp.scroll(100, 100, dy=120)
    await cdp.evaluate(ended % 1)
    assert await cdp.evaluate("[d.scrollTop, scrollY]") == [120, 0]
    await cdp.scroll(500, 400, dx=30, dy=250)
    await cdp.evaluate(ended % 2)
    assert await cdp.evaluate("[d.scrollTop, scrollX, scrollY]") == [120, 30, 250]


TEXTS = (
    "Hello, World! (a+b)*c = {x: 'y'} \\ | ~ `^ @#$%&_-<>?/",
    "Grüße, 日本語, العربية, 😀👩‍👩‍👧 é ﷽",
    "tab\there",
    "a" * 700,
)


@pytest.mark.parametrize("text", TEXTS, ids=["signs", "unicode", "tab", "long"])
async def test_any_text_arrives_in_a_field(cdp: CDPClient, web: Site, text: str) -> None:
    await show(
        cdp,
        web,
        """<textarea id=t></textarea><script>
        t.onkeydown = (e) => { if (e.key == 'Tab') { e.preventDefault(); t.value += '\\t'; } };
        </script>""",
    )
    await cdp.click(selector="#t")
    await cdp.type(text)
    assert await cdp.evaluate("t.value") == text


async def test_typing_sends_the_keys_of_a_keyboard(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        """<form onsubmit='log.push("submit"); return false'><input id=i></form><script>log = [];
        for (const name of ['keydown', 'keypress', 'input', 'keyup'])
          i.addEventListener(name, (e) => log.push(`${name} ${e.key ?? e.data} ${e.code ?? ''} ${
            e.keyCode ?? ''} ${e.shiftKey ? 'shift' : ''}`.trim()));
        </script>""",
    )
    await cdp.click(selector="#i")
    await cdp.type("A1\n")
    assert await logged(cdp) == [
        "keydown A KeyA 65 shift",
        "keypress A KeyA 65 shift",
        "input A",
        "keyup A KeyA 65 shift",
        "keydown 1 Digit1 49",
        "keypress 1 Digit1 49",
        "input 1",
        "keyup 1 Digit1 49",
        "keydown Enter Enter 13",
        "keypress Enter Enter 13",
        "submit",
        "keyup Enter Enter 13",
    ]


async def test_chords_hold_their_modifiers_in_order(cdp: CDPClient, web: Site) -> None:
    await show(
        cdp,
        web,
        """<script>log = [];
        for (const name of ['keydown', 'keyup'])
          addEventListener(name, (e) => { e.preventDefault(); log.push([name, e.key, e.code,
            e.ctrlKey, e.shiftKey, e.location]); });
        </script>""",
    )
    await cdp.press("Control+Shift+A")
    assert await logged(cdp) == [
        ["keydown", "Control", "ControlLeft", True, False, 1],
        ["keydown", "Shift", "ShiftLeft", True, True, 1],
        ["keydown", "A", "KeyA", True, True, 0],
        ["keyup", "A", "KeyA", True, True, 0],
        ["keyup", "Shift", "ShiftLeft", True, False, 1],
        ["keyup", "Control", "ControlLeft", False, False, 1],
    ]


async def test_editing_keys_edit(cdp: CDPClient, web: Site) -> None:
    await show(cdp, web, "<input id=i value='one two'><input id=j>")
    await cdp.click(selector="#i")
    await cdp.press("End", "Backspace", "Home", "Delete", "ArrowRight", "Shift+End")
    assert await cdp.evaluate("getSelection().toString()") == "e tw"
    await cdp.press("Control+a", "Control+c", "Tab", "Control+v")
    assert await cdp.evaluate("j.value") == "ne tw"
    await cdp.press("ctrl+z")
    assert await cdp.evaluate("j.value") == ""
    with pytest.raises(CDPError, match="'Control\\+Foo' names no key"):
        await cdp.press("Enter", "Control+Foo")


async def test_files_are_chosen_in_a_file_field(cdp: CDPClient, web: Site, tmp_path: Any) -> None:
    (tmp_path / "note.txt").write_text("written")
    await show(cdp, web, "<input type=file id=f>")
    await cdp.set_files("#f", [str(tmp_path / "note.txt")])
    assert await cdp.evaluate("await f.files[0].text()") == "written"
