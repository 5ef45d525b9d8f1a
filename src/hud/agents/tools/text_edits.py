"""Edits of text in memory, and how lines are shown to a model: pure, no files.

Files behind a client are `text_files`; the agent's own notes are `memory`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hud.agents.tools.base import ToolError

_CONTEXT_LINES = 4
_LISTED_AT_MOST = 10
_COUNTED_AT_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Edited:
    """A text after an edit, and the lines that are new in it.

    Attributes:
        first, last: 1-based; `last` is before `first` where lines were only taken away.
    """

    text: str
    first: int
    last: int


def lines_of(text: str) -> list[str]:
    """Return a text's lines without their ends; the end of the last line begins no other."""
    lines = text.split("\n")
    last = lines.pop()
    lines = [line.removesuffix("\r") for line in lines]
    return [*lines, last] if last else lines


def line_end(text: str) -> str:
    r"""Return how most lines of a text end: `\n` or `\r\n`."""
    windows = text.count("\r\n")
    return "\r\n" if windows > text.count("\n") - windows else "\n"


def with_line_end(text: str, end: str) -> str:
    """Return a text with all its lines ended that way."""
    return text.replace("\r\n", "\n").replace("\n", end)


def replaced(text: str, old: str, new: str) -> Edited:
    r"""Replace the only place where `old` stands.

    Where nothing matches to the letter, line ends are taken for equal: a model writes `\n` in a
    file of `\r\n` too, and what it writes there gets that file's line ends.

    Raises:
        ToolError: when there is no such place, or more than one, or nothing would change.
    """
    if old == "":
        raise ToolError("the text to replace is empty; insert adds text, create writes a file")
    end = line_end(text)
    if old not in text and "\n" in old:
        old = with_line_end(old, "\r\n" if "\r\n" in text else "\n")
    if end == "\r\n":
        new = with_line_end(new, end)
    if old == new:
        raise ToolError("the text to replace and the new text are the same")
    places = _places(text, old)
    if not places:
        raise ToolError(
            "the text to replace is nowhere in the file: it must match to the letter, blanks and "
            f"indentation included{_nearly(text, old)}"
        )
    first = text.count("\n", 0, places[0]) + 1
    if len(places) > 1:
        lines = [str(text.count("\n", 0, place) + 1) for place in places[:_LISTED_AT_MOST]]
        more = ", …" if len(places) > _LISTED_AT_MOST else ""
        count = f"{len(places)}{' or more' if len(places) == _COUNTED_AT_MOST else ''}"
        raise ToolError(
            f"the text to replace is there {count} times (lines {', '.join(lines)}{more}): "
            "give more of what surrounds the one you mean"
        )
    after = text[: places[0]] + new + text[places[0] + len(old) :]
    return Edited(after, first, first + new.removesuffix("\n").count("\n") - (new == ""))


def inserted(text: str, after_line: int, new: str) -> Edited:
    """Insert whole lines after a line; 0 is before the first.

    Raises:
        ToolError: when there is no such line.
    """
    end = line_end(text)
    kept = kept_lines(text)
    if not 0 <= after_line <= len(kept):
        raise ToolError(f"there is no line {after_line}: the file has {len(kept)} lines")
    new = with_line_end(new, end) if end == "\r\n" else new
    before, behind = "".join(kept[:after_line]), "".join(kept[after_line:])
    if before and not before.endswith("\n"):
        before += end
    if not new.endswith("\n"):
        new += end
    return Edited(before + new + behind, after_line + 1, after_line + new.count("\n"))


def best_match(lines: Sequence[str], wanted: Sequence[str]) -> tuple[int, int]:
    """Return where most of the first wanted lines stand one after another, and how many do.

    The first such place; all wanted lines where that is possible. Takes time in proportion to the
    lines, whatever they are (Knuth, Morris, Pratt 1977), because a model may have written them.
    """
    fallback = [0] * len(wanted)
    length = 0
    for at in range(1, len(wanted)):
        while length and wanted[at] != wanted[length]:
            length = fallback[length - 1]
        length += wanted[at] == wanted[length]
        fallback[at] = length
    place = best = length = 0
    for at, line in enumerate(lines):
        while length and line != wanted[length]:
            length = fallback[length - 1]
        length += line == wanted[length]
        if length > best:
            place, best = at + 1 - length, length
            if best == len(wanted):
                break
    return place, best


def numbered(lines: Sequence[str], first: int = 1) -> str:
    """Return lines with their numbers before them."""
    return "\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first))


def around(edited: Edited) -> str:
    """Return the place of an edit with some lines about it, numbered."""
    lines = lines_of(edited.text)
    start = max(edited.first - 1 - _CONTEXT_LINES, 0)
    stop = max(edited.last, edited.first - 1) + _CONTEXT_LINES
    return numbered(lines[start:stop], start + 1)


def shown(text: str, span: Sequence[int] | None, chars: int) -> str:
    """Return numbered lines, as many as fit into `chars`, with a notice when some are left out.

    Args:
        span: First and last line, 1-based; a last of -1 is the end.

    Raises:
        ToolError: when the file has no such lines.
    """
    lines = lines_of(text)
    first, last = _bounds(span, len(lines))
    if not lines:
        return "(the file is empty)"
    out: list[str] = []
    room = chars
    for number in range(first, last + 1):
        line = f"{number:6}\t{lines[number - 1]}"
        if len(line) + 1 > room:
            break
        out.append(line)
        room -= len(line) + 1
    until = first + len(out) - 1
    if until < last:
        if not out:
            out.append(f"{first:6}\t{lines[first - 1]}"[:chars])
            notice = f"[line {first} of {len(lines)}, its beginning: it has "
            out.append(f"{notice}{len(lines[first - 1])} characters]")
        else:
            out.append(f"[lines {first} to {until} of {len(lines)}; view_range shows others]")
    return "\n".join(out)


def _bounds(span: Sequence[int] | None, count: int) -> tuple[int, int]:
    if span is None:
        return 1, count
    if len(span) != 2:
        raise ToolError("view_range must be two numbers: the first line and the last, or -1")
    first, last = span
    if last == -1 or last > count:
        last = count
    if first < 1 or (first > count and count > 0) or (last < first and count > 0):
        raise ToolError(f"there are no lines {span[0]} to {span[1]}: the file has {count} lines")
    return first, last


def _places(text: str, part: str) -> list[int]:
    """Return where a part begins in a text, overlaps included, up to a number."""
    places: list[int] = []
    at = text.find(part)
    while at != -1 and len(places) < _COUNTED_AT_MOST:
        places.append(at)
        at = text.find(part, at + 1)
    return places


def _nearly(text: str, old: str) -> str:
    """Say where a text stands that differs in blanks at the ends of its lines only."""
    wanted = [line.strip() for line in lines_of(old)]
    there = [line.strip() for line in lines_of(text)]
    if not any(wanted):
        return ""
    place, matched = best_match(there, wanted)
    if matched < len(wanted):
        return ""
    return f"; line {place + 1} and after differ from it in blanks only"


def kept_lines(text: str) -> list[str]:
    r"""Return lines with their ends; only `\n` ends one."""
    lines = [f"{line}\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines
