"""DQN (Mnih et al., 2015) and the extensions that make it Rainbow (Hessel et al., 2018).

The defaults are DQN's. Differences from the paper, which plays Atari games: Adam in place of
RMSprop, observations normalized by their running moments, gradients clipped by their norm, several
environments at once, and numbers for tasks that take minutes.
"""

import math
import time
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from robolearn.agents.deep_q import DeepQAgent, DeepQConfig, gather_actions
from robolearn.agents.defaults import return_range
from robolearn.agents.saving import Parts
from robolearn.buffers.replay_buffer import ReplayBatch, ReplayBuffer
from robolearn.buffers.rollout_buffer import Transition
from robolearn.buffers.sum_tree import SumTree, importance_weights, stratified
from robolearn.collect.cuda_graph import CudaGraph
from robolearn.collect.device_collector import AnyCollector, DeviceCollector
from robolearn.errors import RobolearnError
from robolearn.networks.flat_adam import FlatAdam
from robolearn.networks.q_network import CategoricalReturn, Expectation, QuantileReturn, Returns
from robolearn.spaces import flat_size, is_uint8

_ROWS = 1024
"""Most transitions in one call of the target network: more fall out of the CPU's cache."""


@dataclass(frozen=True, kw_only=True)
class DQNConfig(DeepQConfig):
    """Hyper-parameters of :class:`DQN`. A step always means one environment step."""

    lr_schedule: Literal["linear", "constant"] = "constant"
    """Keep the learning rate (constant), or let it fall linearly to 0 (linear)."""
    adam_eps: float = 1e-8
    """Epsilon of Adam."""
    layer_norm: bool = False
    """Normalize the hidden layers (Ba et al., 2016)."""
    double_q: bool = False
    """Double Q-learning (van Hasselt et al., 2016)."""
    dueling: bool = False
    """Dueling architecture (Wang et al., 2016)."""
    n_step: int = 1
    """Steps of an n-step return."""
    prioritized_replay: bool = False
    """Prioritized experience replay (Schaul et al., 2016)."""
    noisy_nets: bool = False
    """Noisy networks in place of epsilon-greedy exploration (Fortunato et al., 2018)."""
    value_distribution: Literal["none", "c51", "qr"] = "none"
    """Predict the mean return (none) or its distribution: categorical (c51; Bellemare et al., 2017)
    or quantiles (qr; Dabney et al., 2018)."""
    n_atoms: int = 51
    """Atoms of C51."""
    n_quantiles: int = 51
    """Quantiles of QR-DQN."""
    v_min: float | None = None
    """Smallest atom of C51, a discounted return; None takes the environment's, if known."""
    v_max: float | None = None
    """Largest atom of C51; None takes the environment's, if known."""
    per_alpha: float = 0.6
    """Exponent alpha of priorities: 0 samples uniformly."""
    per_beta_start: float = 0.4
    """Importance-sampling exponent beta at the start; it rises linearly to 1."""
    batch_size: int = 128
    """Transitions in a gradient step."""
    buffer_size: int = 50_000
    """Transitions in the replay buffer."""
    learning_starts: int = 1_000
    """Steps with random actions before learning begins."""
    train_freq: int = 4
    """Steps of each environment between two updates."""
    gradient_steps: int = 8
    """Gradient steps in an update."""
    target_update_interval: int = 1_000
    """Steps, of all environments together, between two copies of the online network into the target
    network. They are counted by the gradient steps that go with them."""

    def __post_init__(self) -> None:
        """Refuse values that do not go together."""
        super().__post_init__()
        least = self.num_envs * max(self.n_step + 1, self.train_freq)
        if self.buffer_size < least:
            raise RobolearnError(
                f"buffer_size must be at least num_envs * max(n_step + 1, train_freq) = "
                f"{self.num_envs} * {max(self.n_step + 1, self.train_freq)} = {least}, got "
                f"{self.buffer_size}. Raise buffer_size."
            )
        if (self.v_min is None) != (self.v_max is None):
            raise RobolearnError(
                f"v_min and v_max go together, got v_min={self.v_min} and v_max={self.v_max}. "
                "Give both or neither."
            )
        if self.v_min is not None and self.v_max is not None and not self.v_min < self.v_max:
            raise RobolearnError(
                f"v_min must be less than v_max, got v_min={self.v_min:g} and "
                f"v_max={self.v_max:g}. Give the least and the greatest discounted return."
            )


RAINBOW: dict[str, Any] = {
    "double_q": True,
    "dueling": True,
    "n_step": 3,
    "prioritized_replay": True,
    "noisy_nets": True,
    "value_distribution": "c51",
    "per_alpha": 0.5,
    "adam_eps": 1.5e-4,
}
"""Rainbow (Hessel et al., 2018, table 1), without its learning rate and sizes for Atari."""


def rainbow(**overrides: Any) -> DQNConfig:
    """Return Rainbow's hyper-parameters, but for ``overrides`` such as ``noisy_nets=False``."""
    return DQNConfig(**{**RAINBOW, **overrides})


