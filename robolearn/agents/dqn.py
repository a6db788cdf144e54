"""Deep Q-learning (Mnih et al., 2015) and the parts that Rainbow adds (Hessel et al., 2018)."""

import math
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from robolearn.accelerate import one_thread
from robolearn.agents.q_learner import QConfig, QLearner, falling, taken
from robolearn.agents.saving import Parts
from robolearn.collect import Collector
from robolearn.config import check_ranges
from robolearn.data.priority import SumTree, importance_weights, stratified
from robolearn.data.replay import Batch, Replay
from robolearn.data.rollout import Step
from robolearn.errors import RobolearnError
from robolearn.nn.descent import Descent
from robolearn.nn.q_network import Returns
from robolearn.nn.value_distributions import CategoricalReturn, Expectation, QuantileReturn
from robolearn.spaces import flat_size
from robolearn_envs.names import did_you_mean

RETURNS = ("mean", "categorical", "quantile")
"""What a network may tell of a return."""

_ROWS = 1024
"""Transitions the target network is asked about at once, at most: more fall out of the cache."""


@dataclass(frozen=True, kw_only=True)
class DQNConfig(QConfig):
    """Hyper-parameters of :class:`DQN`. A step always means one environment step."""

    double: bool = True
    """Let the online network choose the action the target network values."""
    dueling: bool = False
    """Tell the value of a state and the advantages of actions apart."""
    n_step: int = 3
    """Steps of reward in a target before the network is asked."""
    prioritised: bool = False
    """Replay more often what surprised more."""
    noisy: bool = False
    """Explore by noise in the weights, instead of by random actions."""
    returns: Literal["mean", "categorical", "quantile"] = "mean"
    """What is learned of a return: its mean, or its distribution (C51 or QR-DQN)."""
    rainbow: bool = False
    """All of it: sets double, dueling, prioritised and noisy, returns to categorical, and n_step to
    3 at least."""
    atoms: int = 51
    """Atoms, or quantiles, of a distribution of returns."""
    support: tuple[float, float] | None = None
    """Least and greatest return of the atoms; None derives them from rewards and gamma."""
    reward_bounds: tuple[float, float] | None = None
    """Least and greatest reward of a step; None takes those met during the warm-up."""
    priority_exponent: float = 0.6
    """0 replays all alike, 1 in proportion to surprise."""
    importance_start: float = 0.4
    """How much of the bias of prioritised replay is undone at the start; all of it at the end."""
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

    def __post_init__(self) -> None:
        """Set what Rainbow sets, and refuse numbers that make no sense."""
        if self.rainbow:
            for part in ("double", "dueling", "prioritised", "noisy"):
                object.__setattr__(self, part, True)
            object.__setattr__(self, "returns", "categorical")
            object.__setattr__(self, "n_step", max(self.n_step, 3))
        super().__post_init__()
        counts = ("n_step", "batch", "capacity", "collect_steps", "updates", "target_period")
        ranges: dict[str, tuple[float, float]] = {name: (1, math.inf) for name in counts}
        ranges |= {name: (0, 1) for name in ("priority_exponent", "importance_start")}
        check_ranges(self, {**ranges, "warmup": (0, math.inf)})
        if self.returns not in RETURNS:
            raise RobolearnError(did_you_mean("kind of returns", self.returns, RETURNS))
        if self.returns == "categorical":
            self._check_support()

    def _check_support(self) -> None:
        if self.gamma == 1 and self.support is None:
            raise RobolearnError(
                "With gamma=1 no bounds of rewards bound their sum, got support=None. Give the "
                "least and greatest return."
            )
        if self.support is None or self.reward_bounds is None or self.gamma == 1:
            return
        needed, (low, high) = return_bounds(*self.reward_bounds, self.gamma), self.support
        slack = 1e-6 * (high - low)  # 1 / (1 - 0.9) is a little more than 10
        if not (low <= needed[0] + slack and needed[1] - slack <= high):
            raise RobolearnError(
                f"support must hold returns from {needed[0]:g} to {needed[1]:g}, which rewards in "
                f"{self.reward_bounds} and gamma={self.gamma:g} make possible, got {self.support}."
            )


