"""The patch format of OpenAI's models (V4A), read and applied to text: pure, no files.

A patch is `*** Begin Patch` … `*** End Patch` around sections for files; the Responses API hands
over the inside of one section as a diff. A section's hunks begin with `@@`, where lines of context
may follow that say after which line to look, and consist of lines that begin with a blank (kept),
`-` (taken away) or `+` (added). No line numbers: hunks come in the file's order, and each is
looked for after the one before. Format: https://cookbook.openai.com/examples/gpt4-1_prompting_guide
and https://platform.openai.com/docs/guides/tools-apply-patch.

Where the files are is `apply_patch`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hud._core.errors import bounded
from hud.agents.tools.base import ToolError
from hud.agents.tools.text_edits import best_match, kept_lines, line_end

_BEGIN, _END = "*** Begin Patch", "*** End Patch"
_ADD, _DELETE, _UPDATE = "*** Add File: ", "*** Delete File: ", "*** Update File: "
_MOVE, _END_OF_FILE = "*** Move to: ", "*** End of File"
_NO_NEWLINE = "\\ No newline at end of file"
_LINE_NUMBERS = re.compile(r"-\d+(,\d+)? \+\d+(,\d+)? @@.*")
_FENCE = re.compile(r"```\w*|<<-?\s*['\"]?\w+['\"]?|\w*apply_patch\w* <<.*")
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("‘’‚‛", "'")
    | dict.fromkeys("“”„‟", '"')
    | dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\u202f\u205f\u3000", " ")
)
_LIKENESS: tuple[Callable[[str], str], ...] = (
    str,
    str.rstrip,
    str.strip,
    lambda line: line.strip().translate(_TYPOGRAPHY),
)
"""How two lines are compared: to the letter, then ever more loosely."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a file and what becomes of it.

    Attributes:
        anchors: Lines to go past first, in order.
        lines: Pairs of ` `, `-` or `+` and a line.
        at_end: Whether it is the end of the file.
    """

    anchors: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    at_end: bool = False

    @property
    def old(self) -> list[str]:
        return [line for sign, line in self.lines if sign != "+"]

    @property
    def added(self) -> str:
        """The lines it adds, as one text."""
        return "\n".join(line for sign, line in self.lines if sign == "+")


@dataclass(frozen=True, slots=True)
class Change:
    """What a patch does to one file.

    Attributes:
        text: Content of a file that is created.
        move_to: Where an updated file is moved.
    """

    kind: Literal["create", "update", "delete"]
    path: str
    text: str = ""
    hunks: tuple[Hunk, ...] = ()
    move_to: str | None = None


def parse_patch(patch: str) -> list[Change]:
    """Read a patch in its envelope; a code fence or a here-document around it is ignored.

    Raises:
        ToolError: when it is none, with the line that is wrong.
    """
    lines = [line.removesuffix("\r") for line in patch.strip().split("\n")]
    while lines and _FENCE.fullmatch(lines[0].strip()):
        lines.pop(0)
    if not lines or lines[0].rstrip() != _BEGIN:
        raise ToolError(f"a patch begins with the line {_BEGIN!r}, not {_quoted(lines[:1])}")
    end = next((n for n, line in enumerate(lines) if line.rstrip() == _END), None)
    if end is None:
        raise ToolError(f"the patch has no line {_END!r} at its end: was it cut off?")
    changes: list[Change] = []
    at = 1
    while at < end:
        if not lines[at].strip():
            at += 1
            continue
        stop = next((n for n in range(at + 1, end) if _begins_section(lines[n])), end)
        changes.append(_section(lines[at], lines[at + 1 : stop]))
        at = stop
    if not changes:
        raise ToolError("the patch changes no file")
    return changes


def parse_diff(diff: str, *, of: str = "the diff") -> tuple[Hunk, ...]:
    """Read the hunks of one file.

    Args:
        of: What the diff is called in errors.

    Raises:
        ToolError: when a line is none of a diff.
    """
    lines = diff.split("\n")
    if lines[-1] == "":
        lines.pop()
    hunks: list[Hunk] = []
    building = _Building()
    for number, raw in enumerate(lines, 1):
        line = raw.removesuffix("\r")
        if line.startswith("@@"):
            if building.body:
                hunks.append(building.hunk())
                building = _Building()
            anchor = line[2:].removeprefix(" ").rstrip()
            if anchor and not _LINE_NUMBERS.fullmatch(anchor):
                building.anchors.append(anchor)
        elif line.rstrip() == _END_OF_FILE:
            building.at_end = True
        elif line == "":
            building.body.append((" ", ""))
        elif line[0] in " +-":
            building.body.append((line[0], line[1:]))
        elif line != _NO_NEWLINE:
            raise ToolError(
                f"line {number} of {of} begins with none of ' ', '+', '-', '@@': {bounded(line)!r}"
            )
    if building.body or building.anchors:
        hunks.append(building.hunk())
    for number, hunk in enumerate(hunks, 1):
        if all(sign == " " for sign, _ in hunk.lines):
            raise ToolError(f"hunk {number} of {of} adds nothing and takes nothing away")
    return tuple(hunks)


def parse_new_file(diff: str, *, of: str = "the diff") -> str:
    """Return the content of a new file, every line of which is added.

    Raises:
        ToolError: when there is another line.
    """
    lines = [line.removesuffix("\r") for line in diff.split("\n")]
    if lines[-1] == "":
        lines.pop()
    out: list[str] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("+"):
            out.append(line[1:])
        elif line == "":
            out.append("")
        elif not line.startswith("@@") and line.rstrip() not in {_END_OF_FILE, _NO_NEWLINE}:
            raise ToolError(
                f"line {number} of {of} must begin with '+', as the file is new: {bounded(line)!r}"
            )
    return "".join(f"{line}\n" for line in out)


def apply_hunks(text: str, hunks: Sequence[Hunk], *, of: str = "the file") -> str:
    """Return a text with hunks applied; its line ends and its last line's stay what they are.

    Args:
        of: What the file is called in errors.

    Raises:
        ToolError: when a hunk's place is not there, with its number.
    """
    end = line_end(text)
    kept = kept_lines(text)
    is_ended = not kept or kept[-1].endswith("\n")
    if not is_ended:
        kept[-1] += end
    bare = [line.removesuffix("\n").removesuffix("\r") for line in kept]
    out: list[str] = []
    at = 0
    for number, hunk in enumerate(hunks, 1):
        name = f"hunk {number} of {len(hunks)} does not apply to {of}"
        start, hunk = _place(bare, hunk, at, name)
        out += kept[at:start]
        at = start
        for sign, line in hunk.lines:
            if sign == "+":
                out.append(line + end)
                continue
            if sign == " ":
                out.append(kept[at])
            at += 1
    out += kept[at:]
    if out and not is_ended:
        out[-1] = out[-1].removesuffix(end)
    return "".join(out)


@dataclass(slots=True)
class _Building:
    anchors: list[str] = field(default_factory=list[str])
    body: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    at_end: bool = False

    def hunk(self) -> Hunk:
        return Hunk(tuple(self.anchors), tuple(self.body), self.at_end)


def _begins_section(line: str) -> bool:
    return line.startswith((_ADD, _DELETE, _UPDATE))


def _section(head: str, body: list[str]) -> Change:
    """Read the section of one file."""
    for prefix in (_ADD, _DELETE, _UPDATE):
        if head.startswith(prefix):
            path = head.removeprefix(prefix).strip()
            break
    else:
        raise ToolError(
            f"a file's section begins with {_ADD.strip()!r}, {_UPDATE.strip()!r} or "
            f"{_DELETE.strip()!r}, not {bounded(head)!r}"
        )
    of = f"the section of {bounded(path)!r}"
    if not path:
        raise ToolError(f"the line {head!r} names no file")
    if prefix == _DELETE:
        if any(line.strip() for line in body):
            raise ToolError(f"{of} deletes the file, so there can be no further lines in it")
        return Change("delete", path)
    if prefix == _ADD:
        return Change("create", path, text=parse_new_file(_joined(body), of=of))
    move_to = None
    if body and body[0].startswith(_MOVE):
        move_to = body[0].removeprefix(_MOVE).strip()
        body = body[1:]
    hunks = parse_diff(_joined(body), of=of)
    if not hunks and not move_to:
        raise ToolError(f"{of} has no hunk")
    return Change("update", path, hunks=hunks, move_to=move_to or None)


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _place(lines: list[str], hunk: Hunk, at: int, name: str) -> tuple[int, Hunk]:
    """Return where a hunk begins, and the hunk, without a blank line at its end if need be."""
    starts = [at]
    for anchor in hunk.anchors:
        found = _find(lines, [anchor], starts[0])
        if found is not None:
            # The line itself may be the hunk's first context, against the letter of the format.
            starts = [found + 1, found]
        elif _find(lines, [anchor], 0) is None:
            raise ToolError(f"{name}: no line of it is {bounded(anchor)!r}")
    old = hunk.old
    if not old:
        return (len(lines) if hunk.at_end or not hunk.anchors else starts[0]), hunk
    tries = [(hunk, start) for start in starts]
    if hunk.lines[-1] == (" ", "") and len(old) > 1:
        shorter = Hunk(hunk.anchors, hunk.lines[:-1], hunk.at_end)
        tries += [(shorter, start) for start in starts]
    for one, start in tries:
        wanted = one.old
        last = len(lines) - len(wanted)
        if one.at_end and last >= start and _find(lines, wanted, last) is not None:
            return last, one
        found = _find(lines, wanted, start)
        if found is not None:
            return found, one
    raise ToolError(f"{name}: {_why(lines, old, starts[-1], at)}")


def _find(lines: list[str], wanted: list[str], start: int) -> int | None:
    """Return the first place from `start` on where lines stand, compared as strictly as goes."""
    for like in _LIKENESS:
        there, asked = [like(line) for line in lines[start:]], [like(line) for line in wanted]
        place, matched = best_match(there, asked)
        if matched == len(asked):
            return start + place
    return None


def _why(lines: list[str], old: list[str], start: int, at: int) -> str:
    """Say what is wrong with the place of a hunk."""
    found = _find(lines, old, 0)
    if found is not None:
        return (
            f"its lines stand at line {found + 1}, before where it is looked for (line "
            f"{max(start, at) + 1} and after); hunks must be in the file's order"
        )
    place, matched = best_match([line.strip() for line in lines], [line.strip() for line in old])
    if matched == 0:
        return f"the line {bounded(old[0])!r} is not in the file"
    there = lines[place + matched] if place + matched < len(lines) else None
    is_there = "the file ends" if there is None else f"the file has {bounded(there)!r}"
    return f"at line {place + matched + 1} {is_there} where it has {bounded(old[matched])!r}"


def _quoted(lines: list[str]) -> str:
    return repr(bounded(lines[0])) if lines else "nothing"
