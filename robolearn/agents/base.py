"""What all agents have in common: the seam to training, and the helpers around a network."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, Self

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from robolearn.collect import Episode
from robolearn.environments import TrainingEnvs
from robolearn.spaces import ActionSpace, flatten_any, to_env_action


class Progress(NamedTuple):
    """What an agent reports after each update."""

    steps: int
    """Environment steps made so far."""
    metrics: dict[str, float]
    """Figures of the update, by name."""
    episodes: list[Episode]
    """Episodes finished since the last report."""


class Predictor(Protocol):
    """Anything that acts: ours and SB3's agents."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch, and the recurrent state."""
        ...


class Agent(Predictor, Protocol):
    """A learning agent."""

    envs: TrainingEnvs
    config: Any

    @property
    def steps(self) -> int:
        """Environment steps learned from so far."""
        ...

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each update."""
        ...

    def learn(self, steps: int) -> Self:
        """Learn from ``steps`` more environment steps."""
        ...

    def save(self, folder: Any) -> None:
        """Write the agent into a new folder."""
        ...

    def close(self) -> None:
        """Close the training environments."""
        ...


def greedy(agent: Predictor) -> Callable[[Any, bool], Any]:
    """Return a policy for films: an agent's best actions, its memory carried from step to step.

    It maps an observation, and whether this is the first of an episode, to an action.
    """
    state: Any = None

    def act(observation: Any, start: bool) -> Any:
        nonlocal state
        action, state = agent.predict(observation, state, np.array([start]), deterministic=True)
        return action

    return act


def predict_with(
    act: Callable[[Tensor], Tensor],
    observation_space: gym.Space,
    action_space: ActionSpace,
    device: torch.device,
    observation: Any,
) -> np.ndarray:
    """Return environment actions for one observation or a batch of them.

    Args:
        act: From flat observations, shape (N, D), to actions of the policy, shape (N, ...).
        observation_space: Of a single observation.
        action_space: Of a single action.
        device: Where ``act`` computes.
        observation: One observation of the space, or N of them stacked.
    """
    flat, single = flatten_any(observation_space, observation)
    with torch.inference_mode():
        action = act(torch.from_numpy(flat).to(device)).cpu().numpy()
    actions = to_env_action(action_space, action)
    return actions[0] if single else actions
