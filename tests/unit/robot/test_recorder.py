"""What of a robot's loop gets onto a trace, and in which form."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from hud.telemetry.robot import Segment, SegmentEncoder, TraceRecorder
from hud.trace.context import trace_context
from hud.trace.recorder import Recorder
from hud.trace.robot_steps import InferenceStep, ObservationStep, VideoSegmentStep
from hud.trace.sinks import Event, StepRecorded
from hud.trace.steps import Trace
from tests.needs import need_module

np = need_module("numpy")


class Kept:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.rows: list[StepRecorded] = []

    def put(self, event: Event) -> None:
        if isinstance(event, StepRecorded):
            self.rows.append(event)

    async def committed(self) -> None: ...

    async def aclose(self) -> None: ...


def seen(value: float, **beside: Any) -> dict[str, Any]:
    image = np.full((25, 32, 3), int(value) % 255, np.uint8)
    data = {"pose": np.array([value, -value], np.float32), "top": image, "grip": 0.5}
    return {"data": data, "terminated": False, **beside}


def test_states_actions_and_rewards_are_steps_of_the_trace() -> None:
    kept = Kept()
    recorder = Recorder(Trace(trace_id="t1"), [kept])
    with trace_context(recorder):
        robot = TraceRecorder(
            obs_space={"pose": {"names": ["x", "y"]}}, action_names=["dx"], video=False
        )
        robot.record_observation(seen(1.0, reward=0.5), tick=0)
        robot.record_inference(np.array([[1.0], [2.0]]), tick=0)
        robot.record_observation({**seen(2.0, reward=1.0), "terminated": True}, tick=1)
        robot.add_reward(0.25)
        robot.close()
        robot.close()
    first, inferred, last, total = recorder.trace.steps
    assert isinstance(first, ObservationStep) and isinstance(last, ObservationStep)
    assert first.state["pose"].names == ["x", "y"] and first.state["pose"].values == [1.0, -1.0]
    assert first.state["grip"].values == [0.5] and not first.images and "top" not in first.state
    assert first.extra == {"reward": 0.5} and last.extra == {"reward": 1.0, "terminated": True}
    assert isinstance(inferred, InferenceStep)
    assert (inferred.chunk, inferred.chunk_length, inferred.names) == ([[1.0], [2.0]], 2, ["dx"])
    assert total.extra["robot"] == {"ticks": 2, "reward": 1.75}
    assert [row.schema for row in kept.rows][:3] == ["hud.robot.step.v1"] * 3
    assert json.loads(kept.rows[0].payload)["state"]["pose"]["values"] == [1.0, -1.0]
    assert [row.source for row in kept.rows] == [
        "observation",
        "inference",
        "observation",
        "system",
    ]


def test_without_a_trace_nothing_is_kept_and_rewards_still_add_up() -> None:
    robot = TraceRecorder()
    robot.record_observation(seen(1.0, reward=2.0), tick=0)
    robot.record_inference([1.0], tick=0)
    robot.close()
    assert robot.trace_id is None and not robot.is_recording
    assert robot.reward == 2.0


def test_stills_are_thinned_and_can_be_looked_at() -> None:
    images = need_module("PIL.Image")
    recorder = Recorder(Trace(trace_id="t2"))
    with trace_context(recorder):
        robot = TraceRecorder(video=False, stills_every=2)
        for tick in range(4):
            robot.record_observation(seen(float(tick)), tick=tick)
        robot.close()
    steps = [step for step in recorder.trace.steps if isinstance(step, ObservationStep)]
    assert [bool(step.images) for step in steps] == [True, False, True, False]
    still = images.open(io.BytesIO(base64.b64decode(steps[2].images["top"].data)))
    assert still.size == (32, 25) and still.getpixel((0, 0)) == (2, 2, 2)


def test_a_recorder_of_the_harness_takes_the_place_of_the_clients_own() -> None:
    recorder = Recorder(Trace(trace_id="t3"))
    with trace_context(recorder):
        automatic = TraceRecorder(video=False, yields=True)
        automatic.record_inference([1.0], tick=0)
        own = TraceRecorder(video=False)
        automatic.record_inference([2.0], tick=1)
        own.record_inference([3.0], tick=1)
        own.close()
        automatic.record_inference([4.0], tick=2)
    chunks = [step.chunk for step in recorder.trace.steps if isinstance(step, InferenceStep)]
    assert chunks == [[[1.0]], [[3.0]], [[4.0]]]


def test_a_camera_becomes_segments_that_play_on_their_own() -> None:
    av = need_module("av")
    recorder = Recorder(Trace(trace_id="t4"))
    with trace_context(recorder):
        robot = TraceRecorder(fps=10)
        for tick in range(15):
            robot.record_observation(seen(float(tick * 10)), tick=tick)
        robot.close()
    steps = [step for step in recorder.trace.steps if isinstance(step, VideoSegmentStep)]
    assert [(step.camera, step.index, step.fps) for step in steps] == [("top", 0, 10)]
    segment = steps[0].segment
    assert segment["mimeType"] == "video/mp4"
    assert segment["frames"] + segment["dropped"] == 15 and segment["first_tick"] == 0
    with av.open(io.BytesIO(base64.b64decode(segment["data"]))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == segment["frames"]
    assert frames[0].shape == (26, 32, 3)
    assert abs(int(frames[-1][5, 5, 0]) - 140) < 12


def test_an_encoder_that_cannot_keep_up_drops_frames_and_counts_them() -> None:
    need_module("av")
    segments: list[Segment] = []
    encoder = SegmentEncoder("top", segments.append, fps=1000, max_queued_frames=1)
    sent = 0
    frame = np.zeros((480, 640, 3), np.uint8)
    while sent < 200:
        encoder.submit(frame)
        sent += 1
    encoder.finalize(60)
    encoder.finalize(60)
    assert sum(segment.frames + segment.dropped for segment in segments) == sent
    assert sum(segment.dropped for segment in segments) > 0


def test_a_failing_encoder_says_so_and_ends() -> None:
    need_module("av")

    def refuse(segment: Segment) -> None:
        raise OSError("disk full")

    encoder = SegmentEncoder("top", refuse, fps=10)
    encoder.submit(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(RuntimeError, match="disk full"):
        encoder.finalize(60)
