"""`CDPClient`: everything an agent, a tool or a grader does with the page it drives.

Each verb is a line here and a module of its own; the connection and the tabs are `browser`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hud.capabilities.cdp import elements, keyboard, navigation, pointer, script, settling
from hud.capabilities.cdp.browser import BrowserClient
from hud.capabilities.cdp.elements import Box
from hud.capabilities.cdp.errors import CDPError
from hud.capabilities.cdp.keys import mask, modifiers_of, parse_chord
from hud.capabilities.cdp.link import CALL_TIMEOUT_S
from hud.capabilities.cdp.navigation import Navigation, Wait
from hud.capabilities.cdp.page import Page
from hud.capabilities.cdp.pointer import Button
from hud.capabilities.cdp.screenshot import Format, PageShot, Picture, take
from hud.capabilities.cdp.tree import AccessibilityTree, read_tree

_TEXT = "(limit) => (document.body ?? document.documentElement)?.innerText?.slice(0, limit) ?? ''"
_HTML = "(limit) => document.documentElement?.outerHTML?.slice(0, limit) ?? ''"


class CDPClient(BrowserClient):
    """Drive a browser over the Chrome DevTools Protocol, one tab at a time.

    Coordinates are CSS pixels of the viewport, the same ones `screenshot()` shows. Whatever a
    page does wrong is a `CDPError`; a browser that is gone is a `CapabilityFault`. Every call has
    a time limit. A tab that a page opens is followed; a crashed one is replaced by an empty one.
    """

    # -- where the page is

    async def navigate(
        self, url: str, *, wait: Wait = "load", timeout_s: float = CALL_TIMEOUT_S
    ) -> Navigation:
        """Go to an address; an HTTP error status is a page as any other.

        Raises:
            NavigationError: when nothing can be loaded from there.
            CDPError: when it takes too long; the page may then be loaded in part.
        """
        return await navigation.navigate(await self._page(), url, wait, timeout_s)

    async def back(self, *, wait: Wait = "load", timeout_s: float = CALL_TIMEOUT_S) -> Navigation:
        """Go one page back."""
        return await navigation.go(await self._page(), -1, wait, timeout_s)

    async def forward(
        self, *, wait: Wait = "load", timeout_s: float = CALL_TIMEOUT_S
    ) -> Navigation:
        """Go one page forward."""
        return await navigation.go(await self._page(), 1, wait, timeout_s)

    async def reload(
        self,
        *,
        wait: Wait = "load",
        ignore_cache: bool = False,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Navigation:
        """Load the page again."""
        page = await self._page()
        return await navigation.reload(page, wait, timeout_s, ignore_cache=ignore_cache)

    @property
    def url(self) -> str:
        """The current page's address as last heard, cut to 2,000 characters."""
        return next((tab.url for tab in self._pages.listed() if tab.is_current), "")

    # -- mouse

    async def click(
        self,
        x: float | None = None,
        y: float | None = None,
        *,
        selector: str | None = None,
        node: int | None = None,
        button: Button = "left",
        count: int = 1,
        modifiers: Sequence[str] = (),
    ) -> None:
        """Click at a point, or in the middle of an element, which is scrolled into view.

        Args:
            selector: CSS selector of the element.
            node: The element's number in the accessibility tree.
            count: 2 for a double click, 3 for a triple one.
            modifiers: Keys held meanwhile, such as `Control`.

        Raises:
            CDPError: when the element is not there or cannot be seen.
        """
        page, held = await self._page(), mask(modifiers_of(list(modifiers)))
        point = await _point(page, x, y, selector, node)
        await pointer.click(page, point, button, count, held)

    async def move(
        self,
        x: float | None = None,
        y: float | None = None,
        *,
        selector: str | None = None,
        node: int | None = None,
    ) -> None:
        """Move the pointer to a point, or over an element."""
        page = await self._page()
        await pointer.move(page, await _point(page, x, y, selector, node))

    async def mouse_down(self, x: float, y: float, *, button: Button = "left") -> None:
        """Press a button at a point and keep it held."""
        await pointer.press(await self._page(), (x, y), button)

    async def mouse_up(self, x: float, y: float, *, button: Button = "left") -> None:
        """Let go of a button at a point."""
        await pointer.release(await self._page(), (x, y), button)

    async def drag(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        through: Sequence[tuple[float, float]] = (),
        steps: int = 10,
        modifiers: Sequence[str] = (),
    ) -> None:
        """Drag with the left button from one point to another; drag and drop included.

        Args:
            through: Points to pass on the way.
            steps: Moves from each point to the next.
        """
        held, path = mask(modifiers_of(list(modifiers))), [start, *through, end]
        await pointer.drag(await self._page(), path, min(max(steps, 2), 1_000), held)

    async def scroll(
        self,
        x: float | None = None,
        y: float | None = None,
        *,
        dx: float = 0,
        dy: float = 0,
        modifiers: Sequence[str] = (),
    ) -> None:
        """Turn the mouse wheel over a point (by default, where the pointer is).

        Args:
            dx: Pixels to the right.
            dy: Pixels down.
        """
        page, held = await self._page(), mask(modifiers_of(list(modifiers)))
        point = page.mouse if x is None or y is None else (x, y)
        await pointer.scroll(page, point, dx, dy, held)

    # -- keyboard

    async def type(self, text: str) -> None:
        """Type any text into what has the focus; a line break is the Enter key."""
        await keyboard.type_text(await self._page(), text)

    async def press(self, *chords: str) -> None:
        """Press keys one after another: `press("Control+Shift+A", "Enter")`.

        Raises:
            CDPError: when a name is none of a key.
        """
        parsed = [parse_chord(chord) for chord in chords]
        for chord in parsed:
            await keyboard.press(await self._page(), chord)

    async def hold(self, chord: str, duration_s: float) -> None:
        """Press keys together, and let go of them after `duration_s`.

        Raises:
            CDPError: when a name is none of a key.
        """
        await keyboard.hold(await self._page(), parse_chord(chord), duration_s)

    # -- what there is to see

    async def screenshot(
        self,
        *,
        format: Format = "png",
        quality: int | None = None,
        full_page: bool = False,
        clip: tuple[float, float, float, float] | None = None,
        scale: float = 1.0,
        max_size: tuple[int, int] | None = None,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> PageShot:
        """Return a picture of the viewport; at scale 1 its pixels are what `click` takes.

        The picture is `bytes` that know their size.

        Args:
            quality: 0 to 100, for jpeg and webp.
            full_page: The whole document, to at most 16,384 pixels a side.
            clip: Only this part, as (x, y, width, height).
            scale: Pixels per CSS pixel: divide by it to find the place of a click.
            max_size: Scale down, keeping proportions, to fit this width and height.
        """
        region = None if clip is None else Box(*clip)
        picture = Picture(format, quality, full_page, region, scale, max_size)
        return await take(await self._page(), picture, timeout_s)

    async def accessibility_tree(
        self,
        *,
        max_nodes: int = 1_000,
        max_text: int = 200,
        boxes: bool = True,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> AccessibilityTree:
        """Return what is on the page: roles, names, states, numbers and places."""
        return await read_tree(
            await self._page(),
            max_nodes=max_nodes,
            max_text=max_text,
            boxes=boxes,
            timeout_s=timeout_s,
        )

    async def text(self, *, max_chars: int = 100_000) -> str:
        """Return the text that the page shows, cut to `max_chars`."""
        return str(await script.run_apart(await self._page(), _TEXT, max_chars))

    async def html(self, *, max_chars: int = 1_000_000) -> str:
        """Return the document as it is now, as HTML, cut to `max_chars`."""
        return str(await script.run_apart(await self._page(), _HTML, max_chars))

    async def evaluate(
        self,
        expression: str,
        *,
        await_promise: bool = True,
        timeout_s: float = CALL_TIMEOUT_S,
        max_chars: int = script.RESULT_LIMIT,
    ) -> Any:
        """Evaluate JavaScript in the page and return its value; `await` may be used in it.

        Raises:
            JavaScriptError: when it throws.
            CDPError: when its value is no plain data, is longer than `max_chars` as JSON, or it
                takes too long.
        """
        return await script.evaluate(
            await self._page(),
            expression,
            await_promise=await_promise,
            timeout_s=timeout_s,
            max_chars=max_chars,
        )

    async def wait_for(self, selector: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Wait until an element that matches can be seen, also across a change of the page.

        Raises:
            CDPError: when none comes in time.
        """
        await elements.wait_for(await self._page(), selector, timeout_s)

    async def settle(
        self, *, quiet_s: float = 0.1, timeout_s: float = 2.0, load_timeout_s: float = 10.0
    ) -> None:
        """Wait until the page neither loads nor changes, as after a click.

        Args:
            quiet_s: How long its document must stay as it is.
            timeout_s: How long to wait for that at most.
            load_timeout_s: How long to wait at most for a document that is being loaded.
        """
        await settling.settle(await self._page(), quiet_s, timeout_s, load_timeout_s)

    async def set_files(self, selector: str, paths: Sequence[str]) -> None:
        """Choose files in a file field; the paths are as the browser sees them."""
        page = await self._page()
        named = await elements.object_of(page, selector)
        await page.call("DOM.setFileInputFiles", {**named, "files": list(paths)})

    # -- the window

    async def viewport(self) -> tuple[int, int]:
        """Return width and height of what the page shows, in CSS pixels."""
        return await elements.viewport(await self._page())

    async def set_viewport(self, width: int, height: int, *, pixel_ratio: float = 1.0) -> None:
        """Have the current page shown at this size, for as long as the client is connected."""
        await (await self._page()).call(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width,
                "height": height,
                "deviceScaleFactor": pixel_ratio,
                "mobile": False,
            },
        )

    async def cookies(self) -> list[dict[str, Any]]:
        """Return the cookies that the current page's address gets."""
        return (await (await self._page()).call("Network.getCookies")).get("cookies") or []


async def _point(
    page: Page, x: float | None, y: float | None, selector: str | None, node: int | None
) -> tuple[float, float]:
    given = (x is not None and y is not None) + (selector is not None) + (node is not None)
    if given != 1:
        raise CDPError(
            "it takes one place: x and y, a selector, or a node",
            hint="give exactly one of them",
        )
    if x is not None and y is not None:
        return x, y
    return await elements.point_of(page, selector, node)
