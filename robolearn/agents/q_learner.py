"""What Q-learners share: the network, acting by it, and acting at random."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from robolearn.agents.learner import Learner
from robolearn.agents.schedules import falling
from robolearn.collect import Collector
from robolearn.config import check_ranges
from robolearn.data.rollout import DeviceStep, Step
from robolearn.device.collector import DeviceCollector
from robolearn.errors import RobolearnError
from robolearn.nn.perception import Perception
from robolearn.nn.q_network import QNetwork, Returns
from robolearn.spaces import action_width, flatten_any, from_env_action, to_env_action


@dataclass(frozen=True, kw_only=True)
class QConfig:
    """Hyper-parameters of all Q-learners with networks. A step means one environment step."""

    num_envs: int = 16
    """Environments stepped together."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start."""
    final_learning_rate: float = 0.0
    """Adam's learning rate at the end; it falls linearly."""
    epsilon_start: float = 1.0
    """Probability of a random action at the start."""
    epsilon_end: float = 0.05
    """Probability of a random action after ``epsilon_fraction`` of the steps."""
    epsilon_fraction: float = 0.2
    """Part of the steps over which the probability falls, linearly."""
    max_grad_norm: float = 10.0
    """Longer gradients are shortened to this."""
    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    sharpness: float = 1.0
    """Scale of the first layers' weights at the start: larger ones tell nearby states apart, as a
    controller that switches between extremes must."""
    layer_norm: bool = True
    """Normalise the hidden layers, which keeps values from running away (Gallici et al., 2025)."""
    normalise: bool = True
    """Normalise observations by their running moments."""
    keep_moments: bool = False
    """Normalise observations by the moments there were when learning began, for which a pretrained
    network was learned."""
    logarithm: bool = False
    """Take the logarithm of observations that cannot be negative, such as ranges."""
    features: int = 128
    """Width an image is encoded to."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        weights = ("learning_rate", "final_learning_rate", "max_grad_norm")
        ranges = {name: (1, math.inf) for name in ("num_envs", "hidden", "features")}
        ranges |= {name: (0, math.inf) for name in weights}
        parts = ("gamma", "epsilon_start", "epsilon_end", "epsilon_fraction")
        ranges |= {"sharpness": (1e-6, math.inf)}
        check_ranges(self, {**ranges, **{name: (0, 1) for name in parts}})


Q = TypeVar("Q", bound=QConfig)


def taken(output: Tensor, action: Tensor) -> Tensor:
    """Return what a network told of the actions taken.

    Args:
        output: Shape (..., A, width).
        action: Shape (...), int64.

    Returns:
        Shape (..., width).
    """
    index = action[..., None, None].expand(*action.shape, 1, output.shape[-1])
    return output.gather(-2, index).squeeze(-2)


def draw_whims(
    *shape: int, actions: int, epsilon: float | Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw for each environment and step whether it is to act at random, and how.

    Returns:
        Coins that fell, in ``epsilon`` of all cases; and random actions, bool and int64.
    """
    coins = torch.rand(shape, generator=rng, device=rng.device)
    return coins < epsilon, torch.randint(actions, shape, generator=rng, device=rng.device)


class Guide(Protocol):
    """Acts in a learner's place where it will, such as early in an episode."""

    def act(self, collector: Collector, actions: np.ndarray) -> np.ndarray:
        """Return what is done.

        Args:
            collector: Of the environments, as they stand.
            actions: What the learner would do, as the environments take it. Shape (N,).
        """
        ...


