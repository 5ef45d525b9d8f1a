"""The seam of screens: what can be done by pixel on a desktop or a page, whatever the model.

Implementations are `screen_desktop` (rfb) and `screen_page` (cdp); how a model spells an action
is the computer tools' part.
"""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hud._core.errors import Fault, HudError, bounded
from hud.agents.tools.base import ToolError

if TYPE_CHECKING:
    from hud.agents.tools.key_names import Chord
    from hud.capabilities.screenshots import ScreenshotEncoding

Size = tuple[int, int]
Place = tuple[int, int]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are the first pixels outside."""

Button = Literal["left", "middle", "right", "back", "forward"]

NOTCH = 100
"""Pixels that one notch of the wheel scrolls."""

MAX_SCROLL = 100_000

MAX_ZOOM = 4.0
"""Pixels, at most, that a pixel of the screen takes on a picture of a part of it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest picture a model sees well.

    Attributes:
        max_side: Pixels of the longer side.
        max_pixels: Width times height.
    """

    max_side: int = 1568
    max_pixels: int = 1_150_000

    def fit(self, size: Size) -> Size:
        """Return the largest size of the same proportions that is within the limits."""
        width, height = size
        factor = min(1.0, self.max_side / max(size), math.sqrt(self.max_pixels / (width * height)))
        return max(1, math.floor(width * factor)), max(1, math.floor(height * factor))


@dataclass(frozen=True, slots=True)
class Viewport:
    """How a picture lies on the screen it shows.

    Attributes:
        picture: Size of the picture in its pixels.
        screen: Size of what it shows, in the screen's.
    """

    picture: Size
    screen: Size

    def to_screen(self, x: float, y: float) -> Place:
        """Return the pixel of the screen in the middle of a pixel of the picture.

        Raises:
            ToolError: when the place is outside the picture.
        """
        width, height = self.picture
        if not (0 <= x < width and 0 <= y < height):
            raise ToolError(
                f"{_shown(x)},{_shown(y)} is outside the picture, which is {width}x{height} "
                f"pixels: x goes from 0 to {width - 1}, y from 0 to {height - 1}"
            )
        return (
            (2 * int(x) + 1) * self.screen[0] // (2 * width),
            (2 * int(y) + 1) * self.screen[1] // (2 * height),
        )

    def to_picture(self, place: Place) -> Place:
        """Return the pixel of the picture that shows a pixel of the screen."""
        return tuple(  # pyright: ignore[reportReturnType] -- of two
            min((2 * at + 1) * picture // (2 * screen), picture - 1)
            for at, picture, screen in zip(place, self.picture, self.screen, strict=True)
        )

    def box(self, corners: Sequence[float]) -> Box:
        """Return the part of the screen between two corners on the picture.

        Raises:
            ToolError: when they are not the corners of a part of it.
        """
        width, height = self.picture
        left, top, right, bottom = corners
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise ToolError(
                f"the region {bounded([*corners])} is no part of the picture, which is "
                f"{width}x{height} pixels: give left, top, right, bottom"
            )
        across, down = self.screen[0] / width, self.screen[1] / height
        return (
            math.floor(left * across),
            math.floor(top * down),
            min(math.ceil(right * across), self.screen[0]),
            min(math.ceil(bottom * down), self.screen[1]),
        )

    def distance(self, right: float, down: float) -> tuple[int, int]:
        """Return a distance on the picture in pixels of the screen."""
        return (
            round(right * self.screen[0] / self.picture[0]),
            round(down * self.screen[1] / self.picture[1]),
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture of a screen, or of a part of it.

    Attributes:
        size: Its width and height in pixels.
        shown: Width and height of what it shows, in pixels of the screen.
    """

    data: bytes
    mime_type: str
    size: Size
    shown: Size


class Screen(ABC):
    """A screen with a pointer and a keyboard. Places are its own pixels.

    An action returns once it is done, `settle` once its effects can be seen. What the client
    refuses is raised as it is; `told` makes the model's error of it.

    Attributes:
        cursor: Where the pointer is.
    """

    cursor: Place = (0, 0)

    @abstractmethod
    async def picture(
        self, encoding: ScreenshotEncoding, limits: Limits, box: Box | None = None
    ) -> Picture:
        """Return a picture within the limits of the screen, or of a part of it.

        A part is shown as large as the limits allow where the screen has more to show.
        """

    @abstractmethod
    async def click(
        self, place: Place | None, button: Button, count: int, held: Sequence[str]
    ) -> None:
        """Click at a place, or where the pointer is, with modifiers held."""

    @abstractmethod
    async def move(self, place: Place) -> None:
        """Put the pointer there."""

    @abstractmethod
    async def mouse_down(self, place: Place | None, button: Button = "left") -> None:
        """Press a button and keep it held."""

    @abstractmethod
    async def mouse_up(self, place: Place | None, button: Button = "left") -> None:
        """Let go of a button."""

    @abstractmethod
    async def drag(self, path: Sequence[Place], held: Sequence[str]) -> None:
        """Drag with the left button along two places or more."""

    @abstractmethod
    async def scroll(self, place: Place | None, right: int, down: int, held: Sequence[str]) -> None:
        """Turn the wheel by pixels over a place, or where the pointer is."""

    @abstractmethod
    async def press(self, chord: Chord, count: int = 1) -> None:
        """Press keys together and let go of them, `count` times."""

    @abstractmethod
    async def hold(self, chord: Chord, duration_s: float) -> None:
        """Keep keys pressed for a while."""

    @abstractmethod
    async def type(self, text: str) -> None:
        """Type a text into what has the keyboard's focus."""

    @abstractmethod
    async def settle(self) -> None:
        """Wait until what was done can be seen: a bounded while, ended by events."""

    def notices(self) -> list[str]:
        """Return what happened since the last call and cannot be seen on a picture."""
        return []


@contextlib.contextmanager
def told() -> Generator[None]:
    """Make a `ToolError` of what a client says of its arguments or of a page; faults pass."""
    try:
        yield
    except Fault:
        raise
    except HudError as error:
        raise ToolError(sentence(error)) from error


def sentence(error: HudError) -> str:
    """Return an error with its hint, for a model."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _shown(number: float) -> str:
    return f"{number:g}" if abs(number) < 1e9 else bounded(number, 20)
