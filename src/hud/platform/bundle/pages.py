"""The pages of a bundle: the built web UI, told that it stands alone.

A static host sends no headers of ours, so the content policy stands in the page itself: whatever a
trace holds, nothing runs but the files of the build.
"""

from __future__ import annotations

from html import escape

from hud._core.errors import InputError
from hud.platform.assets import CONTENT_POLICY, FOLDER
from hud.platform.bundle.folder import Folder

_IN_HEADERS_ONLY = "frame-ancestors"
_COMPRESSED = (".br", ".gz")
_FIRST = '<meta charset="utf-8" />'
_ROOT = '<div id="root"></div>'
_UNSERVED = (
    '<div id="root"><p class="unserved">These pages have to be served: run '
    "<code>python3 -m http.server</code> in this folder and open "
    "<code>http://localhost:8000</code>, or put the folder on any static host.</p></div>"
)


def write_pages(folder: Folder, job_id: str) -> None:
    """Write the page and what it loads.

    Raises:
        InputError: when the web UI is not built.
    """
    try:
        index = (FOLDER / "index.html").read_text()
        assets = sorted((FOLDER / "assets").iterdir())
    except OSError as error:
        raise InputError(
            "the web UI is not built, and a bundle consists of it",
            hint="in a checkout, scripts/ui builds it",
        ) from error
    folder.write("index.html", _page(index, job_id).encode())
    for path in assets:
        if path.suffix not in _COMPRESSED:
            folder.write(f"assets/{path.name}", path.read_bytes())


def _page(index: str, job_id: str) -> str:
    rules = [rule.strip() for rule in CONTENT_POLICY.split(";")]
    policy = "; ".join(rule for rule in rules if not rule.startswith(_IN_HEADERS_ONLY))
    # The policy binds what comes after it, so it comes first.
    told = (
        f'{_FIRST}\n    <meta http-equiv="Content-Security-Policy" content="{policy}" />\n'
        '    <meta name="referrer" content="no-referrer" />\n'
        f'    <meta name="hud-bundle" content="{escape(job_id)}" />'
    )
    page = index.replace('"/assets/', '"./assets/')
    return page.replace(_FIRST, told, 1).replace(_ROOT, _UNSERVED, 1)
