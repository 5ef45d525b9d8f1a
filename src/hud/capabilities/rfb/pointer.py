"""Where the pointer is and which of its buttons are held, and what moves it.

Pure: it returns the messages. Sending them is `client`'s part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

from hud._core.errors import bounded
from hud.capabilities.rfb import wire
from hud.capabilities.rfb.errors import RFBError

Button = Literal["left", "middle", "right", "back"]
Place = tuple[float, float]

_BUTTONS: dict[str, int] = {"left": 0, "middle": 1, "right": 2, "back": 7}
_UP, _DOWN, _LEFT, _RIGHT = 3, 4, 5, 6
_MAX_NOTCHES = 1000
_STEP_PIXELS = 12


class Pointer:
    """The pointer of one client.

    Attributes:
        x, y: Where it was put last.
        buttons: Which buttons are held, bit 0 being the left one.
    """

    def __init__(self) -> None:
        self.x = 0
        self.y = 0
        self.buttons = 0

    def move(self, place: Place, size: tuple[int, int]) -> bytes:
        """Go to a place on a screen of `size`.

        Raises:
            RFBError: when the place is outside.
        """
        self.x, self.y = _checked(place, size)
        return self._event()

    def press(self, button: str) -> bytes:
        """Hold a button.

        Raises:
            RFBError: when there is no such button.
        """
        self.buttons |= 1 << _bit(button)
        return self._event()

    def release(self, button: str) -> bytes:
        """Let go of a button.

        Raises:
            RFBError: when there is no such button.
        """
        self.buttons &= ~(1 << _bit(button))
        return self._event()

    def click(self, button: str, count: int) -> bytes:
        """Press and release a button `count` times.

        Raises:
            RFBError: when there is no such button, or the count is none.
        """
        if not 1 <= count <= 10:
            raise RFBError(f"cannot click {bounded(count)} times", hint="1 to 10")
        return b"".join(self.press(button) + self.release(button) for _ in range(count))

    def scroll(self, dx: int, dy: int) -> bytes:
        """Turn the wheel by notches, to the right and downwards.

        Raises:
            RFBError: when it is more than anyone turns.
        """
        out = b""
        for notches, less, more in ((dy, _UP, _DOWN), (dx, _LEFT, _RIGHT)):
            if abs(notches) > _MAX_NOTCHES or notches != int(notches):
                raise RFBError(f"cannot scroll by {bounded(notches)} notches of the wheel")
            bit = 1 << (more if notches > 0 else less)
            held = self.buttons
            for _ in range(abs(int(notches))):
                self.buttons = held | bit
                out += self._event()
                self.buttons = held
                out += self._event()
        return out

    def drag(self, path: Sequence[Place], size: tuple[int, int], button: str) -> bytes:
        """Go along a path with a button held, in small steps, as a hand would.

        Raises:
            RFBError: when the path has fewer than two places, or one of them is outside.
        """
        if len(path) < 2:
            raise RFBError("a drag needs at least two places")
        places = [_checked(place, size) for place in path]
        bit = _bit(button)
        out = self.move(places[0], size)
        self.buttons |= 1 << bit
        out += self._event()
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            steps = max(2, math.ceil(math.dist((x0, y0), (x1, y1)) / _STEP_PIXELS))
            for step in range(1, steps + 1):
                part = step / steps
                out += self.move((x0 + (x1 - x0) * part, y0 + (y1 - y0) * part), size)
        self.buttons &= ~(1 << bit)
        return out + self._event()

    def _event(self) -> bytes:
        return wire.pointer_event(self.buttons, self.x, self.y)


def _bit(button: str) -> int:
    found = _BUTTONS.get(button)
    if found is None:
        raise RFBError(f"unknown button {bounded(button)!r}", hint=f"one of {', '.join(_BUTTONS)}")
    return found


def _checked(place: Place, size: tuple[int, int]) -> tuple[int, int]:
    x, y = place
    width, height = size
    if not (0 <= x < width and 0 <= y < height):
        raise RFBError(
            f"{bounded(x)},{bounded(y)} is outside the screen of {width}x{height}",
            hint=f"x from 0 to {width - 1}, y from 0 to {height - 1}",
        )
    return int(x), int(y)
