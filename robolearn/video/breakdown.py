"""Films of what led to a breakdown."""

import contextlib
from pathlib import Path

import gymnasium as gym
import numpy as np

from robolearn.dumps import Dump, replayed
from robolearn.video.film import HOLD, Recording
from robolearn.video.overlay import draw
from robolearn.video.recorder import RecordingError, VideoWriter, check_target
from robolearn.video.schedule import real_time
from robolearn_envs.single import RoboEnv


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
    rewards = dump.steps["reward"]
    shown = enumerate(replayed(dump, env), start=1)
    fps = real_time(env, stride=1)
    frame, caption = None, ""
    with contextlib.ExitStack() as stack:
        video: VideoWriter | None = None
        for t, reward in shown:
            frame = np.asarray(env.render())
            if video is None:
                height, width, _ = frame.shape
                video = stack.enter_context(
                    VideoWriter(path, width, height, fps, comment=comment, overwrite=overwrite)
                )
            caption = f"{len(rewards) - t} steps before the breakdown   reward {reward:.2f}"
            video.add(draw(frame, [caption]))
        if video is None or frame is None:
            raise RecordingError("No state of the dump can be drawn: none is finite.")
        steps = video.frames
        last = draw(frame, [caption, dump.reason.partition(". ")[0]])
        for _ in range(round(HOLD * fps)):
            video.add(last)
    base = env.unwrapped
    renderer = base.vector.renderer_name if isinstance(base, RoboEnv) else None
    return Recording(
        path=path,
        frames=video.frames,
        steps=steps,
        returns=(float(np.sum(rewards)),),
        renderer=renderer,
    )
