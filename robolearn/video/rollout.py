"""Playing policies and filming them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np

from robolearn.video.montage import side_by_side
from robolearn.video.overlay import draw
from robolearn.video.recorder import RecordingError, VideoWriter, check_target
from robolearn_envs.single import RoboEnv

Policy: TypeAlias = Callable[[Any, bool], Any]
"""Maps an observation, and whether it is the first of an episode, to an action."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A finished video."""

    path: Path
    """The file."""
    frames: int
    """Frames in it."""
    steps: int
    """Environment steps played."""
    returns: tuple[float, ...]
    """Undiscounted return of each episode, or side by side of each policy."""
    renderer: str | None
    """What drew it; None for environments that are not ours."""


class _Player:
    """An episode in progress: an environment, the policy that acts in it, and the score."""

    def __init__(self, policy: Policy, env: gym.Env, *, overlay: bool) -> None:
        if env.render_mode != "rgb_array":
            raise ValueError(
                f"Only an environment with render_mode='rgb_array' can be filmed, "
                f"got render_mode={env.render_mode!r}."
            )
        self.policy, self.env, self.overlay = policy, env, overlay

    def reset(self, seed: int | None) -> None:
        """Begin an episode."""
        self.observation, _ = self.env.reset(seed=seed)
        self.steps, self.total, self.over = 0, 0.0, False

    def step(self) -> None:
        """Play one step; after the episode's end, nothing."""
        if self.over:
            return
        action = self.policy(self.observation, self.steps == 0)
        self.observation, reward, terminated, truncated, _ = self.env.step(action)
        self.steps += 1
        self.total += float(reward)
        self.over = bool(terminated or truncated)

    def frame(self) -> np.ndarray:
        """Return what the environment looks like now. Shape (height, width, 3), uint8."""
        frame = np.asarray(self.env.render())
        if not self.overlay:
            return frame
        env = self.env.unwrapped
        left = env.vector.caption_column if isinstance(env, RoboEnv) else 0
        words = f"step {self.steps}   return {self.total:.1f}   {self._place()}".rstrip()
        return draw(frame, [words], left)

    def _place(self) -> str:
        """Return the physics engine, or a foreign environment's id."""
        env = self.env.unwrapped
        if isinstance(env, RoboEnv):
            return env.vector.engine_name
        return env.spec.id if env.spec else ""

    def renderer(self) -> str | None:
        """Return what draws our environments."""
        env = self.env.unwrapped
        return env.vector.renderer_name if isinstance(env, RoboEnv) else None


def record(
    policy: Policy,
    env: gym.Env,
    path: Path,
    *,
    seed: int,
    episodes: int = 1,
    stride: int = 1,
    fps: int | None = None,
    overlay: bool = True,
    comment: str = "",
    overwrite: bool = False,
) -> Recording:
    """Play whole episodes and write them into a video.

    With steps counted from 1 over all episodes, the frames are the states after steps
    ``stride``, ``2 * stride``, ...: ``steps // stride`` frames. States after a reset are not shown.

    Args:
        policy: What acts; of an agent, ``robolearn.agents.base.greedy``.
        env: Made with ``render_mode="rgb_array"``; stays open.
        path: The video, ``*.mp4``.
        seed: Of the first episode; later ones go on with the environment's random stream.
        episodes: How many.
        stride: Steps per frame.
        fps: Frames per second; by default real time, ``render_fps / stride`` rounded.
        overlay: Whether to write step, return and engine into the picture.
        comment: Stored in the file.
        overwrite: Whether an existing video may be replaced.

    Raises:
        ValueError: A bad argument.
        OSError: The video cannot be written there, or exists already.
        RecordingError: ffmpeg failed, or there was nothing to show.
    """
    _check_counts(episodes=episodes, stride=stride)
    check_target(path, overwrite=overwrite)
    player = _Player(policy, env, overlay=overlay)
    player.reset(seed)
    height, width, _ = player.frame().shape
    fps = real_time(env, stride) if fps is None else fps
    returns: list[float] = []
    steps = 0
    with VideoWriter(path, width, height, fps, comment=comment, overwrite=overwrite) as video:
        for steps, _ in enumerate(_episodes(player, episodes, returns), start=1):
            if steps % stride == 0:
                video.add(player.frame())
        _require_frames(video, steps, stride)
    return Recording(
        path=path,
        frames=video.frames,
        steps=steps,
        returns=tuple(returns),
        renderer=player.renderer(),
    )


def _episodes(player: _Player, episodes: int, returns: list[float]) -> Iterator[None]:
    """Play episodes, the first already begun, yielding after each step; fill in ``returns``."""
    while True:
        player.step()
        yield
        if not player.over:
            continue
        returns.append(player.total)
        if len(returns) == episodes:
            return
        player.reset(None)


def record_side_by_side(
    policies: Mapping[str, Policy],
    envs: Mapping[str, gym.Env],
    path: Path,
    *,
    seed: int,
    max_steps: int,
    stride: int = 1,
    fps: int | None = None,
    overlay: bool = True,
    comment: str = "",
    overwrite: bool = False,
) -> Recording:
    """Play one episode of several policies at once and show them next to each other.

    All environments are reset with the same seed and stepped together. Where an episode is over
    its last picture stays until all are, or until ``max_steps``. Frames are as in :func:`record`.

    Args:
        policies: What acts, by label; the labels are shown above the panes, in this order.
        envs: For each label an environment made with ``render_mode="rgb_array"``.
        path: The video, ``*.mp4``.
        seed: Of every episode.
        max_steps: Steps after which the film ends in any case.
        stride: Steps per frame.
        fps: Frames per second; by default real time for the first environment.
        overlay: Whether to write step, return and engine into each pane.
        comment: Stored in the file.
        overwrite: Whether an existing video may be replaced.

    Raises:
        ValueError: A bad argument.
        OSError: The video cannot be written there, or exists already.
        RecordingError: ffmpeg failed, or there was nothing to show.
    """
    _check_counts(max_steps=max_steps, stride=stride)
    if not policies or policies.keys() != envs.keys():
        raise ValueError(
            f"Every policy needs an environment of the same label, got policies "
            f"{list(policies)} and environments {list(envs)}."
        )
    check_target(path, overwrite=overwrite)
    labels = list(policies)
    players = [_Player(policies[label], envs[label], overlay=overlay) for label in labels]
    for player in players:
        player.reset(seed)
    height, width, _ = side_by_side([p.frame() for p in players], labels).shape
    fps = real_time(players[0].env, stride) if fps is None else fps
    steps = 0
    with VideoWriter(path, width, height, fps, comment=comment, overwrite=overwrite) as video:
        while steps < max_steps and not all(player.over for player in players):
            for player in players:
                player.step()
            steps += 1
            if steps % stride == 0:
                video.add(side_by_side([player.frame() for player in players], labels))
        _require_frames(video, steps, stride)
    return Recording(
        path=path,
        frames=video.frames,
        steps=steps,
        returns=tuple(player.total for player in players),
        renderer=players[0].renderer(),
    )


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}.")


def real_time(env: gym.Env, stride: int) -> int:
    """Return the frames per second at which an environment is shown as fast as it is."""
    return max(1, round(env.metadata.get("render_fps", 30) / stride))


def _require_frames(video: VideoWriter, steps: int, stride: int) -> None:
    if not video.frames:
        raise RecordingError(
            f"The recording ended after {steps} steps, before its first frame at step {stride}. "
            "Use a smaller stride."
        )
