"""The built web UI: one page for every address that people open, and the files that it loads.

What is shown comes from agents, so nothing on a page runs but the files built here: no inline
script or style, and no other origin. Building is `scripts/ui`; the pages' sources are in `ui/`.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse

from hud.platform.errors import ApiError, not_found
from hud.platform.identity import caller_of

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).with_name("ui")
"""Where the build puts it."""

PAGES = (
    "/",
    "/jobs",
    "/jobs/{path:path}",
    "/trace/{path:path}",
    "/tasksets",
    "/tasksets/{path:path}",
    "/compare",
    "/environments",
    "/environments/{path:path}",
    "/models",
    "/models/{path:path}",
    "/usage",
    "/settings",
    "/settings/{path:path}",
    "/project/{path:path}",
    "/projects",
    "/projects/{path:path}",
)
"""Every address of the UI, among them those that existing clients print."""

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; font-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)

_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
_TYPES = {".js": "text/javascript", ".css": "text/css", ".woff2": "font/woff2"}
_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:34rem;"
    "margin:18vh auto;padding:0 1.5rem}h1{font-size:1.25rem}"
    "code{font-size:.95em;padding:.15em .4em;border-radius:4px;"
    "background:light-dark(#eceef2,#262a33)}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def page(request: Request) -> Response:
    """Answer every address of the UI with its one page, to whoever is signed in."""
    try:
        caller_of(request)
    except ApiError as error:
        return _refusal(request, error)
    index = _content(FOLDER / "index.html")
    if index is None:
        return _plain(
            503,
            "The web UI is not built yet",
            "This server runs from a checkout. Build the pages once with <code>scripts/ui</code>, "
            "then load this page again; the API answers already.",
        )
    headers = {"Content-Security-Policy": CONTENT_POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(index, headers=headers)


for _path in PAGES:
    router.add_api_route(_path, page, methods=["GET"])


@router.get("/assets/{name}")
def asset(request: Request, name: str) -> Response:
    """Give one file of the build. Its name changes with its content, so it is kept for good."""
    caller_of(request)
    path = FOLDER / "assets" / name
    is_ours = "/" not in name and "\\" not in name and not name.startswith(".")
    content = _content(path) if is_ours else None
    if content is None:
        not_found("file", name)
    headers = {
        "Cache-Control": "private, max-age=31536000, immutable",
        "Vary": "Accept-Encoding",
    }
    accepted = request.headers.get("accept-encoding", "")
    for encoding, suffix in _ENCODINGS:
        if encoding in accepted:
            shorter = _content(path.with_name(name + suffix))
            if shorter is not None:
                content, headers["Content-Encoding"] = shorter, encoding
                break
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0]
    return Response(content, media_type=media_type or "application/octet-stream", headers=headers)


def _refusal(request: Request, error: ApiError) -> Response:
    # The cookie stays away when a link on another site leads here; a step of our own brings it.
    if request.headers.get("sec-fetch-site") == "cross-site":
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return _plain(401, "One moment", "", again=target)
    return _plain(
        401,
        "This browser is not signed in",
        "Run <code>hud platform sign-in</code> on the machine that serves this page (or "
        "<code>hud view</code>, for what was recorded there) and open the link it prints."
        f"<p>{escape(error.message.capitalize())}.</p>",
    )


def _plain(status: int, title: str, body: str, *, again: str | None = None) -> HTMLResponse:
    refresh = "" if again is None else f'<meta http-equiv=refresh content="0;url={escape(again)}">'
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"{refresh}<title>{title} · hud</title><style>{_STYLE}</style>"
        f"<main><h1>{title}</h1><p>{body}</p></main>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(text, status_code=status, headers=headers)


def _content(path: Path) -> bytes | None:
    """Return a file of the build, None when there is none; what is read is remembered."""
    try:
        changed_ns = path.stat().st_mtime_ns
    except (OSError, ValueError):  # a name with a NUL is no file's
        return None
    return _read(path, changed_ns)


@cache
def _read(path: Path, changed_ns: int) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
