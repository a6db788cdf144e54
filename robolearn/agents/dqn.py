"""Deep Q-learning (Mnih et al., 2015) and the parts that Rainbow adds (Hessel et al., 2018)."""

import math
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robolearn.accelerate import one_thread
from robolearn.agents.q_learner import QConfig, QLearner, taken
from robolearn.agents.q_losses import margin_loss, return_bounds, shares, td_loss, td_target
from robolearn.agents.saving import Parts
from robolearn.agents.schedules import falling
from robolearn.config import check_ranges
from robolearn.data.demonstrated import DemonstratedReplay
from robolearn.data.priority import SumTree, importance_weights, stratified
from robolearn.data.replay import Batch
from robolearn.data.rollout import DeviceStep, Step, Steps, stacked
from robolearn.device.collector import AnyCollector, DeviceCollector
from robolearn.device.graph import Graphed
from robolearn.errors import RobolearnError
from robolearn.nn.descent import Descent
from robolearn.nn.q_network import Returns
from robolearn.nn.value_distributions import CategoricalReturn, Expectation, QuantileReturn
from robolearn.spaces import flat_size, from_env_action
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
    shown: int = 0
    """Steps of demonstrations that are kept in memory for good."""
    shown_share: float = 0.0
    """Part of each minibatch that is demonstrated; 0 draws demonstrations as any other steps."""
    shown_bonus: float = 1.0
    """Surprise that is added to that of demonstrated steps in their priority, in mean rewards of
    theirs."""
    margin: float = 0.8
    """How much more what was shown is to return than other actions, in mean rewards shown."""
    margin_weight: float = 0.0
    """Weight of that in the loss at the start; 0 learns from demonstrations as from own steps."""
    margin_fraction: float = 0.0
    """Part of the steps over which that weight falls to 0; 0 lets it stay."""
    reward_free: bool = False
    """Let demonstrated steps be worth 1 and others nothing, whatever their reward (SQIL)."""

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
        amounts = ("warmup", "shown", "shown_bonus", "margin", "margin_weight")
        ranges |= {name: (0, math.inf) for name in amounts}
        parts = ("priority_exponent", "importance_start", "shown_share", "margin_fraction")
        check_ranges(self, {**ranges, **{name: (0, 1) for name in parts}})
        if self.returns not in RETURNS:
            raise RobolearnError(did_you_mean("kind of returns", self.returns, RETURNS))
        if self.prioritised and self.shown_share:
            raise RobolearnError(
                f"Either priorities decide what is replayed or shares, got prioritised=True and "
                f"shown_share={self.shown_share:g}. Leave out one of them."
            )
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


class Showing(NamedTuple):
    """What demonstrations say of some transitions."""

    wanted: Tensor
    """What the expert wanted. Shape (count, B), int64."""
    share: Tensor
    """Of each in the loss; 0 where it is no demonstration. Shape (count, B)."""
    margin: float
    """In units of return."""


