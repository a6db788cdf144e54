"""DQN from demonstrations (DQfD; Hester et al., 2018), and SQIL (Reddy et al., 2020)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robolearn.accelerate import threads
from robolearn.agents.base import linear_schedule
from robolearn.agents.deep_q import gather_actions
from robolearn.agents.dqn import DQN, DQNConfig, td_loss
from robolearn.buffers.replay_buffer import ReplayBatch
from robolearn.buffers.rollout_buffer import Step, Transition
from robolearn.errors import RobolearnError
from robolearn.spaces import from_env_action


@dataclass(frozen=True, kw_only=True)
class DQfDConfig(DQNConfig):
    """Hyper-parameters of :class:`DQfD`. A step always means one environment step.

    The loss is n-step TD + ``one_step_loss_coef`` * 1-step TD + ``margin_loss_coef`` * large margin
    + ``l2_coef`` * L2. The paper has 1, 1 and 1e-5, on Atari games.
    """

    num_demo_transitions: int = 0
    """Demonstrated steps, which stay in the replay buffer."""
    demo_ratio: float = 0.0
    """Part of each minibatch that is demonstrated; 0 samples demonstrations as other steps."""
    demo_priority_bonus: float = 1.0
    """Added to the TD error of demonstrated steps in their priority, in mean demonstrated
    rewards."""
    expert_margin: float = 0.8
    """By how much Q of the expert's action shall exceed that of others, in mean demonstrated
    rewards."""
    margin_loss_coef: float = 0.0
    """Weight of the large-margin loss at the start."""
    margin_anneal_fraction: float | None = None
    """Part of training over which that weight falls to 0: 0 at once, None never."""
    one_step_loss_coef: float = 0.0
    """Weight of a 1-step TD loss beside the n-step one."""
    l2_coef: float = 0.0
    """Weight of the sum of squares of the network's parameters."""
    sqil_rewards: bool = False
    """Replace rewards by 1 for demonstrated steps and 0 for others (SQIL)."""

    def __post_init__(self) -> None:
        """Refuse values that do not go together."""
        super().__post_init__()
        if self.prioritized_replay and self.demo_ratio:
            raise RobolearnError(
                "prioritized_replay and demo_ratio exclude each other, got prioritized_replay=True "
                f"and demo_ratio={self.demo_ratio:g}. Leave out one of them."
            )


def large_margin_loss(q: Tensor, expert_action: Tensor, margin: float, weight: Tensor) -> Tensor:
    """Return the large-margin classification loss (Hester et al., 2018, eq. 3), a weighted sum.

        max_a [Q(s, a) + margin * (a != a_E)] - Q(s, a_E)

    is 0 where Q of the expert's action a_E exceeds that of all others by the margin.

    Args:
        q: Shape (B, A).
        expert_action: Shape (B,), int64.
        margin: In units of return.
        weight: 0 where a transition is not demonstrated. Shape (B,).
    """
    index = expert_action[:, None]
    expert_q = q.gather(1, index)
    with_margin = (q + margin).scatter(1, index, expert_q)
    return ((with_margin.amax(dim=1) - expert_q.squeeze(1)) * weight).sum()