def return_bounds(low: float, high: float, gamma: float) -> tuple[float, float]:
    """Return the least and greatest discounted return of rewards in [low, high].

    An episode may end at any step and may go on for ever: min(low, 0) / (1 - gamma) and
    max(high, 0) / (1 - gamma); infinite for gamma 1.
    """
    horizon = 1 / (1 - gamma) if gamma < 1 else math.inf
    return (low * horizon if low < 0 else 0.0), (high * horizon if high > 0 else 0.0)


def td_target(returns: Returns, batch: Batch, next_output: Tensor, chooser: Tensor) -> Tensor:
    """Return what the network should have told of the action taken: R + discount * Z(s', a*).

    a* is the best action by ``chooser``: the target network's own means (Mnih et al., 2015), or
    the online network's (double: van Hasselt et al., 2016).

    Args:
        returns: What is told of a return.
        batch: Fields (..., ).
        next_output: Of the target network for s'. Shape (..., A, width).
        chooser: Expected returns that choose a*. Shape (..., A).

    Returns:
        Shape (..., width).
    """
    best = taken(next_output, chooser.argmax(dim=-1))
    return returns.target(batch.reward, batch.discount, best)


def shares(weight: Tensor) -> Tensor:
    """Return weights over how many transitions are valid: those with a weight. Shape (..., B)."""
    return weight / (weight > 0).sum(dim=-1, keepdim=True).clamp_min(1)


