"""Write release notes from a list of changes: a shell, a subagent, a judge and a tree of grades."""

from collections.abc import AsyncGenerator
from pathlib import Path

from hud import Environment
from hud.graders import EvaluationResult, LLMJudgeGrader, SubScore, combine, combine_all
from hud.sandbox.files import UnsafePath

env = Environment("release-notes")
shell = env.workspace(files=Path(__file__).with_name("project"), python=True, track_files=True)

CRITERIA = (
    "It names every change that breaks something.",
    "It says what a user has to do about each of them.",
    ("It invents nothing that is not in CHANGES.txt.", 2.0),
)


@env.template()
async def notes(package: str, audience: str) -> AsyncGenerator[str | EvaluationResult, str]:
    """Write notes.md for one package."""
    answer = yield (
        f"CHANGES.txt lists what changed in `{package}` since the last release. Write notes.md for "
        f"{audience}: at most 120 words, breaking changes first, every issue number kept.\n\n"
        "When it is done, answer with the text of notes.md."
    )
    try:
        written = shell.read_text("notes.md", max_bytes=20_000)
    except (FileNotFoundError, UnsafePath):
        written = ""
    words = len(written.split())
    issues = [f"#{number}" for number in (412, 418, 431)]
    kept = [issue for issue in issues if issue in written]
    yield await combine(
        LLMJudgeGrader.grade(
            weight=0.5,
            name="reads well",
            answer=answer,
            criteria=CRITERIA,
            question=f"Release notes of {package}",
        ),
        combine_all(
            0.3,
            [
                SubScore(name="there at all", value=float(bool(written))),
                SubScore(name="short enough", value=float(0 < words <= 120), info={"words": words}),
                SubScore(name="breaking first", value=float("reaking" in written[:200])),
            ],
            name="form",
        ),
        SubScore(
            name="issues kept",
            weight=0.2,
            value=len(kept) / len(issues),
            info={"found": kept, "reason": f"{len(kept)} of {len(issues)} issue numbers kept"},
        ),
    )


tasks = [
    notes(package=package, audience=audience).model_copy(update={"slug": f"notes-{package}"})
    for package, audience in (
        ("calendar", "people who plan meetings"),
        ("currency", "accountants"),
        ("parser", "developers"),
        ("search", "librarians"),
    )
]
