"""Record a robot's loop onto a trace: states, actions, rewards, and cameras as stills or video.

Without a trace nothing is recorded and nothing is kept. Encoding is `robot_video`.
"""

from __future__ import annotations

import base64
import contextlib
import logging
from collections import deque
from typing import Any, Protocol, cast
from weakref import WeakValueDictionary

from hud.trace.clock import utc_now
from hud.trace.context import current_recorder, recorder_of
from hud.trace.recorder import Recorder
from hud.trace.robot_steps import (
    InferenceStep,
    ObservationStep,
    VideoSegmentStep,
    is_image,
)
from hud.trace.robot_video import Segment, SegmentEncoder
from hud.trace.steps import Step

logger = logging.getLogger(__name__)

_explicit: WeakValueDictionary[str, TraceRecorder] = WeakValueDictionary()


class HasTraceId(Protocol):
    """What a recorder needs of a run."""

    @property
    def trace_id(self) -> str | None: ...


class VideoStreamer:
    """Record every camera of a stream of observations as video segments on a trace.

    Segments are recorded by `record` and `finalize`, on the thread that calls them.
    """

    def __init__(self, *, fps: int, trace_id: str | None, recorder: Recorder | None = None) -> None:
        self.fps = fps
        self._recorder = recorder or (None if trace_id is None else recorder_of(trace_id))
        self._encoders: dict[str, SegmentEncoder] = {}
        self._done: deque[Segment] = deque()

    def record(self, obs: dict[str, Any]) -> None:
        """Submit every image of an observation; never waits for the encoder."""
        if self._recorder is None:
            return
        for camera, image in _images(obs):
            encoder = self._encoders.get(camera)
            if encoder is None:
                encoder = SegmentEncoder(camera, self._done.append, fps=self.fps)
                self._encoders[camera] = encoder
            encoder.submit(image)
        self._drain()

    def finalize(self) -> None:
        """Record what is left, and end the encoders. Blocks; safe to call twice."""
        encoders, self._encoders = self._encoders, {}
        for encoder in encoders.values():
            try:
                encoder.finalize()
            except RuntimeError as error:
                logger.warning("video is not complete: %s", error)
        self._drain()

    def _drain(self) -> None:
        while self._done and self._recorder is not None:
            segment = self._done.popleft()
            self._recorder.record(
                VideoSegmentStep(
                    camera=segment.camera,
                    index=segment.index,
                    fps=segment.fps,
                    segment={
                        "mimeType": "video/mp4",
                        "data": base64.b64encode(segment.data).decode(),
                        "first_tick": segment.first,
                        "frames": segment.frames,
                        "dropped": segment.dropped,
                    },
                )
            )