class DQfD(DQN):
    """DQN whose replay buffer keeps demonstrations, and which is pretrained on them."""

    name = "dqfd"
    Config = DQfDConfig
    config: DQfDConfig
    graph_blocker = "demonstrations are replayed"

    def _build(self, weights: torch.Generator) -> None:
        super()._build(weights)
        if self.config.num_demo_transitions:
            self._learning_starts = 0
        self._margin_coef = self._margin = 0.0
        self._margin_losses: list[Tensor] = []

    def _num_demos(self) -> int:
        return self.config.num_demo_transitions

    def _return_range(self) -> tuple[float, float]:
        gamma = self.config.gamma
        if not self.config.sqil_rewards:
            return super()._return_range()
        if gamma == 1:
            raise RobolearnError(
                "value_distribution='c51' needs v_min and v_max for SQIL's rewards at gamma=1, got "
                "None. Give the least and the greatest return (--v-min, --v-max)."
            )
        return 0.0, 1 / (1 - gamma)

    def _store(self, steps: Transition, actions: Tensor) -> None:
        if self.config.sqil_rewards:
            steps = steps._replace(reward=torch.zeros_like(steps.reward))
        super()._store(steps, actions)

    def add_demonstrations(
        self, steps: Step, action: np.ndarray, expert_action: np.ndarray
    ) -> None:
        """Store demonstrations and normalize observations by theirs.

        Args:
            steps: ``config.num_demo_transitions`` of them, in order. Fields (S, ...).
            action: Executed actions, as the environment takes them. Shape (S,).
            expert_action: What the expert would have done. Shape (S,).
        """
        if self.config.sqil_rewards:
            steps = steps._replace(reward=np.ones_like(steps.reward))
        executed, expert = (
            torch.from_numpy(from_env_action(self._actions, each)).to(self.device)
            for each in (action, expert_action)
        )
        index = self._replay.add_demonstrations(steps, executed, expert)
        if self.config.prioritized_replay:
            self._tree.update(index, self._tree.highest.expand(len(index)))
        self.online.encoder.update_normalization(
            torch.from_numpy(steps.obs).to(self.device), even_frozen=True
        )
        self.target.load_state_dict(self.online.state_dict())

    def pretrain(self, num_updates: int, learning_rate: float) -> Iterator[dict[str, float]]:
        """Take gradient steps on demonstrations alone; yield metrics after each iteration.

        Args:
            num_updates: How many, rounded up to multiples of ``config.gradient_steps``.
            learning_rate: At the start; it falls linearly to 0.
        """
        iterations = math.ceil(num_updates / self.config.gradient_steps)
        for k in range(iterations):
            with threads(self.config.num_threads):
                yield self._update(0.0, learning_rate * (1 - k / iterations))

    def _update(self, progress: float, learning_rate: float) -> dict[str, float]:
        config, demos = self.config, self._replay.num_demos
        coef = linear_schedule(
            config.margin_loss_coef, 0.0, config.margin_anneal_fraction, progress
        )
        self._margin_coef = coef if demos else 0.0
        self._margin = config.expert_margin * self._replay.demo_reward_scale() if demos else 0.0
        self._margin_losses.clear()
        metrics = super()._update(progress, learning_rate)
        if self._margin_losses:
            metrics["train/margin_loss"] = torch.stack(self._margin_losses).mean().item()
        return metrics

    def sample_indices(self, count: int) -> Tensor:
        """Return the indices of ``count`` minibatches; ``demo_ratio`` of each are demonstrated."""
        size, ratio = self.config.batch_size, self.config.demo_ratio
        if not (ratio and self._replay.num_demos):
            return super().sample_indices(count)
        return self._replay.sample_mixed_indices(count, size, demo_ratio=ratio, rng=self._rng)

    def extra_loss(self, output: Tensor, batch: ReplayBatch, index: Tensor) -> Tensor | float:
        """Return the weighted sum of large-margin, 1-step TD and L2 loss; see :class:`DQN`."""
        config, replay, head = self.config, self._replay, self.online.returns
        loss: Tensor | float = 0.0
        if self._margin_coef:
            expert_action = replay.expert_actions(index)
            weight = batch.weight * replay.is_demo(index)
            weight = weight / (batch.weight > 0).sum().clamp_min(1)
            margin_loss = large_margin_loss(head.mean(output), expert_action, self._margin, weight)
            self._margin_losses.append(margin_loss.detach())
            loss = loss + self._margin_coef * margin_loss
        if config.one_step_loss_coef:
            step = replay.get(index, 1, config.gamma)
            with torch.no_grad():
                noise = self.target.draw_noise(1, generator=self._rng)
                target = self._batch_target(step, self.target(step.next_obs, noise))
            predicted = gather_actions(output, step.action)
            one_step_loss = td_loss(head, predicted, target, batch.weight)
            loss = loss + config.one_step_loss_coef * one_step_loss
        if config.l2_coef:
            squares = [parameter.square().sum() for parameter in self.online.parameters()]
            loss = loss + config.l2_coef * torch.stack(squares).sum()
        return loss

    def priorities(self, td_errors: Tensor, indices: Tensor) -> Tensor:
        """Return priorities, with a bonus for demonstrations (Hester et al., 2018, sec. 4)."""
        if self._replay.num_demos:
            bonus = self.config.demo_priority_bonus * self._replay.demo_reward_scale()
            td_errors = td_errors + bonus * self._replay.is_demo(indices)
        return super().priorities(td_errors, indices)
