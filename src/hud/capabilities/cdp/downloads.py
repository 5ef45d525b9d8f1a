"""Files the browser downloads: where they go, which there are, and waiting for the next one.

Paths are the browser's own: inside a sandbox they are the sandbox's.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal

from hud._core.errors import bounded
from hud.capabilities.cdp.connection import Connection, Params
from hud.capabilities.cdp.errors import CDPError

KEPT = 1_000
_TEXT_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Download:
    """One file that is, was or was not downloaded.

    Attributes:
        id: The browser's number for it.
        url: Where it came from, cut to 2,000 characters.
        filename: The name its server or page suggested; anything may stand in it.
        state: `inProgress`, `completed` or `canceled`.
        received_bytes: How much of it has come.
        total_bytes: How much there is, 0 when unknown.
        path: Where it lies as the browser sees it, once completed and known.
    """

    id: str
    url: str
    filename: str
    state: Literal["inProgress", "completed", "canceled"] = "inProgress"
    received_bytes: int = 0
    total_bytes: int = 0
    path: str | None = None


class Downloads:
    """What the browser has told of downloads since the client connected."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self._held: OrderedDict[str, Download] = OrderedDict()
        self._told: set[str] = set()
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def setting(self) -> Params:
        """Return the parameters of `Browser.setDownloadBehavior`."""
        if self.folder is None:
            return {"behavior": "default", "eventsEnabled": True}
        return {"behavior": "allow", "downloadPath": self.folder, "eventsEnabled": True}

    def listed(self) -> list[Download]:
        """Return the last 1,000 downloads, oldest first."""
        return list(self._held.values())

    def on_event(self, method: str, params: Params) -> None:
        if method == "Browser.downloadWillBegin":
            self._put(
                Download(
                    str(params["guid"]),
                    bounded(str(params["url"]), _TEXT_LIMIT),
                    bounded(str(params["suggestedFilename"]), _TEXT_LIMIT),
                )
            )
        elif method == "Browser.downloadProgress" and params["guid"] in self._held:
            held = self._held[params["guid"]]
            state = params["state"]
            path = params.get("filePath")
            if not path and state == "completed" and self.folder is not None:
                path = posixpath.join(self.folder, posixpath.basename(held.filename))
            self._put(
                replace(
                    held,
                    state=state,
                    received_bytes=int(params.get("receivedBytes") or 0),
                    total_bytes=int(params.get("totalBytes") or 0),
                    path=str(path) if path and state == "completed" else None,
                )
            )

    def _put(self, download: Download) -> None:
        self._held[download.id] = download
        while len(self._held) > KEPT:
            old, _ = self._held.popitem(last=False)
            self._told.discard(old)
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        changed.set_result(None)

    async def next(self, connection: Connection) -> Download:
        """Return the oldest finished download that was not returned before.

        Raises:
            CDPError: when it was cancelled or failed.
            ConnectionLost: when the connection ends first.
        """
        while True:
            for download in self._held.values():
                if download.id not in self._told and download.state != "inProgress":
                    self._told.add(download.id)
                    if download.state == "canceled":
                        raise CDPError(f"the download of {bounded(download.url)} did not finish")
                    return download
            await connection.unless_lost(self._changed)
