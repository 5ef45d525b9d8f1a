"""`hud set`: keep settings for every later command."""

from __future__ import annotations

from typing import Annotated

import typer

from hud.cli.boundary import AsJson, Verbosity, guarded, usage_error
from hud.cli.streams import note, write_json


@guarded
def command(
    assignments: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE…", help="For example OPENAI_API_KEY=…")
    ],
    as_json: AsJson = False,
    verbose: Verbosity = 0,
) -> None:
    """Keep settings, such as provider keys, in the .env file under HUD_HOME.

    They are read by every later command; a variable of the process environment wins over them.
    """
    from hud._core.settings import save_setting

    settings: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            # The text may be a key pasted by mistake: it is not repeated.
            usage_error("an argument is no KEY=VALUE", hint="for example: hud set OPENAI_API_KEY=…")
        settings[name.strip()] = value
    path = save_setting(settings)
    if as_json:
        write_json({"path": str(path), "saved": list(settings)})
    else:
        note(f"saved {', '.join(settings)} in {path}")
