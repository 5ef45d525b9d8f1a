"""Cameras as short H.264 segments: encoded on a thread of their own, a bounded queue before it.

Recording the segments as steps is `robot_recorder`.
"""

from __future__ import annotations

import importlib
import io
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hud._core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of one camera's video: a whole MP4 file in `data`.

    Attributes:
        index: 0-based number within the camera.
        first: 0-based number of its first frame among those submitted.
        frames: How many it shows.
        dropped: Frames lost since the segment before, because the queue was full.
    """

    camera: str
    index: int
    fps: int
    data: bytes
    first: int
    frames: int
    dropped: int


SegmentCallback = Callable[[Segment], None]


class SegmentEncoder:
    """Encode one camera. `finalize` ends its thread.

    Args:
        on_segment: Called on the encoder's thread with every finished segment, in order.
        crf: Quality of x264; lower is better and larger.
        max_queued_frames: Frames that may wait; more are dropped, and counted.
    """

    def __init__(
        self,
        camera: str,
        on_segment: SegmentCallback,
        *,
        fps: int,
        segment_seconds: float = 2.0,
        crf: int = 23,
        max_queued_frames: int = 16,
    ) -> None:
        self.camera = camera
        self.fps = max(1, fps)
        self._av = load("av", "av", "recording a robot's video")
        self._on_segment = on_segment
        self._crf = crf
        self._length = max(1, round(self.fps * segment_seconds))
        self._queue: queue.Queue[tuple[int, NDArray[Any]] | None] = queue.Queue(max_queued_frames)
        self._submitted = 0
        self._dropped = 0
        self._counting = threading.Lock()
        self._index = 0
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name=f"video-{camera}", daemon=True)
        self._thread.start()

    def submit(self, frame: NDArray[Any]) -> None:
        """Queue one frame `[H, W, 1 | 3 | 4]`, bytes; never waits. It must not change afterwards.

        A frame of another size than the first is dropped, as one that finds the queue full is.
        """
        number, self._submitted = self._submitted, self._submitted + 1
        try:
            self._queue.put_nowait((number, frame))
        except queue.Full:
            self._drop()

    def finalize(self, timeout: float = 15.0) -> None:
        """Encode what is queued, hand over the last segment, and end the thread. Blocks.

        Raises:
            RuntimeError: when encoding failed, or is not done in time.
        """
        if self._thread.is_alive():
            try:
                self._queue.put(None, timeout=timeout)
            except queue.Full:
                raise RuntimeError(f"camera {self.camera!r}: the encoder is stuck") from None
            self._thread.join(timeout)
        if self._failure is not None:
            raise RuntimeError(f"camera {self.camera!r}: {self._failure}") from self._failure
        if self._thread.is_alive():
            raise RuntimeError(f"camera {self.camera!r}: the encoder is stuck")

    def _drop(self) -> None:
        with self._counting:
            self._dropped += 1

    def _work(self) -> None:
        held: list[tuple[int, NDArray[Any]]] = []
        while True:
            item = self._queue.get()
            if item is not None:
                held.append(item)
            if held and (item is None or len(held) == self._length):
                if self._failure is None:
                    try:
                        self._encode(held)
                    except Exception as error:
                        self._failure = error
                held = []
            if item is None:
                return

    def _encode(self, held: list[tuple[int, NDArray[Any]]]) -> None:
        height, width = held[0][1].shape[:2]
        file = io.BytesIO()
        shown = 0
        with self._av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=self.fps)
            stream.width, stream.height = width + width % 2, height + height % 2
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(self._crf), "preset": "veryfast", "threads": "1"}
            for _, image in held:
                if image.shape[:2] != (height, width):
                    self._drop()
                    continue
                picture = self._av.VideoFrame.from_ndarray(_rgb(image), format="rgb24")
                picture.pts = shown
                container.mux(stream.encode(picture))
                shown += 1
            container.mux(stream.encode())
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        index, self._index = self._index, self._index + 1
        first = held[0][0]
        self._on_segment(
            Segment(self.camera, index, self.fps, file.getvalue(), first, shown, dropped)
        )


def _rgb(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as `[H, W, 3]` with even sides, as H.264 wants them."""
    import numpy

    shown = numpy.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[:, :, :3]
    height, width = shown.shape[:2]
    if height % 2 or width % 2:
        shown = numpy.pad(shown, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return numpy.ascontiguousarray(shown)


def load(module: str, package: str, purpose: str) -> Any:
    """Import and return an optional module.

    Raises:
        InputError: when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{purpose} needs {package}", hint="pip install 'hud-python[robot]'"
        ) from error
