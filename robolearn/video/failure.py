"""Videos of the last steps before a simulation diverged."""

import contextlib
from pathlib import Path

import gymnasium as gym
import numpy as np

from robolearn.dumps import Dump, replayed
from robolearn.video.caption import draw_caption
from robolearn.video.render import FREEZE_END_S, VideoInfo
from robolearn.video.schedule import realtime_fps
from robolearn.video.writer import RecordingError, VideoWriter, check_target
from robolearn_envs.single import RoboEnv


def render_failure(
    dump: Dump, env: gym.Env, path: Path, *, comment: str = "", overwrite: bool = False
) -> VideoInfo:
    """Render the last steps before a simulation diverged into a video, in real time.

    Args:
        dump: The steps.
        env: Made by ``dump.env.make`` with ``render_mode="rgb_array"``; it is not closed.
        path: The video, ``*.mp4``.
        comment: Stored in the file.
        overwrite: Whether an existing video may be replaced.

    Raises:
        RobolearnError: The dump cannot be replayed.
        ValueError: A bad argument.
        OSError: The video cannot be written, or exists already.
        RecordingError: ffmpeg failed, or no state can be rendered.
    """
    check_target(path, overwrite=overwrite)
    rewards = dump.steps["reward"]
    fps = realtime_fps(env)
    frame, caption = None, ""
    with contextlib.ExitStack() as stack:
        video: VideoWriter | None = None
        for t, reward in enumerate(replayed(dump, env), start=1):
            frame = np.asarray(env.render())
            if video is None:
                height, width, _ = frame.shape
                video = stack.enter_context(
                    VideoWriter(path, width, height, fps, comment=comment, overwrite=overwrite)
                )
            caption = f"{len(rewards) - t} steps before the failure   reward {reward:.2f}"
            video.add(draw_caption(frame, [caption]))
        if video is None or frame is None:
            raise RecordingError("No state of the dump can be rendered: none is finite.")
        steps = video.frames
        last = draw_caption(frame, [caption, dump.reason.partition(". ")[0]])
        for _ in range(round(FREEZE_END_S * fps)):
            video.add(last)
    base = env.unwrapped
    return VideoInfo(
        path=path,
        frames=video.frames,
        steps=steps,
        returns=(float(np.sum(rewards)),),
        renderer=base.vector_env.renderer_name if isinstance(base, RoboEnv) else None,
    )