def td_target(head: Returns, batch: ReplayBatch, next_output: Tensor, next_q: Tensor) -> Tensor:
    """Return R + discount * Z(s', a*), shape (..., width), a* being the best action by ``next_q``.

    ``next_output`` is that of the target network for s', shape (..., A, width). ``next_q``, shape
    (..., A), is by the target network (Mnih et al., 2015), or by the online network (double
    Q-learning; van Hasselt et al., 2016).
    """
    best = gather_actions(next_output, next_q.argmax(dim=-1))
    return head.target(batch.reward, batch.discount, best)


def td_loss(head: Returns, output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean error: Huber, cross-entropy (C51) or quantile Huber (QR). Shape ().

    ``output`` is that of the online network for the actions taken, and ``target`` of the same
    shape, (B, width). A transition with ``weight`` 0, shape (B,), is left out of the mean.
    """
    return (head.error(output, target) * weight).sum() / (weight > 0).sum().clamp_min(1)


class DQN(DeepQAgent[DQNConfig]):
    """DQN in several environments at once; each part of Rainbow is a switch of its own.

    Noisy networks draw new weights for each minibatch and for each use of a network in it.
    """

    name = "dqn"
    Config = DQNConfig
    graph_blocker: ClassVar[str | None] = None
    """Why gradient steps cannot be captured as CUDA graphs; None where they can."""

    def _build(self, weights: torch.Generator) -> None:
        config = self.config
        parts = {"dueling": config.dueling, "noisy": config.noisy_nets}
        self.online = self._network(self._returns(), weights, **parts)
        self.target = deepcopy(self.online).requires_grad_(False)
        self.target.encoder.observations = self.online.encoder.observations  # at all times
        self.optimizer = FlatAdam(
            self.online, eps=config.adam_eps, deferred=self._defer_finite_checks
        )
        self._run_batches = self._captured(self._train_on_indices, self.graph_blocker)
        self._run_collect = self._collect
        if self.envs.on_device:
            self._run_collect = self._captured(self._collect, self.graph_blocker)
        shape = max(_ROWS // config.batch_size, 1), config.batch_size
        self._indices = torch.zeros(shape, dtype=torch.int64, device=self.device)
        self._is_weights = torch.zeros(shape, device=self.device)
        space = self.envs.observation_space
        self._replay = ReplayBuffer(
            config.buffer_size,
            config.num_envs,
            flat_size(space),
            self.device,
            num_demos=self._num_demos(),
            dtype=torch.uint8 if is_uint8(space) else torch.float32,
            fixed=self.envs.on_device,
        )
        leaves = self._replay.capacity + self._num_demos()
        self._tree = SumTree(leaves if config.prioritized_replay else 1, self.device)
        self._learning_starts = min(config.learning_starts, self._replay.capacity)
        self.num_updates = 0

    def _num_demos(self) -> int:
        """Return how many demonstrated steps the replay buffer holds."""
        return 0

    def _returns(self) -> Returns:
        config = self.config
        if config.value_distribution == "c51":
            low, high = config.v_min, config.v_max
            if low is None or high is None:
                low, high = self._return_range()
                self.config = replace(config, v_min=low, v_max=high)
            return CategoricalReturn(config.n_atoms, low, high)
        return (
            QuantileReturn(config.n_quantiles)
            if config.value_distribution == "qr"
            else Expectation()
        )

    def _return_range(self) -> tuple[float, float]:
        """Return the least and greatest discounted return, or raise where they are not known."""
        gamma = self.config.gamma
        known = return_range(self.envs.id, gamma)
        if known is None:
            raise RobolearnError(
                f"value_distribution='c51' needs v_min and v_max, which are not known for "
                f"{self.envs.id or 'these environments'} at gamma={gamma:g}, got None. Give the "
                "least and the greatest discounted return (--v-min, --v-max)."
            )
        return known

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Act, learn from the replay buffer, and return metrics."""
        config, progress = self.config, 1 - progress_remaining
        n_steps = min(config.train_freq, math.ceil((self.until - self.steps) / config.num_envs))
        ready = self._replay.num_collected >= self._learning_starts
        epsilon = self._epsilon(progress) if ready else 1.0
        self._exploration_rate.fill_(epsilon)
        metrics = {"rollout/exploration_rate": epsilon}
        steps, actions = self._run_collect(collector, n_steps)
        if isinstance(collector, DeviceCollector):
            metrics |= collector.episode_metrics()
        began = time.perf_counter()
        self._store(steps, actions)
        self.steps += n_steps * config.num_envs
        if ready:
            falls = config.lr_schedule == "linear"
            rate = config.learning_rate * (progress_remaining if falls else 1.0)
            metrics |= self._update(progress, rate)
        self.seconds["update"] += time.perf_counter() - began
        return metrics

    def _store(self, steps: Transition, actions: Tensor) -> None:
        """Store steps, fields (T, N, ...), and actions, (T, N), with the largest priority."""
        slots = self._replay.num_final_slots
        index, valid = self._replay.add(steps, actions)
        if self._replay.num_final_slots > slots and isinstance(self._run_batches, CudaGraph):
            self._run_batches.reset()  # the captured graph reads the table that was too small
        if self.config.prioritized_replay:
            self._tree.update(index, valid * self._tree.highest)
        obs = steps.obs if steps.valid is None else steps.obs[steps.valid]
        self.online.encoder.update_normalization(obs)

    def _update(self, progress: float, learning_rate: float) -> dict[str, float]:
        """Take ``config.gradient_steps`` gradient steps (Mnih et al., 2015, algorithm 1)."""
        config, replay = self.config, self._replay
        self.optimizer.set_rate(learning_rate)
        beta = config.per_beta_start + (1.0 - config.per_beta_start) * progress
        # A gradient step goes with env_steps / gradient_steps environment steps.
        env_steps = config.train_freq * config.num_envs
        interval = config.target_update_interval * config.gradient_steps
        totals, remaining = torch.zeros(2, device=self.device), config.gradient_steps
        while remaining:
            copies = self.num_updates * env_steps // interval
            to_copy = math.ceil((copies + 1) * interval / env_steps) - self.num_updates
            count = min(remaining, to_copy, len(self._indices))
            # Sampling all minibatches first delays nothing but the update of priorities.
            index = self.sample_indices(count)
            self._indices[:count] = index
            if config.prioritized_replay:
                priority, total = self._tree.get(index), self._tree.total
                self._is_weights[:count] = importance_weights(priority, total, len(replay), beta)
            totals += self._run_batches(count)
            self.num_updates += count
            remaining -= count
            if count == to_copy:
                self.target.load_state_dict(self.online.state_dict())
        loss, q_mean = (totals / config.gradient_steps).tolist()
        self.optimizer.check()
        return {
            "train/loss": loss,
            "train/q_mean": q_mean,
            "train/grad_norm": self.optimizer.grad_norm.item(),
            "train/replay_ratio": config.gradient_steps * config.batch_size / env_steps,
            "train/learning_rate": learning_rate,
        }

    def sample_indices(self, count: int) -> Tensor:
        """Return where the transitions of ``count`` minibatches lie. Shape (count, B), int64."""
        size = self.config.batch_size
        if not self.config.prioritized_replay:
            return self._replay.sample_indices(count, size, rng=self._rng)
        ascending = stratified(self._tree, count * size, self._rng)
        return ascending.view(size, count).T

    def _train_on_indices(self, count: int) -> Tensor:
        """Take a gradient step on each sampled minibatch; may be captured as a CUDA graph."""
        config, head = self.config, self.online.returns
        indices = self._indices[:count]
        batches = self._replay.get(indices, config.n_step, config.gamma)
        if config.prioritized_replay:
            batches = batches._replace(weight=self._is_weights[:count])
        with torch.no_grad():  # the target network stays as it is
            noise = self.target.draw_noise(count, 1, generator=self._rng)
            next_output = self.target(batches.next_obs, noise)
        losses, qs, td_errors = [], [], []
        for k in range(count):
            batch = ReplayBatch(*(field[k] for field in batches))
            target = self._batch_target(batch, next_output[k])
            output = self.online(batch.obs, self.online.draw_noise(1, generator=self._rng))
            predicted = gather_actions(output, batch.action)
            loss = td_loss(head, predicted, target, batch.weight)
            extra_loss = self.extra_loss(output, batch, indices[k])
            self.optimizer.step(loss + extra_loss, max_norm=config.max_grad_norm)
            losses.append(loss.detach())
            qs.append(head.mean(predicted.detach()[:, None]).mean())
            if config.prioritized_replay:
                td_errors.append(head.td_error(predicted.detach(), target))
        if config.prioritized_replay:
            priorities = self.priorities(torch.stack(td_errors).double(), indices)
            self._tree.update(indices.flatten(), priorities.flatten())
        return torch.stack([torch.stack(losses).sum(), torch.stack(qs).sum()])

    @torch.no_grad()
    def _batch_target(self, batch: ReplayBatch, next_output: Tensor) -> Tensor:
        """Return TD targets, (B, width), by the target network's ``next_output``, (B, A, width)."""
        head = self.online.returns
        if self.config.double_q:
            noise = self.online.draw_noise(1, generator=self._rng)
            next_q = self.online.q(batch.next_obs, noise)
        else:
            next_q = head.mean(next_output)
        return td_target(head, batch, next_output, next_q)

    def extra_loss(self, output: Tensor, batch: ReplayBatch, index: Tensor) -> Tensor | float:
        """Return what is added to the TD loss: 0, but not in :class:`~robolearn.agents.dqfd.DQfD`.

        Args:
            output: Of the online network. Shape (B, A, width).
            batch: Fields (B, ...).
            index: Of the transitions. Shape (B,).
        """
        return 0.0

    def priorities(self, td_errors: Tensor, indices: Tensor) -> Tensor:
        """Return priorities of absolute TD errors (Schaul et al., 2016, eq. 1). (count, B)."""
        return (td_errors + 1e-6) ** self.config.per_alpha

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"online": self.online, "target": self.target},
            optimizer=self.optimizer,
            generators={"train": self._rng, "play": self._predict_rng},
            counters=("steps", "num_updates"),
            keepers={"replay": self._replay, "priorities": self._tree},
        )
