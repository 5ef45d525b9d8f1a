"""Recording of robots, under the names users import."""

from hud.trace.robot_recorder import TraceRecorder, VideoStreamer
from hud.trace.robot_video import Segment, SegmentCallback, SegmentEncoder

__all__ = ["Segment", "SegmentCallback", "SegmentEncoder", "TraceRecorder", "VideoStreamer"]
