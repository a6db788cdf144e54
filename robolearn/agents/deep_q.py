"""What DQN and PQN share: the Q-network and epsilon-greedy exploration."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from robolearn.agents.base import BaseAgent, NetworkConfig
from robolearn.buffers.rollout_buffer import Transition
from robolearn.collect.collector import Collector
from robolearn.collect.device_collector import AnyCollector
from robolearn.errors import RobolearnError
from robolearn.networks.q_network import QNetwork, Returns
from robolearn.spaces import action_width, flatten_any, from_env_action, to_env_action


@dataclass(frozen=True, kw_only=True)
class DeepQConfig(NetworkConfig):
    """Hyper-parameters shared by DQN and PQN. A step means one environment step."""

    lr_schedule: Literal["linear", "constant"] = "linear"
    """Let the learning rate fall linearly to 0 (linear), or stay (constant)."""
    exploration_initial_eps: float = 1.0
    """Probability of a random action at the start."""
    exploration_final_eps: float = 0.05
    """Probability of a random action after ``exploration_fraction`` of training."""
    exploration_fraction: float = 0.2
    """Part of training over which the probability falls, linearly."""
    max_grad_norm: float = 10.0
    """Norm to which longer gradients are clipped."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    layer_norm: bool = True
    """Normalize the hidden layers (Ba et al., 2016), which keeps Q from diverging (Gallici et al.,
    2025)."""
    freeze_obs_norm: bool = False
    """Keep the moments that normalize observations as they were at the start of training."""


Q = TypeVar("Q", bound=DeepQConfig)


def gather_actions(output: Tensor, action: Tensor) -> Tensor:
    """Return outputs for the actions taken: (..., width) of (..., A, width), by int64 (...)."""
    index = action[..., None, None].expand(*action.shape, 1, output.shape[-1])
    return output.gather(-2, index).squeeze(-2)


def random_actions(
    *shape: int, actions: int, epsilon: float | Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return where to act at random, with probability ``epsilon``, bool; and actions, int64."""
    coins = torch.rand(shape, generator=rng, device=rng.device)
    return coins < epsilon, torch.randint(actions, shape, generator=rng, device=rng.device)


class Guide(Protocol):
    """A policy that replaces the agent's actions in some states, as early in an episode."""

    def act(self, collector: Collector, actions: np.ndarray) -> np.ndarray:
        """Return the actions to execute for the agent's, as environments take them. Shape (N,)."""
        ...


class DeepQAgent(BaseAgent[Q]):
    """An agent with a Q-network, without its update."""

    discrete_only = True
    takes_encoder = True
    online: QNetwork
    """Made by ``_build``."""
    supports_gpu_envs = True
    guide: Guide | None = None
    """May replace actions while steps are collected; not saved with the agent."""

    def _network(
        self, returns: Returns, weights: torch.Generator, *, dueling: bool, noisy: bool
    ) -> QNetwork:
        config = self.config
        encoder = config.encoder(self.envs.observation_space, self.encoder, weights)
        if config.freeze_obs_norm:
            encoder.freeze_obs_norm()
        self.num_threads = config.num_threads
        self._num_actions = action_width(self._actions)
        self._exploration_rate = torch.zeros((), device=self.device)  # where a graph reads it
        return QNetwork(
            encoder,
            self._num_actions,
            returns,
            hidden=config.hidden_sizes,
            first_layer_gain=config.first_layer_gain,
            layer_norm=config.layer_norm,
            dueling=dueling,
            noisy=noisy,
            generator=weights,
        ).to(self.device)

    def _epsilon(self, progress: float) -> float:
        """Return the probability of a random action once ``progress`` of training is over."""
        config, fraction = self.config, self.config.exploration_fraction
        if self.online.noisy:
            return 0.0
        start, end = config.exploration_initial_eps, config.exploration_final_eps
        return start + (end - start) * (min(progress / fraction, 1.0) if fraction else 1.0)

    @torch.no_grad()
    def _collect(self, collector: AnyCollector, n_steps: int) -> tuple[Transition, Tensor]:
        """Act with ``_exploration_rate`` for T steps; on a device without waiting for it.

        Returns:
            Transitions, fields (T, N, ...), and actions, shape (T, N), int64.
        """
        shape, count = (n_steps, collector.num_envs), self._num_actions
        explores, random_action = random_actions(
            *shape, actions=count, epsilon=self._exploration_rate, rng=self._rng
        )
        noise = self.online.draw_noise(*shape, generator=self._rng)
        transitions, actions = [], []
        for t in range(n_steps):
            obs = collector.observe()[0].to(self.device)
            q = self.online.q(obs, noise and [part[t] for part in noise])
            action = torch.where(explores[t], random_action[t], q.argmax(dim=-1))
            if self.guide is not None:
                action = self._guided(collector, action)
            transitions.append(collector.advance(action))
            actions.append(action)
        obs, reward, next_obs, terminated, done, valid = zip(*transitions, strict=True)
        all_count = valid[0] is None or torch.stack(valid).all()
        fields = (obs, reward, next_obs, terminated, done)
        stacked = (torch.stack(rows).to(self.device) for rows in fields)
        mask = None if all_count else torch.stack(valid).to(self.device)
        return Transition(*stacked, valid=mask), torch.stack(actions)

    def _guided(self, collector: AnyCollector, action: Tensor) -> Tensor:
        """Return the guide's actions for the agent's."""
        if self.guide is None or not isinstance(collector, Collector):
            raise RobolearnError("A guide acts on the host: use engine='analytic' or 'mujoco'.")
        executed = self.guide.act(collector, to_env_action(self._actions, action.cpu().numpy()))
        return torch.from_numpy(from_env_action(self._actions, executed)).to(self.device)

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        if deterministic:
            return self.online.q(obs).argmax(dim=-1), state
        noise = self.online.draw_noise(len(obs), generator=self._predict_rng)
        best = self.online.q(obs, noise).argmax(dim=-1)
        explores, random_action = random_actions(
            len(obs),
            actions=self._num_actions,
            epsilon=self._epsilon(1.0),
            rng=self._predict_rng,
        )
        return torch.where(explores, random_action, best), state

    def q_values(self, observation: Any) -> np.ndarray:
        """Return Q of N observations, in units of reward. Shape (N, actions)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            return self.online.q(torch.from_numpy(flat).to(self.device)).cpu().numpy()
