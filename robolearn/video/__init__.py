"""Videos of policies at work."""

from robolearn.video.recorder import RecordingError, VideoWriter
from robolearn.video.rollout import Policy, Recording, record, record_side_by_side

__all__ = ["Policy", "Recording", "RecordingError", "VideoWriter", "record", "record_side_by_side"]
