"""A model double that writes release notes, now well, now badly, reviews them, and judges them."""

from __future__ import annotations

import re
from collections import Counter

from hud._core import json
from hud.agents.claude import ClaudeAgent
from hud.agents.tools import subagent
from hud.agents.types import ClaudeConfig
from hud.testing.model_server import ApiError, Call, Question, Reply, Say

GOOD = """## Breaking

- `open()` takes a path only (#412). Wrap a text in `io.StringIO` before you pass it.
- Python 3.9 is not supported any more (#431). Upgrade to 3.10 or newer.

## Better

- Errors name the line and the column (#425).
- A trailing comma in a list is read as what it is (#418).
- Files that begin with a byte order mark can be read (#433).
"""
FAIR = """## What is new

- Errors name the line and the column (#425), and trailing commas are fine (#418).
- Breaking: `open()` takes a path only (#412).
"""
POOR = "A faster and better release. Upgrade today!\n"

NOW_AND_THEN = (GOOD, FAIR, GOOD, POOR, GOOD, FAIR)
MOSTLY = (GOOD, GOOD, FAIR, GOOD, GOOD, GOOD)
_PLAN = re.compile(r"Draft (\d+)")
_QUESTION = "Which of these changes would break a program that works today?"


class Writers:
    """One rule for all of them; which draft a conversation writes follows from its number.

    Args:
        drafts: What each conversation about a package writes, in turn.
        dies_at: Those at which the model's API fails, by package and number.
    """

    def __init__(
        self, drafts: tuple[str, ...] = MOSTLY, dies_at: dict[str, set[int]] | None = None
    ) -> None:
        self._begun: Counter[str] = Counter()
        self._dies_at = dies_at or {}
        self._drafts = drafts

    def __call__(self, question: Question) -> Reply:
        if question.system.startswith("You check one criterion"):
            return _verdict(question)
        prompt = question.turns[0].text
        if prompt.startswith("Review"):
            return _review(question)
        if question.turn == 0:
            return self._begin(prompt)
        said = " ".join(turn.text for turn in question.turns if turn.role == "assistant")
        found = _PLAN.search(said)
        number = int(found[1]) if found else 1
        return _write(question, self._drafts[(number - 1) % len(self._drafts)])

    def _begin(self, prompt: str) -> Reply:
        package = prompt.split("`")[1]
        self._begun[package] += 1
        number = self._begun[package]
        if number in self._dies_at.get(package, ()):
            return ApiError(529, "Overloaded: the test provider has had enough of this")
        return Say(
            f"Draft {number} for `{package}`. First I look at what is there.",
            [Call("bash", {"command": "ls -la --color=always\ncat CHANGES.txt"})],
            reasoning=(
                "The notes have a limit of 120 words, and what breaks has to come first. So I have "
                "to know which of the changes break something, and which of them nobody outside "
                "will notice: an internal change has no place in the notes of a release.\n\n"
                "CHANGES.txt is the only source. I read it before I write anything, then I have "
                "the draft looked at by somebody who has not seen this conversation, and only "
                "then do I check that every number is kept."
            ),
            prompt_tokens=2_140,
            completion_tokens=187,
        )


def with_reviewer(config: ClaudeConfig) -> ClaudeAgent:
    """Return a writer who can ask somebody to look a draft over."""
    reviewer = subagent(
        ClaudeAgent(config),
        name="reviewer",
        description="Somebody who has not seen this conversation and reads carefully.",
    )
    return ClaudeAgent(config, tools=[reviewer])


def _write(question: Question, draft: str) -> Reply:
    used = 2_140 + 610 * question.turn
    match question.turn:
        case 1:
            return Say(
                "Two changes break something. I write them first.",
                [
                    Call(
                        "str_replace_based_edit_tool",
                        {"command": "create", "path": "notes.md", "file_text": draft},
                    )
                ],
                completion_tokens=214,
                prompt_tokens=used,
                cached_tokens=1_900,
            )
        case 2:
            task = f"Review notes.md against CHANGES.txt. {_QUESTION}"
            return Say(
                "",
                [Call("reviewer", {"task": task})],
                completion_tokens=58,
                prompt_tokens=used,
                cached_tokens=1_900,
            )
        case 3:
            check = Call("bash", {"command": "python check.py"})
            return Say("", [check], completion_tokens=31, prompt_tokens=used, cached_tokens=1_900)
        case 4 if draft == FAIR:
            edit = {
                "command": "str_replace",
                "path": "notes.md",
                "old_str": "- Breaking: `open()` takes a path only (#412).",
                "new_str": "- Breaking: `open()` takes a path only (#412), no text any more.",
            }
            return Say(
                "One line says too little.",
                [Call("str_replace_based_edit_tool", edit)],
                reasoning="a reader would ask what else it took",
                completion_tokens=96,
                prompt_tokens=used,
                cached_tokens=1_900,
            )
        case _:
            text = draft.replace("(#412).", "(#412), no text any more.") if draft == FAIR else draft
            return Say(text, completion_tokens=160, prompt_tokens=used, cached_tokens=1_900)


def _review(question: Question) -> Reply:
    if question.turn == 0:
        return Say(
            "I compare the two files.",
            [Call("bash", {"command": "grep -n breaking CHANGES.txt; echo ---; cat notes.md"})],
            prompt_tokens=640,
            completion_tokens=44,
        )
    said = "\n".join(result.text for result in question.last_results)
    is_whole = "#412" in said.partition("---")[2] and "#431" in said.partition("---")[2]
    verdict = "Both breaking changes are named." if is_whole else "A breaking change is missing."
    return Say(verdict, prompt_tokens=910, completion_tokens=22)


def _verdict(question: Question) -> Reply:
    asked = question.turns[-1].text
    answer = asked.partition("<answer")[2]
    if "names every change" in asked:
        is_met, why = "#412" in answer and "#431" in answer, "Both #412 and #431 are needed."
    elif "has to do" in asked:
        is_met, why = "Wrap" in answer, "A user is told to wrap texts in io.StringIO, or is not."
    else:
        is_met, why = "faster" not in answer, "Nothing in CHANGES.txt says anything about speed."
    verdict = {"criterion_status": "MET" if is_met else "UNMET", "explanation": why}
    return Say(json.encode(verdict).decode(), prompt_tokens=420, completion_tokens=38)
