"""Videos of policies at work: ``play`` keeps an episode, ``film`` draws it."""

from robolearn.video.recorder import RecordingError, VideoWriter

__all__ = ["RecordingError", "VideoWriter"]
