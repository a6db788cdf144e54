"""Rollouts of episodes that were watched in a training on a device."""

from robolearn.collect.trajectory_recorder import RecordedTrajectory
from robolearn.environments import EnvConfig
from robolearn.video.play import ending_of, once
from robolearn.video.rollout import Rollout


def rollout_of(episode: RecordedTrajectory, env: EnvConfig, *, seed: int, steps: int) -> Rollout:
    """Return an episode of a policy that explores, without what it thought.

    Args:
        episode: What was watched.
        env: The training's.
        seed: Of the first environment.
        steps: Made in the training until then.
    """
    return Rollout(
        label=f"exploring, about {steps:,} steps into training",
        env=env,
        seed=seed + episode.env,
        fps=episode.fps,
        actions=episode.actions,
        rewards=episode.rewards,
        states={name: once(rows) for name, rows in episode.states.items()},
        terminated=episode.terminated,
        truncated=episode.truncated,
        success=episode.outcome.get("success"),
        ending=ending_of(episode.terminated, episode.truncated, episode.outcome, native=True),
    )