class TraceRecorder:
    """Record one episode. `close` ends it; closing blocks while video is encoded.

    Args:
        trace_id: The trace to record on; else `run`'s, else the one this code runs under.
        obs_space: Observation features of the contract: they name the values.
        state_names: Names of values by feature, over those of `obs_space`.
        video: Whether cameras become H.264 segments (needs `av`).
        stills_every: Keep the images of every so manyth observation as PNG; 0 keeps none.
        recorder: The trace's recorder, where it is not the one of a run that is under way.
        yields: Record nothing once another recorder, without this, is at work on the trace.

    Attributes:
        trace_id: The trace, or None when nothing is recorded.
        reward: Sum of the rewards so far.
    """

    def __init__(
        self,
        *,
        trace_id: str | None = None,
        run: HasTraceId | None = None,
        fps: int = 10,
        prompt: str | None = None,
        obs_space: dict[str, Any] | None = None,
        action_names: list[str] | None = None,
        state_names: dict[str, list[str]] | None = None,
        video: bool = True,
        stills_every: int = 0,
        recorder: Recorder | None = None,
        yields: bool = False,
    ) -> None:
        if recorder is not None:
            trace_id = recorder.trace_id
        elif trace_id is None:
            trace_id = run.trace_id if run is not None else _current_trace()
        self.trace_id = trace_id
        self.reward = 0.0
        self._recorder = recorder or (recorder_of(trace_id) if trace_id else None)
        self._space = dict(obs_space or {})
        for name, names in (state_names or {}).items():
            held: Any = self._space.get(name)
            feature = cast("dict[str, Any]", held) if isinstance(held, dict) else {}
            self._space[name] = {**feature, "names": names}
        self._action_names = list(action_names or ())
        self._stills_every = stills_every
        self._yields = yields
        self._ticks = 0
        self._video = (
            VideoStreamer(fps=fps, trace_id=trace_id, recorder=self._recorder)
            if video and self._recorder
            else None
        )
        if self._recorder is not None and not yields:
            _explicit[self._recorder.trace_id] = self
        if prompt is not None and self._recorder is not None:
            self._recorder.record(Step(source="system", extra={"robot_prompt": prompt}))

    @property
    def is_recording(self) -> bool:
        """Whether what is recorded goes anywhere."""
        recorder = self._recorder
        if recorder is None:
            return False
        return not self._yields or recorder.trace_id not in _explicit

    def record_observation(self, data: dict[str, Any], *, tick: int) -> None:
        """Record one observation: as `RobotClient.get_observation` returns it, or its `data`."""
        self._ticks += 1
        reward = data.get("reward")
        if reward is not None:
            self.reward += float(reward)
        if not self.is_recording:
            return
        assert self._recorder is not None
        every = self._stills_every
        keep = every > 0 and (self._ticks - 1) % every == 0
        step = ObservationStep.from_obs(data, tick=tick, obs_space=self._space, images=keep)
        self._record(step)
        if self._video is not None:
            self._video.record(data)

    def record_inference(self, chunk: Any, *, tick: int) -> None:
        """Record one action `[D]` or a chunk `[T, D]` that the policy inferred at a tick."""
        if not self.is_recording:
            return
        rows = _rows(chunk)
        self._record(
            # Every field with a factory is given: looking at factories is what costs time here.
            InferenceStep.model_construct(
                tick=tick,
                chunk=rows,
                chunk_length=len(rows),
                names=self._action_names,
                messages=[],
                extra={},
            )
        )

    def add_reward(self, reward: float) -> None:
        """Count a reward that no observation brought."""
        self.reward += float(reward)

    def close(self) -> None:
        """Record what is left of the video, and the sum of rewards; safe to call twice."""
        if self._video is not None:
            self._video.finalize()
        if self.is_recording and self._ticks:
            totals: dict[str, Any] = {"ticks": self._ticks, "reward": self.reward}
            self._record(Step(source="system", extra={"robot": totals}))
        if self._recorder is not None and _explicit.get(self._recorder.trace_id) is self:
            with contextlib.suppress(KeyError):
                del _explicit[self._recorder.trace_id]
        self._recorder = None

    def _record(self, step: Step) -> None:
        assert self._recorder is not None
        step.started_at = step.ended_at = utc_now()
        self._recorder.record(step)


def _current_trace() -> str | None:
    recorder = current_recorder()
    return None if recorder is None else recorder.trace_id


def _images(obs: dict[str, Any]) -> list[tuple[str, Any]]:
    held: Any = obs.get("data")
    data = cast("dict[str, Any]", held) if isinstance(held, dict) else obs
    return [(name, value) for name, value in data.items() if is_image(value)]


def _rows(chunk: Any) -> list[list[float]]:
    values: Any = chunk.tolist() if hasattr(chunk, "tolist") else list(chunk)
    if not isinstance(values, list) or not values:
        return [[float(values)]] if not isinstance(values, list) else []
    rows = cast("list[Any]", values)
    if not isinstance(rows[0], list):
        return [cast("list[float]", rows)]
    return cast("list[list[float]]", rows)
