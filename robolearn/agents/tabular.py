"""Q-learning (Watkins & Dayan, 1992) and SARSA (Rummery & Niranjan, 1994), in a table."""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Tensor, nn

from robolearn.accelerate import one_thread
from robolearn.agents.base import AgentConfig, BaseAgent, linear_schedule
from robolearn.agents.deep_q import random_actions
from robolearn.agents.saving import Parts
from robolearn.buffers.rollout_buffer import Step
from robolearn.collect.collector import Collector
from robolearn.collect.device_collector import AnyCollector
from robolearn.config import check_ranges
from robolearn.errors import RobolearnError
from robolearn.spaces import action_width, flatten_any, to_env_action

ROUND = 16
"""Steps of each environment between two reports."""
LARGEST = 10_000_000
"""Most entries of a table."""


@dataclass(frozen=True, kw_only=True)
class TabularConfig(AgentConfig):
    """Hyper-parameters of agents with a table. A step always means one environment step."""

    learning_rate: float = 1.0
    """How far an entry moves towards its target at its first visit, in [0, 1]."""
    step_size_exponent: float = 0.5
    """The step size of the n-th visit is learning_rate / n^exponent: 0 is constant, 1 is a mean.
    Convergence is proven only above 0.5 (Robbins and Monro, 1951)."""
    exploration_initial_eps: float = 1.0
    """Probability of a random action at the start."""
    exploration_final_eps: float = 0.05
    """Probability of a random action after ``exploration_fraction`` of the steps."""
    exploration_fraction: float = 0.5
    """Part of the steps over which the probability falls, linearly."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        check_ranges(self, {"learning_rate": (0, 1)})


@dataclass(frozen=True, kw_only=True)
class QLearningConfig(TabularConfig):
    """Hyper-parameters of :class:`QLearning`. A step always means one environment step."""


@dataclass(frozen=True, kw_only=True)
class SARSAConfig(TabularConfig):
    """Hyper-parameters of :class:`SARSA`. A step always means one environment step."""


T = TypeVar("T", bound=TabularConfig)


def state_sizes(space: Space) -> tuple[int, ...] | None:
    """Return how many values each number of an observation may have; None if not all are finite."""
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return tuple(int(n) for n in space.nvec.flat)
    if isinstance(space, spaces.Tuple | spaces.Dict):
        parts = space.values() if isinstance(space, spaces.Dict) else space
        sizes = [state_sizes(part) for part in parts]
        return None if None in sizes else tuple(n for own in sizes if own for n in own)
    return None


def states(obs: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return which rows of the table flat observations are. Shape (N,), int64.

    ``obs`` are one-hot vectors side by side, of widths ``sizes``. Shape (N, sum of ``sizes``).
    """
    row = np.zeros(len(obs), dtype=np.int64)
    for size, part in zip(sizes, np.split(obs, np.cumsum(sizes)[:-1], axis=1), strict=True):
        row = row * size + part.argmax(axis=1)
    return row


def learn_targets(
    q: np.ndarray,
    visits: np.ndarray,
    entry: np.ndarray,
    target: np.ndarray,
    *,
    rate: float,
    power: float,
) -> None:
    """Move entries of a table towards their targets, in place.

    The n-th visit of an entry moves it by rate / n^power of the way. Several visits at once move
    it towards the mean of their targets, as far as one after the other would. So their order does
    not matter, and with rate and power 1 an entry is the mean of all its targets.

    Args:
        q: The table. Shape (E,).
        visits: How often each entry was visited before. Shape (E,), int64.
        entry: Which entries were visited. Shape (B,).
        target: Of each visit. Shape (B,).
        rate: In [0, 1].
        power: In [0, 1].
    """
    entry, place, count = np.unique(entry, return_inverse=True, return_counts=True)
    mean = np.bincount(place, target) / count
    among = np.arange(1, count.max(initial=0) + 1)[:, None]  # visits of this step
    alpha = rate / (visits[entry] + among) ** power
    stays = np.where(among <= count, 1.0 - alpha, 1.0).prod(axis=0)
    q[entry] = stays * q[entry] + (1.0 - stays) * mean
    visits[entry] += count


class QTable(nn.Module):
    """Q and number of visits of each state and action, 0 at first."""

    q: Tensor
    """In units of reward. Shape (S, A), float64."""
    visits: Tensor
    """Shape (S, A), int64."""

    def __init__(self, count: int, actions: int) -> None:
        super().__init__()
        self.register_buffer("q", torch.zeros(count, actions, dtype=torch.float64))
        self.register_buffer("visits", torch.zeros(count, actions, dtype=torch.int64))


