"""The screen's pixels as this client knows them, kept in a Pillow image.

Which bytes mean which rectangle is `reading`; PNG and WebP are `picture`.
"""

from __future__ import annotations

from PIL import Image, ImageChops

from hud.capabilities.rfb.errors import ServerError

MAX_PIXELS = 1 << 26
"""64 million: the largest screen that is accepted."""


class Frame:
    """The pixels of one screen.

    Attributes:
        image: The pixels, mode RGB; changed in place, so copy it before handing it to a thread.
        version: Grows with every change of a pixel.
    """

    def __init__(self, width: int, height: int) -> None:
        self.version = 0
        self.resize(width, height)

    @property
    def width(self) -> int:
        return self.image.width

    @property
    def height(self) -> int:
        return self.image.height

    @property
    def is_complete(self) -> bool:
        """Whether every pixel came since the last `expect`."""
        if self._missing and self._area >= self.width * self.height:
            self._missing = self._seen.getextrema()[0] == 0
        return not self._missing

    def resize(self, width: int, height: int) -> None:
        """Become a black screen of another size.

        Raises:
            ServerError: when it is larger than any screen.
        """
        if not 0 < width * height <= MAX_PIXELS:
            raise ServerError(f"a screen of {width}x{height} pixels")
        self.image = Image.new("RGB", (width, height))
        self.version += 1
        self.expect()

    def expect(self) -> None:
        """Forget which pixels have come."""
        self._seen = Image.new("L", (self.width, self.height))
        self._area = 0
        self._missing = True

    def raw(self, x: int, y: int, width: int, height: int, data: bytes) -> None:
        """Put pixels (blue, green, red, unused) into a rectangle.

        Raises:
            ServerError: when it is not within the screen.
        """
        box = self._box(x, y, width, height)
        if box is None:
            return
        tile = Image.frombytes("RGB", (width, height), data, "raw", "BGRX", 0, 1)
        self._put(tile, box)

    def copy(self, x: int, y: int, width: int, height: int, source: tuple[int, int]) -> None:
        """Copy a rectangle of the screen itself.

        Raises:
            ServerError: when either is not within the screen.
        """
        box = self._box(x, y, width, height)
        origin = self._box(*source, width, height)
        if box is not None and origin is not None:
            self._put(self.image.crop(origin), box)

    def _put(self, tile: Image.Image, box: tuple[int, int, int, int]) -> None:
        before = self.image.crop(box)
        if ImageChops.difference(before, tile).getbbox() is not None:
            self.image.paste(tile, box)
            self.version += 1
        if self._missing:
            self._seen.paste(1, box)
            self._area += tile.width * tile.height

    def _box(self, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int] | None:
        if x + width > self.width or y + height > self.height:
            raise ServerError(
                f"a rectangle {width}x{height} at {x},{y} of a screen {self.width}x{self.height}"
            )
        return (x, y, x + width, y + height) if width and height else None
