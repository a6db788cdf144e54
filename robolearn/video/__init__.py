"""Videos of policies: ``record_episode`` records states, ``render_video`` renders them."""

from robolearn.video.writer import RecordingError, VideoWriter

__all__ = ["RecordingError", "VideoWriter"]
