"""PQN, parallelized Q-network (Gallici et al., 2025): no replay buffer, no target network."""

import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.agents.deep_q import DeepQAgent, DeepQConfig, gather_actions
from robolearn.agents.saving import Parts
from robolearn.buffers.rollout_buffer import Transition, counted
from robolearn.collect.device_collector import AnyCollector
from robolearn.errors import RobolearnError
from robolearn.networks.flat_adam import FlatAdam
from robolearn.networks.q_network import Expectation


@dataclass(frozen=True, kw_only=True)
class PQNConfig(DeepQConfig):
    """Hyper-parameters of :class:`PQN`. A step always means one environment step."""

    num_envs: int = 32
    """Environments stepped together."""
    n_steps: int = 32
    """Steps of each environment between two updates."""
    q_lambda: float = 0.65
    """Lambda of the Q(lambda) returns, in [0, 1]."""
    n_epochs: int = 4
    """Passes over a rollout in an update."""
    batch_size: int = 256
    """Steps in a minibatch, at most those of a rollout."""

    def __post_init__(self) -> None:
        """Refuse values that do not go together."""
        super().__post_init__()
        largest = self.num_envs * self.n_steps
        if self.batch_size > largest:
            raise RobolearnError(
                f"batch_size must be at most num_envs * n_steps = {self.num_envs} * "
                f"{self.n_steps} = {largest}, got {self.batch_size}."
            )


class PQNBatch(NamedTuple):
    """A minibatch."""

    obs: Tensor
    """Shape (B, D)."""
    action: Tensor
    """Shape (B,), int64."""
    target: Tensor
    """Q(lambda) returns, in units of reward. Shape (B,)."""


def q_loss(q: Tensor, batch: PQNBatch) -> Tensor:
    """Return half the mean squared error of Q, shape (B, A) (Gallici et al., 2025, algorithm 1)."""
    error = gather_actions(q[..., None], batch.action).squeeze(-1) - batch.target
    return 0.5 * error.square().mean()


def lambda_returns(
    reward: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    done: Tensor,
    *,
    gamma: float,
    lam: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Return the targets of Q(lambda) (Gallici et al., 2025), in units of reward. Shape (T, N).

    G_t = r_t + gamma * ((1 - lam) * V_t + lam * G_{t+1}), with V_t the value of the state that step
    t reached. V_t takes the place of G_{t+1} at a time limit and at the last step.

    Args:
        reward: Reward for leaving step t. Shape (T, N).
        next_value: V_t, here the largest Q of the state *reached*, before any reset. Shape (T, N).
        terminated: Step t entered an absorbing state, whose value is 0. Shape (T, N), bool.
        done: Step t ended the episode for any reason, time limits included. Shape (T, N), bool.
        gamma: Discount per step, in [0, 1].
        lam: 0 is one-step TD, 1 is Monte Carlo.
        valid: False where step t is left out: the step before it is bootstrapped by ``next_value``,
            as at a time limit. None where all steps count. Shape (T, N), bool.
    """
    cut = done if valid is None else torch.cat([done[:-1] | ~valid[1:], done[-1:]])
    discount = torch.full_like(reward, gamma) * ~terminated
    trust = torch.full_like(reward, lam) * ~cut
    known = reward + discount * (1 - trust) * next_value
    carry = discount * trust
    result = torch.empty_like(reward)
    running = next_value[-1]
    for t in range(reward.shape[0] - 1, -1, -1):
        running = known[t] + carry[t] * running
        result[t] = running
    return result


class PQN(DeepQAgent[PQNConfig]):
    """Q-learning on rollouts of many environments, stabilized by LayerNorm.

    RAdam, gradient clipping and the linearly falling learning rate are the authors'. Theirs are
    also 32 steps a rollout and lambda 0.65 on Atari. Observations are normalized besides.
    """

    name = "pqn"
    Config = PQNConfig

    def _build(self, weights: torch.Generator) -> None:
        self.online = self._network(Expectation(), weights, dueling=False, noisy=False)
        self.optimizer = FlatAdam(self.online, rectified=True, deferred=self._defer_finite_checks)
        self._counted = False  # whether observations are known to have been counted
        blocker = None if self.envs.on_device else "the environments are not on the device"
        self._run_iteration = self._captured(self._iteration, blocker)

    def training_iteration(
        self, collector: AnyCollector, progress_remaining: float
    ) -> dict[str, float]:
        """Collect a rollout, learn from it, and return metrics."""
        config, epsilon = self.config, self._epsilon(1 - progress_remaining)
        falls = config.lr_schedule == "linear"
        rate = config.learning_rate * (progress_remaining if falls else 1.0)
        self.optimizer.set_rate(rate)
        self._exploration_rate.fill_(epsilon)
        counted = self._counted or not self.online.encoder.awaits_normalization()
        metrics = self._run_iteration(collector, config.n_steps, counted)
        self.steps += config.n_steps * config.num_envs
        # Here, and nowhere before, the device is waited for.
        read = {name: metric.item() for name, metric in metrics.items()}
        if self.optimizer.stopped is not None:
            read |= self._finish_deferred(collector, self.optimizer)
        self._counted = counted or bool(metrics)
        return read | {"rollout/exploration_rate": epsilon, "train/learning_rate": rate}

    def _iteration(self, collector: AnyCollector, n_steps: int, counted: bool) -> dict[str, Tensor]:
        """Collect a rollout and learn from it (Gallici et al., 2025, algorithm 1).

        ``counted`` says that the observation normalizer has seen data. If not, it is updated with
        this rollout before the gradient steps, so that they see normalized observations.
        """
        config, encoder = self.config, self.online.encoder
        steps, actions = self._collect(collector, n_steps)
        began = time.perf_counter()
        if collector.diverged is not None:
            self.optimizer.forbid(collector.diverged.any())
        elif steps.valid is not None and not steps.valid.any():
            return {}  # of resets alone there is nothing to learn
        obs = steps.obs.flatten(0, 1) if steps.valid is None else steps.obs[steps.valid]
        if not counted:
            encoder.update_normalization(obs, self.optimizer.stopped)
        batch, losses = self._batch(steps, actions), []
        for _ in range(config.n_epochs):
            order = torch.randperm(len(obs), generator=self._rng, device=self.device)
            for rows in order.split(config.batch_size):
                minibatch = PQNBatch(*(field[rows] for field in batch))
                loss = q_loss(self.online.q(minibatch.obs), minibatch)
                self.optimizer.step(loss, max_norm=config.max_grad_norm)
                losses.append(loss.detach())
        if counted:
            encoder.update_normalization(obs, self.optimizer.stopped)
        self.seconds["update"] += time.perf_counter() - began
        return {"train/loss": torch.stack(losses).mean()}

    @torch.no_grad()
    def _batch(self, steps: Transition, actions: Tensor) -> PQNBatch:
        """Return the valid steps with their lambda-returns. Fields (B, ...) for (T, N, ...)."""
        target = lambda_returns(
            steps.reward,
            self.online.q(steps.next_obs).amax(dim=-1),
            steps.terminated,
            steps.done,
            gamma=self.config.gamma,
            lam=self.config.q_lambda,
            valid=steps.valid,
        )
        batch = PQNBatch(steps.obs, actions, target)
        return PQNBatch(*(counted(field, steps.valid) for field in batch))

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"online": self.online},
            optimizer=self.optimizer,
            generators={"train": self._rng, "play": self._predict_rng},
        )
