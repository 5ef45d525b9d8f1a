"""What a model double sees on a picture: the fields of a form, and the largest white area."""

from __future__ import annotations

import io
from typing import Any

from hud.testing.model_server import Question
from tests.e2e.harness.hands import Place, Size

# What Chromium draws around a form's fields, and how much a pixel may differ from it.
_BORDER, _NEAR = (118, 118, 118), 46
_SMALLEST, _TALLEST = 10, 40


def last_picture(question: Question) -> Any:
    """Return the newest picture of a conversation, None where there is none."""
    from PIL import Image

    for turn in reversed(question.turns):
        shown = [*turn.images, *(image for result in turn.results for image in result.images)]
        if shown:
            return Image.open(io.BytesIO(shown[-1].data)).convert("RGB")
    return None


def size_of(picture: Any) -> Size:
    """Return the size of a picture; of none, something."""
    return (1000, 1000) if picture is None else picture.size


def fields(picture: Any) -> list[Place]:
    """Return the middles of the fields and buttons of a form, in reading order of one line."""
    found: list[Place] = []
    for left, top, right, bottom in _outlines(_mask(picture, _BORDER, _NEAR)):
        found.append(((left + right) // 2, (top + bottom) // 2))
    return sorted(found)


def white_area(picture: Any) -> Place | None:
    """Return the middle of what is white, None where nothing is."""
    box = _mask(picture, (255, 255, 255), 0).getbbox()
    return None if box is None else ((box[0] + box[2]) // 2, (box[1] + box[3]) // 2)


def _mask(picture: Any, colour: tuple[int, int, int], near: int) -> Any:
    """Return a picture that is white where the other has about this colour."""
    from PIL import Image, ImageChops

    apart: Any = ImageChops.difference(picture, Image.new("RGB", picture.size, colour))
    table = [255 if value <= near else 0 for value in range(256)]
    red, green, blue = (band.point(table) for band in apart.split())
    return ImageChops.darker(ImageChops.darker(red, green), blue)


def _outlines(mask: Any) -> list[tuple[int, int, int, int]]:
    """Return the boxes of what is drawn around: its upper edge is a line, and it is not a letter's.

    Pixels that touch belong together.
    """
    width = mask.size[0]
    data = mask.tobytes()
    left: set[Place] = set()
    at = data.find(b"\xff")
    while at >= 0:
        left.add((at % width, at // width))
        at = data.find(b"\xff", at + 1)
    boxes: list[tuple[int, int, int, int]] = []
    while left:
        piece = _piece(left)
        xs, ys = [x for x, _ in piece], [y for _, y in piece]
        box = min(xs), min(ys), max(xs) + 1, max(ys) + 1
        wide, tall = box[2] - box[0], box[3] - box[1]
        edge = sum(y == box[1] for _, y in piece)
        if wide >= _SMALLEST and _SMALLEST <= tall <= _TALLEST and edge >= 0.6 * wide:
            boxes.append(box)
    return boxes


def _piece(left: set[Place]) -> list[Place]:
    """Take one connected piece out of a set of pixels."""
    piece = [left.pop()]
    for x, y in piece:
        for place in ((x + dx, y + dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
            if place in left:
                left.remove(place)
                piece.append(place)
    return piece