class QLearner(Learner[Q]):
    """A Q-learner without its update."""

    discrete_only = True
    online: QNetwork
    """Tells what actions return; ``_build`` makes it by ``_network``."""
    serves_devices = True
    guide: Guide | None = None
    """Who may act in its place while it collects experience; not saved with it."""

    def _network(
        self, returns: Returns, weights: torch.Generator, *, dueling: bool, noisy: bool
    ) -> QNetwork:
        config = self.config
        perception = Perception(
            self.envs.observation_space,
            features=config.features,
            logarithm=config.logarithm,
            normalise=config.normalise,
            generator=weights,
        )
        if config.keep_moments:
            perception.keep_moments()
        return QNetwork(
            perception,
            action_width(self._actions),
            returns,
            hidden=config.hidden,
            sharpness=config.sharpness,
            layer_norm=config.layer_norm,
            dueling=dueling,
            noisy=noisy,
            generator=weights,
        ).to(self.device)

    @cached_property
    def _chance(self) -> Tensor:
        """Probability of a random action, where it is not waited for the device. Shape ()."""
        return torch.zeros((), device=self.device)

    def _epsilon(self, done: float) -> float:
        """Return the probability of a random action, ``done`` of the way through learning."""
        config = self.config
        if self.online.noisy:
            return 0.0
        return falling(config.epsilon_start, config.epsilon_end, config.epsilon_fraction, done)

    @torch.inference_mode()
    def _explore(
        self, collector: Collector, length: int, epsilon: float
    ) -> tuple[Sequence[Step], Tensor]:
        """Act for ``length`` steps and return them and the actions, shape (length, N), int64."""
        shape, count = (length, collector.num_envs), action_width(self._actions)
        whims = draw_whims(*shape, actions=count, epsilon=epsilon, rng=self._rng)
        fell, whim = (drawn.cpu().numpy() for drawn in whims)
        noise = self.online.draw_noise(*shape, generator=self._rng)
        steps, actions = [], []
        for t in range(length):
            obs = torch.from_numpy(collector.obs).to(self.device)
            best = self.online.q(obs, noise and [part[t] for part in noise]).argmax(dim=-1)
            action = np.where(fell[t], whim[t], best.cpu().numpy())
            if self.guide is not None:
                asked = self.guide.act(collector, to_env_action(self._actions, action))
                action = from_env_action(self._actions, asked)
            steps.append(collector.step(to_env_action(self._actions, action)))
            actions.append(action)
        return steps, torch.from_numpy(np.stack(actions)).to(self.device)

    @torch.no_grad()
    def _explore_on_device(
        self, collector: DeviceCollector, length: int
    ) -> tuple[Sequence[DeviceStep], Tensor]:
        """Do what ``_explore`` does, by ``_chance``, without waiting for the device."""
        if self.guide is not None:
            raise RobolearnError("A guide acts on the host: use engine='analytic' or 'mujoco'.")
        shape, count = (length, collector.num_envs), action_width(self._actions)
        fell, whim = draw_whims(*shape, actions=count, epsilon=self._chance, rng=self._rng)
        noise = self.online.draw_noise(*shape, generator=self._rng)
        steps, actions = [], []
        for t in range(length):
            best = self.online.q(collector.obs, noise and [part[t] for part in noise])
            actions.append(torch.where(fell[t], whim[t], best.argmax(dim=-1)))
            steps.append(collector.step(actions[-1]))
        return steps, torch.stack(actions)

    def _online_q(self, obs: Tensor) -> Tensor:
        """Return expected returns, by weights with fresh noise if they have any."""
        return self.online.q(obs, self.online.draw_noise(1, generator=self._rng))

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        if deterministic:
            return self.online.q(obs).argmax(dim=-1), state
        noise = self.online.draw_noise(len(obs), generator=self._play)
        best = self.online.q(obs, noise).argmax(dim=-1)
        epsilon, count = self._epsilon(1.0), action_width(self._actions)
        fell, whim = draw_whims(len(obs), actions=count, epsilon=epsilon, rng=self._play)
        return torch.where(fell, whim, best), state

    def q_values(self, observation: Any) -> np.ndarray:
        """Return Q of N observations, in units of reward. Shape (N, actions)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            return self.online.q(torch.from_numpy(flat).to(self.device)).cpu().numpy()