class Choice:
    """The next actions, where they are chosen before an update, as by SARSA."""

    actions: np.ndarray | None = None
    """Shape (N,)."""

    def state(self) -> dict[str, Tensor]:
        """Return the actions by name."""
        return {} if self.actions is None else {"actions": torch.from_numpy(self.actions)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go back to what ``state`` returned."""
        self.actions = state["actions"].numpy() if "actions" in state else None


class Tabular(BaseAgent[T]):
    """An agent with a table, without its update. The table is on the CPU, whatever the device."""

    discrete_only = True

    def _build(self, weights: torch.Generator) -> None:
        space, agent = self.envs.observation_space, type(self).__name__
        sizes, width = state_sizes(space), action_width(self._actions)
        if sizes is None:
            raise RobolearnError(
                f"{agent} keeps a table, for which observations must be Discrete or tuples of "
                f"such, got {' '.join(str(space).split())}. Use DQN or PPO."
            )
        if math.prod(sizes) * width > LARGEST:
            raise RobolearnError(
                f"{agent} would need a table of {math.prod(sizes):,} states and {width} actions, "
                f"which may have {LARGEST:,} entries. Use DQN or PPO."
            )
        self._sizes = sizes
        self.table = QTable(math.prod(sizes), width)
        self._choice = Choice()

    @property
    def _q(self) -> np.ndarray:
        """The table itself, as an array. Shape (S, A)."""
        return self.table.q.numpy()

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Act, learn from each step, and return metrics."""
        assert isinstance(collector, Collector)
        config = self.config
        length = min(ROUND, math.ceil((self.until - self.steps) / config.num_envs))
        epsilon = self._epsilon(1 - progress_remaining)
        with one_thread():
            errors = [self._advance(collector, epsilon) for _ in range(length)]
        self.steps += length * config.num_envs
        return {"train/td_error": float(np.mean(errors)), "rollout/exploration_rate": epsilon}

    @abstractmethod
    def _advance(self, collector: Collector, epsilon: float) -> float:
        """Make one step in all environments, learn from it and return the error."""

    def _epsilon(self, progress: float) -> float:
        """Return the probability of a random action once ``progress`` of training is over."""
        start, end = self.config.exploration_initial_eps, self.config.exploration_final_eps
        return linear_schedule(start, end, self.config.exploration_fraction, progress)

    def _draw(self, state: np.ndarray, epsilon: float, rng: torch.Generator) -> np.ndarray:
        """Return epsilon-greedy actions; of equally good ones the first is taken. Shape (N,)."""
        drawn = random_actions(len(state), actions=self._q.shape[1], epsilon=epsilon, rng=rng)
        explores, random_action = (tensor.cpu().numpy() for tensor in drawn)
        return np.where(explores, random_action, self._q[state].argmax(axis=1))

    def _learn(self, step: Step, action: np.ndarray, next_q: np.ndarray) -> float:
        """Learn R + gamma Q(s', a'), where Q(s', a') is 0 if s' is terminal. Shapes (N,).

        Returns:
            The mean absolute TD error, in units of reward; 0 where no step is valid.
        """
        began = time.perf_counter()
        config, valid = self.config, step.valid
        target = (step.reward + config.gamma * next_q * ~step.terminated)[valid]
        entry = (states(step.obs, self._sizes) * self._q.shape[1] + action)[valid]
        q, visits = self._q.reshape(-1), self.table.visits.numpy().reshape(-1)
        error = np.abs(target - q[entry]).sum() / max(valid.sum(), 1)
        rate, power = config.learning_rate, config.step_size_exponent
        learn_targets(q, visits, entry, target, rate=rate, power=power)
        self.seconds["update"] += time.perf_counter() - began
        return float(error)

    def _act(
        self, obs: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        rows = states(obs.cpu().numpy(), self._sizes)
        if deterministic:
            return torch.from_numpy(self._q[rows].argmax(axis=1)), state
        return torch.from_numpy(self._draw(rows, self._epsilon(1.0), self._predict_rng)), state

    def q_values(self, observation: Any) -> np.ndarray:
        """Return Q of N observations, in units of reward. Shape (N, actions)."""
        flat, _ = flatten_any(self.envs.observation_space, observation)
        return self._q[states(flat, self._sizes)]

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"table": self.table},
            generators={"train": self._rng, "play": self._predict_rng},
            keepers={"choice": self._choice},
        )


class QLearning(Tabular[QLearningConfig]):
    """Learns the values of the greedy policy, off-policy."""

    name = "q-learning"
    Config = QLearningConfig

    def _advance(self, collector: Collector, epsilon: float) -> float:
        action = self._draw(states(collector.obs, self._sizes), epsilon, self._rng)
        step = collector.step(to_env_action(self._actions, action))
        best = self._q[states(step.next_obs, self._sizes)].max(axis=1)
        return self._learn(step, action, best)


class SARSA(Tabular[SARSAConfig]):
    """Learns the values of its own policy, from the action it takes next."""

    name = "sarsa"
    Config = SARSAConfig

    def _advance(self, collector: Collector, epsilon: float) -> float:
        """See the base; a new episode has an action of its own in place of a'."""
        if self._choice.actions is None:
            self._choice.actions = self._draw(
                states(collector.obs, self._sizes), epsilon, self._rng
            )
        action = self._choice.actions
        step = collector.step(to_env_action(self._actions, action))
        reached = states(step.next_obs, self._sizes)
        following = self._draw(reached, epsilon, self._rng)
        error = self._learn(step, action, self._q[reached, following])
        begun = self._draw(states(collector.obs, self._sizes), epsilon, self._rng)
        self._choice.actions = np.where(step.done, begun, following)
        return error
