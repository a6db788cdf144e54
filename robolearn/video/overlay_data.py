"""The values of a rollout that the overlay shows at each step."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from robolearn.spaces import action_width, from_env_action
from robolearn.video.episode_player import EpisodeData, EpisodePlayer
from robolearn_envs.single import RoboEnv

_MAX_BARS = 9


class BarChart(NamedTuple):
    """One bar per action, or per component of a continuous action."""

    kind: Literal["signed", "Q", "p", "chosen"]
    """Signed bars grow from the middle; those of Q-values and probabilities from the left; 'chosen'
    marks the action where neither is known."""
    labels: Sequence[str]
    lengths: np.ndarray
    """In [-1, 1] for signed bars, else in [0, 1]. Shape (bars,)."""
    texts: Sequence[str]
    """Numbers written behind the bars."""
    chosen: int | None
    """Index of the highlighted bar."""


class OverlayData(NamedTuple):
    """The values shown at one step."""

    step: int
    episode_return: float
    """Sum of rewards until now."""
    backend: str
    """Physics engine, or the id of a third-party environment."""
    value: float | None
    chart: BarChart | None
    end_reason: str
    """Why the episode ended; empty before its end, and if it is unfinished."""


class OverlayBuilder:
    """Computes the overlay's values from a rollout."""

    def __init__(self, player: EpisodePlayer) -> None:
        """Read actions and policy outputs of the player's rollout."""
        self._episode, self._backend = player.episode, player.backend
        self._returns = np.concatenate([[0.0], np.cumsum(self._episode.rewards)])
        self._space = player.env.action_space
        self._labels = _action_labels(player.env)
        self._scale = _action_scale(self._space, self._episode)

    def at(self, step: int) -> OverlayData:
        """Return the values after some steps.

        Policy outputs and action are those of the next step, and at the end of the last one.
        """
        episode = self._episode
        next_step = min(step, len(episode) - 1)
        value = episode.policy_outputs.get("value")
        ended = step == len(episode) and episode.end_reason != "unfinished"
        return OverlayData(
            step=step,
            episode_return=float(self._returns[step]),
            backend=self._backend,
            value=None if value is None else float(value[next_step]),
            chart=self._chart(next_step),
            end_reason=episode.end_reason if ended else "",
        )

    def _chart(self, step: int) -> BarChart | None:
        if isinstance(self._space, spaces.Discrete):
            return self._discrete_chart(step, self._space)
        if not isinstance(self._space, spaces.Box) or action_width(self._space) > _MAX_BARS:
            return None
        action = from_env_action(self._space, self._episode.actions[[step]])[0]
        lengths = np.clip(action / self._scale, -1.0, 1.0)
        return BarChart("signed", self._labels, lengths, [f"{x:+.2f}" for x in action], None)

    def _discrete_chart(self, step: int, space: spaces.Discrete) -> BarChart | None:
        chosen, count = int(self._episode.actions[step] - space.start), int(space.n)
        if count > _MAX_BARS:
            return None
        outputs = self._episode.policy_outputs
        if "action_probs" in outputs:
            probs = outputs["action_probs"][step]
            return BarChart("p", self._labels, probs, [f"{p:.0%}" for p in probs], chosen)
        if "q_values" in outputs:
            q, all_q = outputs["q_values"][step], outputs["q_values"]
            low, high = float(all_q.min()), float(all_q.max())
            lengths = (q - low) / max(high - low, 1e-9)
            return BarChart("Q", self._labels, lengths, [f"{value:.1f}" for value in q], chosen)
        lengths = (np.arange(count) == chosen).astype(np.float64)
        return BarChart("chosen", self._labels, lengths, [""] * count, chosen)


def _action_scale(space: gym.Space, episode: EpisodeData) -> float:
    """Return the action of a full bar: 1 where actions are bounded, else the largest one."""
    if not isinstance(space, spaces.Box) or space.is_bounded():
        return 1.0
    return max(1e-9, float(np.abs(episode.actions).max()))


def _action_labels(env: gym.Env) -> list[str]:
    """Return a name for each action, or for each component of a continuous one."""
    space, base = env.action_space, env.unwrapped
    count = action_width(space) if isinstance(space, spaces.Discrete | spaces.Box) else 0
    numbers = [str(k) for k in range(count)]
    if not isinstance(base, RoboEnv):
        return numbers
    task = base.vector_env.task
    if isinstance(space, spaces.Box):
        names = [part.name for part in task.ctrl_fields for _ in range(part.size)]
        return names if len(names) == count else numbers
    if len(task.ctrl_fields) == 1:
        return [f"{command:+.2g}" for (command,) in task.discrete_actions]
    return numbers