def td_loss(returns: Returns, told: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the error of what the network told, as a weighted sum over the batch.

    Args:
        returns: What is told of a return, and what error is made in it.
        told: By the online network, of the actions taken. Shape (B, width).
        target: What it should have told. Shape (B, width).
        share: Of each transition in the loss. Shape (B,).
    """
    return (returns.error(told, target) * share).sum()


class DQN(QLearner[DQNConfig]):
    """DQN for many environments at once; each part of Rainbow is a switch of its own."""

    name = "dqn"
    Config = DQNConfig

    def _build(self, weights: torch.Generator) -> None:
        config = self.config
        parts = {"dueling": config.dueling, "noisy": config.noisy}
        self.online = self._network(self._returns(), weights, **parts)
        self.target = deepcopy(self.online).requires_grad_(False)
        self._descent = Descent(self.online)
        width = flat_size(self.envs.observation_space)
        self._replay = Replay(config.capacity, config.num_envs, width, self.device)
        self._tree = SumTree(self._replay.capacity if config.prioritised else 1, self.device)
        self.updates = 0
        self._warned = False

    def _returns(self) -> Returns:
        config = self.config
        if config.returns == "categorical":
            bounds = return_bounds(*(config.reward_bounds or (-1.0, 1.0)), config.gamma)
            return CategoricalReturn(config.atoms, *(config.support or bounds))
        return QuantileReturn(config.atoms) if config.returns == "quantile" else Expectation()

    def _round(self, collector: Collector, left: int, share: float) -> dict[str, float]:
        config, replay = self.config, self._replay
        length = min(config.collect_steps, math.ceil(left / config.num_envs))
        done = 1 - share
        with one_thread():
            ready = len(replay) >= min(config.warmup, replay.capacity)
            epsilon = self._epsilon(done) if ready else 1.0
            self._remember(*self._explore(collector, length, epsilon))
            self.steps += length * config.num_envs
            return {"epsilon": epsilon, **(self._update(done) if ready else {})}

    def _remember(self, steps: Sequence[Step], actions: Tensor) -> None:
        """Store steps, which are replayed first as if nothing had surprised more."""
        where, valid = self._replay.put(steps, actions)
        if self.config.prioritised:
            self._tree.update(where, valid * self._tree.highest)
        self.online.perception.learn_moments(
            *(
                torch.from_numpy(np.stack(arrays)).to(self.device)
                for arrays in ([step.obs for step in steps], [step.valid for step in steps])
            )
        )

    def _update(self, done: float) -> dict[str, float]:
        """Take a round of gradient steps and return figures of it."""
        config = self.config
        rate = falling(config.learning_rate, config.final_learning_rate, 1.0, done)
        beta = falling(config.importance_start, 1.0, 1.0, done)
        if self.updates == 0 and config.support is None and config.reward_bounds is None:
            self._measure_support()
        total = torch.zeros(2, device=self.device)
        left, at_once = config.updates, max(_ROWS // config.batch, 1)
        while left:
            frozen = min(left, config.target_period - self.updates % config.target_period, at_once)
            total += self._descend(frozen, rate, beta)
            self.updates += frozen
            left -= frozen
            if self.updates % config.target_period == 0:
                self.target.load_state_dict(self.online.state_dict())
        loss, outside = (total / config.updates).tolist()
        self._warn_of_saturation(outside)
        return {"td_loss": loss, "learning_rate": rate}

    def _descend(self, count: int, rate: float, beta: float) -> Tensor:
        """Take ``count`` gradient steps between which the target network stays as it is.

        Transitions are drawn, and the target network asked, once for all of them, which changes
        nothing but that priorities are updated after the last step only.

        Returns:
            Sums over the steps of the loss and of the probability outside the support. Shape (2,).
        """
        config, returns = self.config, self.online.returns
        where = self._draw(count)
        batches = self._replay.read(where, config.n_step, config.gamma)
        if config.prioritised:
            priority = self._tree.get(where)
            weight = importance_weights(priority, self._tree.total, len(self._replay), beta)
            batches = batches._replace(weight=weight.float())
        with torch.no_grad():
            noise = self.target.draw_noise(count, 1, generator=self._rng)
            next_output = self.target(batches.next_obs, noise)
            choosers = returns.mean(next_output)
            outside = self._outside(batches, next_output, choosers)
            targets = td_target(returns, batches, next_output, choosers)
        share = shares(batches.weight)
        losses, surprises = [], []
        each = zip(*(field.unbind() for field in batches), strict=True)
        for k, batch in enumerate(map(Batch._make, each)):
            target = targets[k]
            if config.double:
                with torch.no_grad():
                    chooser = self._online_q(batch.next_obs)
                    target = td_target(returns, batch, next_output[k], chooser)
            noise = self.online.draw_noise(1, generator=self._rng)
            told = taken(self.online(batch.obs, noise), batch.action)
            loss = td_loss(returns, told, target, share[k])
            self._descent.step(loss, rate=rate, max_norm=config.max_grad_norm)
            losses.append(loss.detach())
            if config.prioritised:
                surprises.append(returns.surprise(told.detach(), target))
        if config.prioritised:
            priority = (torch.stack(surprises).double() + 1e-6) ** config.priority_exponent
            self._tree.update(where.flatten(), priority.flatten())
        return torch.stack([torch.stack(losses).sum(), outside * count])

    def _draw(self, count: int) -> Tensor:
        """Return where the transitions of ``count`` gradient steps lie. Shape (count, B)."""
        size = self.config.batch
        if not self.config.prioritised:
            return self._replay.draw(count, size, rng=self._rng)
        drawn = stratified(self._tree, count * size, self._rng)  # ascending
        return drawn.view(size, count).T

    def _outside(self, batches: Batch, next_output: Tensor, choosers: Tensor) -> Tensor:
        """Return how much probability of the first minibatch's targets no atom can hold."""
        returns = self.online.returns
        if not isinstance(returns, CategoricalReturn):
            return torch.zeros((), device=self.device)
        best = taken(next_output[0], choosers[0].argmax(dim=-1))
        return returns.clipped(batches.reward[0], batches.discount[0], best).mean()

    def _measure_support(self) -> None:
        """Spread the atoms over the returns that rewards met so far make possible."""
        low, high = return_bounds(*self._replay.reward_bounds(), self.config.gamma)
        for net in (self.online, self.target):
            if isinstance(net.returns, CategoricalReturn) and low < high:
                net.returns.span(low, high)

    def _warn_of_saturation(self, outside: float) -> None:
        returns = self.online.returns
        if outside <= 0.01 or self._warned or not isinstance(returns, CategoricalReturn):
            return
        self._warned = True
        low, high = returns.support[0].item(), returns.support[-1].item()
        warnings.warn(
            f"{outside:.0%} of the returns lie outside the support [{low:g}, {high:g}] of the "
            "atoms; give a wider support.",
            stacklevel=2,
        )

    def parts(self) -> Parts:
        """Return what of the agent changes while it learns."""
        return Parts(
            modules={"online": self.online, "target": self.target},
            optimizer=self._descent.adam,
            generators={"train": self._rng, "play": self._play},
            counters=("steps", "updates"),
            keepers={"replay": self._replay, "priorities": self._tree},
        )
