"""Parallel Q-learning (Gallici et al., 2025): no replay memory and no target network."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.accelerate import one_thread
from robolearn.agents.learner import read
from robolearn.agents.q_learner import QConfig, QLearner, taken
from robolearn.agents.saving import Parts
from robolearn.agents.schedules import falling
from robolearn.config import check_ranges
from robolearn.data.returns import lambda_returns
from robolearn.data.rollout import DeviceStep, Step, Steps, stacked
from robolearn.device.collector import AnyCollector, DeviceCollector
from robolearn.device.graph import Graphed
from robolearn.errors import RobolearnError
from robolearn.nn.descent import Descent
from robolearn.nn.value_distributions import Expectation


@dataclass(frozen=True, kw_only=True)
class PQNConfig(QConfig):
    """Hyper-parameters of :class:`PQN`. A step always means one environment step."""

    num_envs: int = 32
    """Environments stepped together."""
    rollout_steps: int = 32
    """Steps of each environment between two updates."""
    q_lambda: float = 0.65
    """Weight of longer returns in a target, in [0, 1]."""
    epochs: int = 4
    """Passes over a rollout in an update."""
    minibatch: int = 256
    """Steps in a minibatch, at most those of a rollout."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        super().__post_init__()
        counts = ("rollout_steps", "epochs", "minibatch")
        check_ranges(self, {**{name: (1, math.inf) for name in counts}, "q_lambda": (0, 1)})
        largest = self.num_envs * self.rollout_steps
        if self.minibatch > largest:
            raise RobolearnError(
                f"minibatch must be at most num_envs * rollout_steps = {self.num_envs} * "
                f"{self.rollout_steps} = {largest}, got {self.minibatch}."
            )


class Lesson(NamedTuple):
    """What B steps teach."""

    obs: Tensor
    """Shape (B, D)."""
    action: Tensor
    """Shape (B,), int64."""
    target: Tensor
    """What Q of the action should be, in units of reward. Shape (B,)."""


def q_loss(q: Tensor, lesson: Lesson) -> Tensor:
    """Half the mean squared error of the actions taken (Gallici et al., 2025, algorithm 1).

    Args:
        q: Of all actions. Shape (B, A).
        lesson: Holds the actions taken and their targets.
    """
    return 0.5 * (taken(q[..., None], lesson.action).squeeze(-1) - lesson.target).square().mean()


class PQN(QLearner[PQNConfig]):
    """Q-learning from the steps just made by many environments at once, steadied by LayerNorm."""

    name = "pqn"
    Config = PQNConfig

    def _build(self, weights: torch.Generator) -> None:
        self.online = self._network(Expectation(), weights, dueling=False, noisy=False)
        self._descent = Descent(self.online, deferred=self._deferred)
        here = self.envs.on_device
        hindrance = None if here else "the environments are not on the device"
        self._graphed = Graphed(
            self._iteration, capture=self._captures(hindrance), generators=(self._rng,)
        )

    def _round(self, collector: AnyCollector, left: int, share: float) -> dict[str, float]:
        config = self.config
        length = min(config.rollout_steps, math.ceil(left / config.num_envs))
        epsilon = self._epsilon(1 - share)
        rate = falling(config.learning_rate, config.final_learning_rate, 1.0, 1 - share)
        self._descent.set_rate(rate)
        with one_thread():
            if isinstance(collector, DeviceCollector):
                self._chance.fill_(epsilon)
                figures = read(self._graphed(length))
                figures |= self._episodes(collector, self._descent)
            else:
                steps, actions = self._explore(collector, length, epsilon)
                with self.clock("update"):
                    lesson = self._lesson(steps, actions)
                    figures = read(self._update(lesson)) if len(lesson.action) else {}  # no resets
            self._descent.check()
        self.steps += length * config.num_envs
        return {**figures, "epsilon": epsilon, "learning_rate": rate}

    def _iteration(self, length: int) -> dict[str, Tensor]:
        """Act and learn on the device, which is not waited for: this is what is captured."""
        collector = self.collector
        assert isinstance(collector, DeviceCollector)
        lesson = self._lesson(*self._explore_on_device(collector, length))
        self._descent.forbid(collector.spoiled().any())
        return self._update(lesson)

    def _update(self, lesson: Lesson) -> dict[str, Tensor]:
        """Learn from a rollout and return figures of the update."""
        config = self.config
        losses = []
        for _ in range(config.epochs):
            order = torch.randperm(len(lesson.action), generator=self._rng, device=self.device)
            for rows in order.split(config.minibatch):
                part = Lesson(*(field[rows] for field in lesson))
                loss = q_loss(self.online.q(part.obs), part)
                self._descent.step(loss, max_norm=config.max_grad_norm)
                losses.append(loss.detach())
        self.online.perception.learn_moments(lesson.obs, None)
        return {"td_loss": torch.stack(losses).mean()}

    @torch.no_grad()
    def _lesson(self, steps: Steps, actions: Tensor) -> Lesson:
        """Return what the valid steps of a rollout teach."""
        fields = [stacked(steps, name, self.device) for name in Step._fields]
        obs, reward, next_obs, terminated, done, valid = fields
        next_value = self.online.q(next_obs).amax(dim=-1)
        target = lambda_returns(
            reward, next_value, terminated, done, gamma=self.config.gamma, lam=self.config.q_lambda
        )
        told = Lesson(obs, actions, target)
        if isinstance(steps[0], DeviceStep):  # all are, which need not be looked at
            return Lesson(*(field.flatten(0, 1) for field in told))
        return Lesson(*(field[valid] for field in told))

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"online": self.online},
            optimizer=self._descent.adam,
            generators={"train": self._rng, "play": self._play},
            counters=("steps",),
        )
