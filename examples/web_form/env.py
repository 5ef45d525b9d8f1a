"""Fill in a form in a real browser: the page is served here, the Chromium runs in a sandbox.

The browser reaches the one service that is declared as its peer and nothing else. The grade is
what the form's server received.
"""

from collections.abc import AsyncGenerator

from site_server import Site

from hud import Environment, Run
from hud.capabilities import CDPClient
from hud.environment import Peer
from hud.graders import EvaluationResult, SubScore, combine

env = Environment("sign-up")
site = Site()
env.initialize(site.start)
browser = env.browser(url="http://course:8000/", peers=[Peer("course", 8000, site.address)])
env.shutdown(site.stop)


async def fill_in(run: Run, name: str, age: int, course: str) -> None:
    """Type, choose, tick and send."""
    page = await run.client.open("cdp", CDPClient)
    await page.wait_for("form")
    await page.click(selector="input[name=name]")
    await page.type(name)
    await page.click(selector="input[name=age]")
    await page.type(str(age))
    await page.click(selector="select[name=course]")
    await page.type(course)
    await page.press("Enter")
    await page.click(selector="input[name=terms]")
    await page.click(selector="button")
    await page.wait_for("p")


@env.template(solution=fill_in)
async def sign_up(name: str, age: int, course: str) -> AsyncGenerator[str | EvaluationResult, str]:
    """Sign somebody up for a course."""
    site.sent.clear()
    yield (
        f"The browser shows a form. Sign up {name}, who is {age} years old, for {course}. "
        "Accept the terms."
    )
    sent = site.sent[-1] if site.sent else {}
    wanted = {"name": name, "age": str(age), "course": course, "terms": "yes"}
    yield await combine(
        *(
            SubScore(name=field, weight=0.25, value=float(sent.get(field) == value))
            for field, value in wanted.items()
        )
    )
