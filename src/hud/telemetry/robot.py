"""Recording of robots, under the names users import."""

from hud.environment.robot.jobs import JobRecorder
from hud.protocol.openpi import to_numpy
from hud.trace.robot_recorder import TraceRecorder, VideoStreamer
from hud.trace.robot_video import Segment, SegmentCallback, SegmentEncoder

__all__ = [
    "JobRecorder",
    "Segment",
    "SegmentCallback",
    "SegmentEncoder",
    "TraceRecorder",
    "VideoStreamer",
    "to_numpy",
]
