"""Films of what led to a breakdown."""

from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np

from robolearn.dumps import Dump, replayed
from robolearn.video.overlay import draw
from robolearn.video.recorder import RecordingError, VideoWriter, check_target
from robolearn.video.rollout import Recording, real_time
from robolearn_envs.single import RoboEnv

_HOLD = 1.0  # s, for which the last picture stays


def record_dump(
    dump: Dump, env: gym.Env, path: Path, *, comment: str = "", overwrite: bool = False
) -> Recording:
    """Write the last steps of an environment that broke down into a video, in real time.

    Args:
        dump: The steps.
        env: Made by ``dump.env.make`` with ``render_mode="rgb_array"``; stays open.
        path: The video, ``*.mp4``.
        comment: Stored in the file.
        overwrite: Whether an existing video may be replaced.

    Raises:
        RobolearnError: The dump does not say enough.
        ValueError: A bad argument.
        OSError: The video cannot be written there, or exists already.
        RecordingError: ffmpeg failed, or there was nothing to show.
    """
    check_target(path, overwrite=overwrite)
    frames = _captioned(dump, env)
    first = next(frames, None)
    if first is None:
        raise RecordingError("No state of the dump can be drawn: none is finite.")
    fps = real_time(env, stride=1)
    height, width, _ = first.shape
    latest = first
    with VideoWriter(path, width, height, fps, comment=comment, overwrite=overwrite) as video:
        video.add(first)
        for frame in frames:
            video.add(frame)
            latest = frame
        steps = video.frames
        for _ in range(round(_HOLD * fps)):
            video.add(draw(latest, ["", "", dump.reason[:90]]))
    base = env.unwrapped
    renderer = base.vector.renderer_name if isinstance(base, RoboEnv) else None
    total = float(np.sum(dump.steps["reward"]))
    return Recording(
        path=path, frames=video.frames, steps=steps, returns=(total,), renderer=renderer
    )


def _captioned(dump: Dump, env: gym.Env) -> Iterator[np.ndarray]:
    count = len(dump.steps["reward"])
    for t, reward in enumerate(replayed(dump, env), start=1):
        words = f"{count - t} steps before the breakdown   reward {reward:.2f}"
        yield draw(np.asarray(env.render()), [words])
