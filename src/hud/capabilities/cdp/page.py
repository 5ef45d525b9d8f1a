"""One page the client is attached to: its calls, and what its events have told of it.

Which page is driven is decided in `pages`; what can be done with a page stands in the modules
named after it (`navigation`, `pointer`, `screenshot`, …), as functions over this class.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Connection, Params
from hud.capabilities.cdp.dialogs import Dialog, DialogPolicy, accepts, dialog_of
from hud.capabilities.cdp.errors import CDPError, DialogOpen, PageGone
from hud.capabilities.cdp.link import CALL_TIMEOUT_S, Link

TEXT_LIMIT = 2_000
_ANSWER = "Page.handleJavaScriptDialog"


class Page:
    """A page target with a session of its own.

    Attributes:
        target_id: The browser's id of the tab.
        opener_id: The tab that opened it, or None.
        url: Address of the document it shows; title: its title, cut to 2,000 characters.
        loader_id: Id of the load that made the present document, or None before the first.
        loaders: The last loads that made a document here.
        reached: Names of the lifecycle events of that load that have come.
        moves: How often its main document changed or moved within itself.
        is_loading: Whether its main document is being asked for or is still loading.
        is_leaving: Whether another document has been asked for and has not come yet.
        dialog: The dialog that is open, or None.
        has_crashed: Whether it is gone because it crashed.
        is_told: Whether somebody who asked something of it has been told that it is gone.
        mouse: Where the pointer stands, in CSS pixels.
        buttons: Bits of the mouse buttons that are held.
        view: Pixel ratio and layout as last asked for: a page that is leaving answers neither.
        dragged: What is being dragged and dropped at present, as the browser describes it.
    """

    def __init__(self, link: Link, connection: Connection, session_id: str, target_id: str) -> None:
        self._link = link
        self._connection = connection
        self.session_id = session_id
        self.target_id = target_id
        self.opener_id: str | None = None
        self.url = ""
        self.title = ""
        self.frame_id = target_id
        self.loader_id: str | None = None
        self.loaders: deque[str] = deque(maxlen=100)
        self.reached: set[str] = set()
        self.moves = 0
        self.is_loading = False
        self.is_leaving = False
        self.dialog: Dialog | None = None
        self.mouse = (0.0, 0.0)
        self.buttons = 0
        self.view: tuple[float, Params] | None = None
        self.dragged: Params | None = None
        self.is_told = False
        self.has_crashed = False
        self._gone: str | None = None
        self._ready: asyncio.Future[Params] | None = None
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_gone(self) -> bool:
        """Whether it was closed, crashed, or belongs to a connection that has ended."""
        return self._gone is not None or self._connection.lost.done()

    @property
    def gone_because(self) -> str:
        """Why it is gone."""
        return self._gone or "the browser's connection ended"

    @property
    def is_lost(self) -> bool:
        return self._connection.lost.done()

    def begin(self) -> None:
        """Have the browser tell what happens in the page, and let a page that waits go on."""
        self.post("Page.enable")
        self.post("Page.setLifecycleEventsEnabled", {"enabled": True})
        self.post("DOM.enable")
        self._ready = self.post("Runtime.runIfWaitingForDebugger")

    async def ready(self) -> None:
        """Wait until what was true of the page before it was attached is known."""
        if self._ready is not None and not self._ready.done():
            with contextlib.suppress(PageGone, DialogOpen):
                await self._link.result(self._connection, self._ready, CALL_TIMEOUT_S)

    def post(self, method: str, params: Params | None = None) -> asyncio.Future[Params]:
        """Send a call without waiting for its reply."""
        return self._connection.post(method, params, self.session_id)

    async def call(
        self, method: str, params: Params | None = None, *, timeout_s: float = CALL_TIMEOUT_S
    ) -> Params:
        """Call a method in this page's session.

        Raises:
            CDPError: when it is refused or takes too long; `DialogOpen` while a dialog is open,
                `PageGone` when the tab closes or crashes.
            CapabilityFault: when the browser is gone.
        """
        self._check(method)
        return await self._link.result(self._connection, self.post(method, params), timeout_s)

    async def call_all(
        self, calls: Sequence[tuple[str, Params]], *, timeout_s: float = CALL_TIMEOUT_S
    ) -> list[Params | CDPError]:
        """Send calls together, in order, and return each one's result or error."""
        self._check("")
        replies = [self.post(method, params) for method, params in calls]
        done: list[Params | CDPError] = []
        for reply in replies:
            try:
                done.append(await self._link.result(self._connection, reply, timeout_s))
            except (DialogOpen, PageGone):
                raise
            except CDPError as error:
                if self.is_lost:
                    raise
                done.append(error)
        return done

    async def until(self, holds: Callable[[], bool], timeout_s: float, late: str) -> None:
        """Wait until `holds()`, which is asked whenever an event has changed this page.

        Raises:
            CDPError: when the time is up, saying `late`, or when the page is gone.
        """
        await self._link.result(self._connection, self._until(holds, timeout_s, late), math.inf)

    async def _until(self, holds: Callable[[], bool], timeout_s: float, late: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    self._check("")
                    await self._connection.unless_lost(self._changed)
        except TimeoutError:
            raise CDPError(late) from None

    def _check(self, method: str) -> None:
        if self._gone is not None:
            self.is_told = True
            raise PageGone(self._gone)
        if self.dialog is not None and method != _ANSWER:
            raise self._dialog_open()

    def _dialog_open(self) -> DialogOpen:
        dialog = self.dialog
        said = f"{dialog.kind} dialog {bounded(dialog.message, 200)!r}" if dialog else "dialog"
        return DialogOpen(
            f"the page waits in its {said}", hint="answer it first: accept it or dismiss it"
        )

    def end(self, reason: str, *, crashed: bool = False) -> None:
        """Mark it as gone and fail whatever it is still asked."""
        if self._gone is None:
            self._gone, self.has_crashed = reason, crashed
            failing = self._connection.fail_session(self.session_id, lambda: PageGone(reason))
            self.is_told = failing > 0
            self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        if not changed.done():
            changed.set_result(None)

    def told(self, info: Params) -> None:
        """Take over what a target's description says."""
        self.url = bounded(str(info.get("url") or ""), TEXT_LIMIT)
        self.title = bounded(str(info.get("title") or ""), TEXT_LIMIT)

    def on_event(self, method: str, params: dict[str, Any]) -> None:
        """Take over what an event of the page's session says."""
        match method:
            case "Page.lifecycleEvent":
                self._on_lifecycle(params)
            case "Page.frameNavigated":
                self._on_navigated(params)
            case "Page.navigatedWithinDocument" if params["frameId"] == self.frame_id:
                self.url = bounded(str(params["url"]), TEXT_LIMIT)
                self.moves += 1
                self.is_leaving = False
            case "Page.frameStartedLoading" if params["frameId"] == self.frame_id:
                self.is_loading = True
            case "Page.frameStoppedLoading" if params["frameId"] == self.frame_id:
                self.is_loading = self.is_leaving = False
            case "Page.frameStartedNavigating" if params["frameId"] == self.frame_id:
                self.is_leaving = True
            case "Input.dragIntercepted":
                self.dragged = params["data"]
            case "Page.javascriptDialogClosed":
                self.dialog = None
            case _:
                return
        self._notify()

    def _on_lifecycle(self, params: dict[str, Any]) -> None:
        if params["frameId"] != self.frame_id:
            return
        self._on_loader(str(params["loaderId"]))
        self.reached.add(str(params["name"]))

    def _on_navigated(self, params: dict[str, Any]) -> None:
        frame = params["frame"]
        if frame.get("parentId"):
            return
        self.frame_id = str(frame["id"])
        self.url = bounded(f"{frame['url']}{frame.get('urlFragment', '')}", TEXT_LIMIT)
        self.moves += 1
        self.is_leaving = False
        self._on_loader(str(frame["loaderId"]))
        if params.get("type") == "BackForwardCacheRestore":
            self.reached |= {"DOMContentLoaded", "load"}

    def _on_loader(self, loader_id: str) -> None:
        if loader_id != self.loader_id:
            self.loader_id = loader_id
            self.loaders.append(loader_id)
            self.reached = set()

    def on_dialog(self, params: dict[str, Any], policy: DialogPolicy) -> Dialog:
        """Answer a dialog that has opened as `policy` says, or keep it open; return it."""
        dialog = dialog_of(params)
        if policy == "manual":
            self.dialog = dialog
            self._connection.fail_session(self.session_id, self._dialog_open, sparing=_ANSWER)
            self._notify()
        else:
            dialog.accepted = accepts(policy, dialog)
            answer: Params = {"accept": dialog.accepted}
            if dialog.accepted and dialog.kind == "prompt":
                answer["promptText"] = dialog.default_text
            self.post(_ANSWER, answer)
        return dialog

    async def answer_dialog(self, accept: bool, text: str | None) -> Dialog:
        """Answer the dialog that is open.

        Raises:
            CDPError: when none is.
        """
        dialog = self.dialog
        if dialog is None:
            raise CDPError("no dialog is open on this page")
        answer: Params = {"accept": accept}
        if text is not None:
            answer["promptText"] = text
        await self.call(_ANSWER, answer)
        dialog.accepted, self.dialog = accept, None
        return dialog