class DQN(QLearner[DQNConfig]):
    """DQN for many environments at once; each part of Rainbow is a switch of its own."""

    name = "dqn"
    Config = DQNConfig

    def _build(self, weights: torch.Generator) -> None:
        config = self.config
        parts = {"dueling": config.dueling, "noisy": config.noisy}
        self.online = self._network(self._returns(), weights, **parts)
        self.target = deepcopy(self.online).requires_grad_(False)
        self._descent = Descent(self.online, deferred=self._deferred)
        self._graphed = Graphed(
            self._learn_drawn, capture=self._captures(self._hindrance()), generators=(self._rng,)
        )
        self._acted = Graphed(
            self._act_awhile,
            capture=self._graphed.capture and self.envs.on_device,
            generators=(self._rng,),
        )
        at_once = max(_ROWS // config.batch, 1), config.batch
        self._where = torch.zeros(at_once, dtype=torch.int64, device=self.device)
        self._weight = torch.zeros(at_once, device=self.device)
        width = flat_size(self.envs.observation_space)
        self._replay = DemonstratedReplay(
            config.capacity, config.num_envs, width, config.shown, self.device
        )
        leaves = self._replay.capacity + config.shown
        self._tree = SumTree(leaves if config.prioritised else 1, self.device)
        self.updates = 0
        self._warned = False

    def _hindrance(self) -> str | None:
        """Return why no gradient steps can be captured, None where they can."""
        return "demonstrations are replayed" if self.config.shown else None

    def _returns(self) -> Returns:
        config = self.config
        if config.returns == "categorical":
            bounds = return_bounds(*(config.reward_bounds or (-1.0, 1.0)), config.gamma)
            return CategoricalReturn(config.atoms, *(config.support or bounds))
        return QuantileReturn(config.atoms) if config.returns == "quantile" else Expectation()

    def _round(self, collector: AnyCollector, left: int, share: float) -> dict[str, float]:
        config, replay = self.config, self._replay
        length = min(config.collect_steps, math.ceil(left / config.num_envs))
        done = 1 - share
        with one_thread():
            ready = replay.collected >= min(config.warmup, replay.capacity) or config.shown > 0
            epsilon = self._epsilon(done) if ready else 1.0
            told: dict[str, float] = {"epsilon": epsilon}
            if isinstance(collector, DeviceCollector):
                self._chance.fill_(epsilon)
                happened = self._acted(length)
                told |= collector.figures()
                self._remember(*happened)
            else:
                self._remember(*self._explore(collector, length, epsilon))
            self.steps += length * config.num_envs
            rate = falling(config.learning_rate, config.final_learning_rate, 1.0, done)
            with self.clock("update"):
                return told | (self._update(done, rate) if ready else {})

    def _act_awhile(self, length: int) -> tuple[Sequence[DeviceStep], Tensor]:
        """Act on the device, which is not waited for."""
        collector = self.collector
        assert isinstance(collector, DeviceCollector)
        return self._explore_on_device(collector, length)

    def _remember(self, steps: Steps, actions: Tensor) -> None:
        """Store steps, which are replayed first as if nothing had surprised more."""
        if self.config.reward_free:
            steps = [step._replace(reward=0 * step.reward) for step in steps]  # type: ignore[assignment]
        where, valid = self._replay.put(steps, actions)
        if self.config.prioritised:
            self._tree.update(where, valid * self._tree.highest)
        seen = stacked(steps, "obs", self.device)
        here = isinstance(steps[0], DeviceStep)  # where all steps are valid
        counted = None if here else stacked(steps, "valid", self.device)
        self.online.perception.learn_moments(seen, counted)

    def show(self, steps: Step, action: np.ndarray, wanted: np.ndarray) -> None:
        """Keep demonstrations, of as many steps as ``config.shown`` says, for good.

        Args:
            steps: All of them, one after the other. Fields (S, ...).
            action: What was done, as the environment takes it. Shape (S,).
            wanted: What the expert wanted. Shape (S,).
        """
        if self.config.reward_free:
            steps = steps._replace(reward=np.ones_like(steps.reward))
        done, asked = (
            torch.from_numpy(from_env_action(self._actions, each)).to(self.device)
            for each in (action, wanted)
        )
        where = self._replay.show(steps, done, asked)
        if self.config.prioritised:
            self._tree.update(where, self._tree.highest.expand(len(where)))
        self.online.perception.take_moments(torch.from_numpy(steps.obs).to(self.device))
        self.target.load_state_dict(self.online.state_dict())

    def pretrain(self, updates: int, rate: float) -> Iterator[dict[str, float]]:
        """Take gradient steps on demonstrations, without acting, and report after each round.

        Args:
            updates: How many; whole rounds of ``config.updates``.
            rate: Learning rate at the start; it falls to 0.
        """
        rounds = math.ceil(updates / self.config.updates)
        for k in range(rounds):
            with one_thread():
                yield self._update(0.0, rate * (1 - k / rounds))

    def _update(self, done: float, rate: float) -> dict[str, float]:
        """Take a round of gradient steps and return figures of it."""
        config = self.config
        beta = falling(config.importance_start, 1.0, 1.0, done)
        weight = config.margin_weight
        if config.margin_fraction:
            weight = falling(weight, 0.0, config.margin_fraction, done)
        if self.updates == 0 and config.support is None and config.reward_bounds is None:
            self._measure_support()
        total = torch.zeros(2, device=self.device)
        left, at_once = config.updates, max(_ROWS // config.batch, 1)
        while left:
            frozen = min(left, config.target_period - self.updates % config.target_period, at_once)
            total += self._descend(frozen, rate, beta, weight)
            self.updates += frozen
            left -= frozen
            if self.updates % config.target_period == 0:
                self.target.load_state_dict(self.online.state_dict())
        loss, outside = (total / config.updates).tolist()
        self._descent.check()
        self._warn_of_saturation(outside)
        return {"td_loss": loss, "learning_rate": rate}

    def _descend(self, count: int, rate: float, beta: float, margin_weight: float = 0.0) -> Tensor:
        """Take ``count`` gradient steps between which the target network stays as it is.

        Transitions are drawn, and the target network asked, once for all of them, which changes
        nothing but that priorities are updated after the last step only.

        Returns:
            Sums over the steps of the loss and of the probability outside the support. Shape (2,).
        """
        config = self.config
        self._descent.set_rate(rate)
        where = self._draw(count)
        self._where[:count] = where
        if config.prioritised:
            priority = self._tree.get(where)
            weight = importance_weights(priority, self._tree.total, len(self._replay), beta)
            self._weight[:count] = weight
        return self._learn_drawn(count, margin_weight) if margin_weight else self._graphed(count)

    def _learn_drawn(self, count: int, margin_weight: float = 0.0) -> Tensor:
        """Take gradient steps on the transitions drawn; this is what is captured."""
        config, returns = self.config, self.online.returns
        where = self._where[:count]
        batches = self._replay.read(where, config.n_step, config.gamma)
        if config.prioritised:
            batches = batches._replace(weight=self._weight[:count])
        with torch.no_grad():
            noise = self.target.draw_noise(count, 1, generator=self._rng)
            next_output = self.target(batches.next_obs, noise)
            choosers = returns.mean(next_output)
            outside = self._outside(batches, next_output, choosers)
            targets = td_target(returns, batches, next_output, choosers)
        share = shares(batches.weight)
        showing = self._showing(where, share) if margin_weight and self._replay.shown else None
        losses, surprises = [], []
        each = zip(*(field.unbind() for field in batches), strict=True)
        for k, batch in enumerate(map(Batch._make, each)):
            target = targets[k]
            if config.double:
                with torch.no_grad():
                    chooser = self._online_q(batch.next_obs)
                    target = td_target(returns, batch, next_output[k], chooser)
            noise = self.online.draw_noise(1, generator=self._rng)
            output = self.online(batch.obs, noise)
            told = taken(output, batch.action)
            loss = td_loss(returns, told, target, share[k])
            if showing is not None:
                q = returns.mean(output)
                short = margin_loss(q, showing.wanted[k], showing.margin, showing.share[k])
                loss = loss + margin_weight * short
            self._descent.step(loss, max_norm=config.max_grad_norm)
            losses.append(loss.detach())
            if config.prioritised:
                surprises.append(returns.surprise(told.detach(), target))
        if config.prioritised:
            surprise = torch.stack(surprises).double() + 1e-6
            if self._replay.shown:
                bonus = config.shown_bonus * self._replay.reward_scale()
                surprise = surprise + bonus * self._replay.demonstrated(where)
            priority = surprise**config.priority_exponent
            self._tree.update(where.flatten(), priority.flatten())
        return torch.stack([torch.stack(losses).sum(), outside * count])

    def _draw(self, count: int) -> Tensor:
        """Return where the transitions of ``count`` gradient steps lie. Shape (count, B)."""
        size, share = self.config.batch, self.config.shown_share
        if share and self._replay.shown:
            return self._replay.draw_mixed(count, size, share=share, rng=self._rng)
        if not self.config.prioritised:
            return self._replay.draw(count, size, rng=self._rng)
        drawn = stratified(self._tree, count * size, self._rng)  # ascending
        return drawn.view(size, count).T

    def _showing(self, where: Tensor, share: Tensor) -> "Showing":
        """Return what demonstrations say of the transitions that lie at ``where``."""
        replay = self._replay
        margin = self.config.margin * replay.reward_scale()
        return Showing(replay.wanted(where), share * replay.demonstrated(where), margin)

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
