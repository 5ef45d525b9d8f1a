"""Type a note in a desktop editor: X server, window manager and editor run in a sandbox.

The desktop shares the workspace's sandbox, so what the editor saves is the workspace's file, and
the grade is what it says.
"""

from collections.abc import AsyncGenerator

from hud import Environment, Run
from hud.capabilities import RFBClient, SSHClient
from hud.sandbox.files import UnsafePath

env = Environment("note")
shell = env.workspace()
screen = env.desktop(workspace=shell, programs=["mousepad note.txt"])


async def write(run: Run, text: str) -> None:
    """Type the text, save it, and wait until the file is there."""
    screen = await run.client.open("rfb", RFBClient)
    await screen.screenshot()
    await screen.type(text)
    await screen.wait_for_change()
    await screen.press("ctrl+s")
    ssh = await run.client.open("ssh", SSHClient)
    await ssh.execute("until test -s note.txt; do sleep 0.05; done", timeout_s=20)


@env.template(solution=write)
async def note(text: str) -> AsyncGenerator[str | float, str]:
    """Write something down in an editor."""
    yield f"An editor is open on the screen. Type this, exactly, and save it with Ctrl+S: {text}"
    try:
        yield float(shell.read_text("note.txt").strip() == text)
    except (FileNotFoundError, UnsafePath):
        yield 0.0
