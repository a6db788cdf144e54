"""Deep Q-learning (Mnih et al., 2015) with double targets and n-step returns."""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Discrete
from gymnasium.vector import VectorEnv
from torch import Tensor, nn

from robolearn.accelerate import choose_device, one_thread
from robolearn.agents.base import Progress, predict_with
from robolearn.agents.defaults import tuned
from robolearn.agents.saving import Parts, load_saved, save_agent
from robolearn.collect import Collector
from robolearn.config import check_ranges
from robolearn.data.replay import Batch, Replay
from robolearn.environments import EnvConfig, TrainingEnvs
from robolearn.errors import RobolearnError
from robolearn.nn.encoders import mlp
from robolearn.nn.images import find_images
from robolearn.nn.normalise import RunningNorm
from robolearn.spaces import flat_size, flatten_any, magnitudes, to_env_action


@dataclass(frozen=True, kw_only=True)
class DQNConfig:
    """Hyper-parameters of :class:`DQN`. A step always means one environment step."""

    num_envs: int = 16
    """Environments stepped together."""
    gamma: float = 0.99
    """Discount per step, in [0, 1]."""
    n_step: int = 3
    """Steps of reward in a target before the network is asked."""
    double: bool = True
    """Let the online network choose the action the target network values."""
    learning_rate: float = 1e-3
    """Adam's learning rate at the start."""
    final_learning_rate: float = 0.0
    """Adam's learning rate at the end; it falls linearly."""
    batch: int = 128
    """Transitions in a gradient step."""
    capacity: int = 50_000
    """Steps the replay memory holds."""
    warmup: int = 1_000
    """Steps of random actions before learning begins."""
    collect_steps: int = 4
    """Steps of each environment between two rounds of gradient steps."""
    updates: int = 8
    """Gradient steps in a round."""
    target_period: int = 100
    """Gradient steps between copies of the online network into the target network."""
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
    layer_norm: bool = True
    """Normalise the hidden layers, which keeps values from running away (Gallici et al., 2025)."""
    logarithm: bool = False
    """Take the logarithm of observations that cannot be negative, such as ranges."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("num_envs", "n_step", "batch", "capacity", "collect_steps", "updates", "hidden")
        weights = ("learning_rate", "final_learning_rate", "warmup", "max_grad_norm")
        parts = ("gamma", "epsilon_start", "epsilon_end", "epsilon_fraction")
        ranges = {name: (1, math.inf) for name in (*counts, "target_period")}
        ranges |= {name: (0, math.inf) for name in weights}
        check_ranges(self, {**ranges, **{name: (0, 1) for name in parts}})


def td_loss(online: nn.Module, target: nn.Module, batch: Batch, *, double: bool) -> Tensor:
    """Huber loss of Q-learning, averaged over the batch; gradients reach ``online`` only.

    The goal is R + discount * Q_target(s', a*), with a* the best action by the online network
    (double: van Hasselt et al., 2016) or by the target network itself (Mnih et al., 2015).
    """
    q = online(batch.obs).gather(1, batch.action[:, None]).squeeze(1)  # (B,)
    with torch.no_grad():
        next_q = target(batch.next_obs)  # (B, actions)
        chooser = online(batch.next_obs) if double else next_q
        best = chooser.argmax(dim=1, keepdim=True)
        goal = batch.reward + batch.discount * next_q.gather(1, best).squeeze(1)
    loss = nn.functional.smooth_l1_loss(q, goal, reduction="none")
    return (loss * batch.weight).sum() / batch.weight.sum().clamp_min(1.0)


class QNetwork(nn.Module):
    """Action values of normalised observations."""

    def __init__(self, space: Space, actions: int, config: DQNConfig, rng: torch.Generator) -> None:
        """Build for observations of ``space``; ``rng`` draws the weights."""
        super().__init__()
        width = flat_size(space)
        magnitude = torch.from_numpy(magnitudes(space)) if config.logarithm else None
        self.observations = RunningNorm(width, magnitude=magnitude)
        self.body = mlp(
            width,
            config.hidden,
            actions,
            activation="relu",
            layer_norm=config.layer_norm,
            generator=rng,
        )

    def forward(self, obs: Tensor) -> Tensor:
        """Return Q. Shape (B, actions)."""
        return self.body(self.observations(obs))


class DQN:
    """DQN for many environments at once: each explores by its own coin."""

    name = "dqn"
    Config = DQNConfig

    def __init__(
        self,
        env: str | EnvConfig | VectorEnv | TrainingEnvs,
        config: DQNConfig | None = None,
        *,
        engine: str | None = None,
        num_envs: int | None = None,
        seed: int = 0,
        device: str = "auto",
        **env_kwargs: Any,
    ) -> None:
        """Build the agent.

        Args:
            env: A Gymnasium id, an :class:`EnvConfig`, or a vector environment.
            config: Hyper-parameters; None for the tuned ones of this environment.
            engine: Physics engine, for robolearn environments.
            num_envs: Overrides ``config.num_envs``.
            seed: Fixes everything random.
            device: 'auto', 'cpu' or 'cuda'.
            **env_kwargs: Passed on to the environment.

        Raises:
            RobolearnError: Unknown environment, actions that are not discrete, or images.
        """
        self.envs = TrainingEnvs.of(env, engine, env_kwargs)
        if not isinstance(self.envs.action_space, Discrete):
            hint = "action='discrete' (--action discrete) or " if self.envs.native else ""
            raise RobolearnError(
                f"DQN needs discrete actions, got {self.envs.action_space}. Use {hint}PPO."
            )
        if find_images(self.envs.observation_space):
            raise RobolearnError(
                f"DQN has no network for images, got {self.envs.observation_space}. Use PPO."
            )
        self._actions = self.envs.action_space
        config = config or DQNConfig(**tuned(self.name, self.envs.id))
        asked = config.num_envs if num_envs is None else num_envs
        self.config = replace(config, num_envs=self.envs.batch_size(asked))
        self.seed, self.steps, self.updates = seed, 0, 0
        self.device = choose_device(device)
        weights = torch.Generator().manual_seed(seed)
        space, actions = self.envs.observation_space, int(self._actions.n)
        self.online = QNetwork(space, actions, config, weights).to(self.device)
        self.target = deepcopy(self.online).requires_grad_(False)
        self._rng = torch.Generator(self.device).manual_seed(seed)  # training
        self._play = torch.Generator(self.device).manual_seed(seed)  # predict
        self._optimizer = torch.optim.Adam(self.online.parameters(), fused=True)
        self._replay: Replay | None = None

    def iterate(self, steps: int) -> Iterator[Progress]:
        """Learn from ``steps`` more environment steps, reporting after each round."""
        config = self.config
        collector = self.envs.collector(config.num_envs, self.seed)
        if self._replay is None:
            shape = (config.capacity, config.num_envs, collector.width)
            self._replay = Replay(*shape, self.device)
        start = self.steps
        while self.steps < start + steps:
            left = start + steps - self.steps
            length = min(config.collect_steps, math.ceil(left / config.num_envs))
            with one_thread():
                done = 1 - left / steps
                warm = len(self._replay) >= min(config.warmup, self._replay.capacity)
                epsilon = self._epsilon(done) if warm else 1.0
                self._collect(collector, self._replay, length, epsilon)
                self.steps += length * config.num_envs
                metrics = {"epsilon": epsilon}
                if warm:
                    metrics |= self._update(self._replay, done)
            yield Progress(self.steps, metrics, collector.pop_episodes())

    def learn(self, steps: int) -> Self:
        """Learn from ``steps`` more environment steps."""
        for _ in self.iterate(steps):
            pass
        return self

    def _epsilon(self, done: float) -> float:
        """Return the probability of a random action, ``done`` of the way through learning."""
        config = self.config
        fallen = min(done / config.epsilon_fraction, 1.0) if config.epsilon_fraction else 1.0
        return config.epsilon_start + (config.epsilon_end - config.epsilon_start) * fallen

    @torch.no_grad()
    def _collect(self, collector: Collector, replay: Replay, length: int, epsilon: float) -> None:
        seen = []
        for _ in range(length):
            seen.append(collector.obs)
            action = self._explore(torch.from_numpy(collector.obs).to(self.device), epsilon)
            step = collector.step(to_env_action(self._actions, action.cpu().numpy()))
            replay.put(step, action)
        self.online.observations.update(torch.from_numpy(np.stack(seen)).to(self.device))

    def _explore(self, obs: Tensor, epsilon: float) -> Tensor:
        """Return epsilon-greedy actions; every environment draws its own coin. Shape (N,)."""
        coins = torch.rand(len(obs), generator=self._rng, device=self.device)
        anything = torch.randint(
            int(self._actions.n), (len(obs),), generator=self._rng, device=self.device
        )
        return torch.where(coins < epsilon, anything, self.online(obs).argmax(dim=1))

    def _update(self, replay: Replay, done: float) -> dict[str, float]:
        """Take a round of gradient steps and return figures of it."""
        config = self.config
        first, last = config.learning_rate, config.final_learning_rate
        rate = first + (last - first) * done
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self.device)
        for _ in range(config.updates):
            batch = replay.sample(config.batch, config.n_step, config.gamma, self._rng)
            total += self._step(batch)
            self.updates += 1
            if self.updates % config.target_period == 0:
                self.target.load_state_dict(self.online.state_dict())
        return {"td_loss": (total / config.updates).item(), "learning_rate": rate}

    def _step(self, batch: Batch) -> Tensor:
        loss = td_loss(self.online, self.target, batch, double=self.config.double)
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.online.parameters(), self.config.max_grad_norm)
        self._optimizer.step()
        return loss.detach()

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Return actions for one observation or a batch; SB3's signature.

        Args:
            observation: Of the observation space, or N of them stacked.
            state: Passed through: the policy has no memory.
            episode_start: Not needed: the policy has no memory.
            deterministic: Always take the best action, instead of exploring at the last rate.

        Returns:
            Actions as the environment takes them, one or N; and ``state``.
        """

        def act(obs: Tensor) -> Tensor:
            best = self.online(obs).argmax(dim=1)
            if deterministic:
                return best
            coins, anything = torch.rand(2, len(obs), generator=self._play, device=self.device)
            any_action = (anything * int(self._actions.n)).long()
            return torch.where(coins < self.config.epsilon_end, any_action, best)

        space = self.envs.observation_space
        return predict_with(act, space, self._actions, self.device, observation), state

    def q_values(self, observation: Any) -> np.ndarray:
        """Return Q of N observations, in units of reward. Shape (N, actions)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        with torch.inference_mode():
            return self.online(torch.from_numpy(flat).to(self.device)).cpu().numpy()

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns, but for the replay memory."""
        return Parts(
            modules={"online": self.online, "target": self.target},
            optimizer=self._optimizer,
            generators={"train": self._rng, "play": self._play},
            counters=("steps", "updates"),
        )

    def save(self, folder: str | Path) -> None:
        """Write the agent, without its replay memory; an agent already there is replaced."""
        save_agent(self, folder)

    @classmethod
    def load(
        cls, folder: str | Path, *, env: VectorEnv | None = None, device: str = "auto"
    ) -> Self:
        """Read an agent back; it acts as it did and can go on learning, its replay memory empty.

        Args:
            folder: What ``save`` wrote.
            env: Environments to learn in, instead of the ones it was trained in.
            device: 'auto', 'cpu' or 'cuda'.

        Raises:
            RobolearnError: No agent there, a damaged one, or one of another algorithm.
        """
        return load_saved(cls, folder, env, device)

    def close(self) -> None:
        """Close the training environments."""
        self.envs.close()
