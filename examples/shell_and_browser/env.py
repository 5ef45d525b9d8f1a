"""Use a shell and a browser together: serve a page from the one, look at it in the other.

Both run in the same sandbox, so what listens on its loopback is `localhost` to both, and neither
reaches anything else. The grade is what the agent wrote into the workspace.
"""

from collections.abc import AsyncGenerator
from pathlib import Path

from hud import Environment, Run
from hud.capabilities import CDPClient, SSHClient
from hud.sandbox.files import UnsafePath

env = Environment("receipts")
shell = env.workspace(files=Path(__file__).with_name("project"))
browser = env.browser(workspace=shell)


def receipts(seed: int) -> list[tuple[str, int]]:
    """Return days and cents; what was bought on Sundays does not count."""
    days = ("Mon", "Wed", "Sun", "Sat")
    return [(days[n % 4], (seed * 7919 + n * 104_729) % 10_000) for n in range(12)]


async def look(run: Run, seed: int) -> None:
    """Start a server in the background, read the page it serves, write down what it says."""
    ssh = await run.client.open("ssh", SSHClient)
    page = await run.client.open("cdp", CDPClient)
    listening = "import socket; socket.create_connection(('localhost', 8000))"
    await ssh.execute(
        "python3 -m http.server 8000 >/dev/null 2>&1 & "
        f'until python3 -c "{listening}" 2>/dev/null; do sleep 0.05; done',
        timeout_s=30,
    )
    await page.navigate("http://localhost:8000/")
    counted = "document.querySelector('#total').value"
    total = await page.evaluate(
        f"new Promise(done => {{ const look = () => /^[0-9]+$/.test({counted}) "
        f"? done({counted}) : setTimeout(look, 20); look(); }})"
    )
    await ssh.write_text("total.txt", total)


@env.template(solution=look)
async def add_up(seed: int) -> AsyncGenerator[str | float, str]:
    """Have a page add up receipts that only it knows how to add."""
    rows = receipts(seed)
    lines = [f"{day};{cents / 100:.2f}" for day, cents in rows]
    shell.write_text("receipts.csv", "\n".join(["day;sum", *lines]) + "\n")
    yield (
        "Serve this folder with `python3 -m http.server 8000`, open http://localhost:8000/ in the "
        "browser, and write the total it shows into total.txt."
    )
    total = sum(cents for day, cents in rows if day != "Sun")
    try:
        yield float(shell.read_text("total.txt", max_bytes=100).strip() == str(total))
    except (FileNotFoundError, UnsafePath):
        yield 0.0
