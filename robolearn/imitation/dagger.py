"""DAgger (Ross et al., 2011): the expert says what it would do where the learner gets to."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gymnasium.vector import VectorEnv

from robolearn.accelerate import one_thread
from robolearn.agents.ppo import PPO
from robolearn.agents.protocols import Policy
from robolearn.collect.collector import Collector
from robolearn.config import check_ranges
from robolearn.environments import SEED_SPACING, EnvConfig
from robolearn.imitation.clone import CloneConfig, clone
from robolearn.imitation.demos.episodes import Shown, joined
from robolearn.imitation.fitting import Choice
from robolearn.runs.stopping import check_stop


@dataclass(frozen=True, kw_only=True)
class DAggerConfig(CloneConfig):
    """Settings of DAgger; those of cloning are for each of its rounds."""

    rounds: int = 5
    """How often the expert is asked and its answers are learned from."""
    round_steps: int = 2_000
    """Environment steps it is asked about in a round, in whole steps of all environments."""
    round_envs: int = 16
    """Environments stepped together."""
    expert_share: float = 1.0
    """Probability that the expert, not the learner, acts in an episode of the first round; in the
    k-th round it is to the k-th power of this, but 0 after the first if this is 1."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        super().__post_init__()
        ranges = {name: (1, math.inf) for name in ("rounds", "round_steps", "round_envs")}
        check_ranges(self, {**ranges, "expert_share": (0, 1)})

    def share(self, number: int) -> float:
        """Return the probability that the expert acts in an episode of round 0, 1, ..."""
        return float(number == 0) if self.expert_share == 1 else self.expert_share ** (number + 1)


def dagger(
    agent: PPO,
    expert: Callable[[VectorEnv], Policy],
    config: DAggerConfig,
    where: EnvConfig,
    seed: int,
    *,
    shown: Shown | None = None,
) -> tuple[Choice, Shown]:
    """Let an agent act, ask the expert about every situation, learn all its answers, and again.

    Args:
        agent: Made for the environment, with no memory.
        expert: Makes one for a batch of environments.
        config: Settings.
        where: The environment.
        seed: Fixes everything random.
        shown: Demonstrations to begin with.

    Returns:
        The best of all rounds, to which the agent is set, and all that was learned from.

    Raises:
        DivergedError: A loss, gradient or simulation is not finite.
    """
    rng = np.random.default_rng(seed)
    envs = where.make_vec(config.round_envs)
    best: Choice | None = None
    weights = agent.net.state_dict()
    curve: list[tuple[int, float]] = []
    try:
        collector = Collector(envs, SEED_SPACING * seed, on_divergence=where.on_divergence)
        teacher = _Teacher(expert(envs))
        for number in range(config.rounds):
            seen = _ask(agent, teacher, collector, config, config.share(number), rng)
            shown = seen if shown is None else joined(shown, seen)
            choice = clone(agent, shown, config, seed + number, where=where)
            curve += [(number * config.updates + made, score) for made, score in choice.curve]
            if best is None or choice.score >= best.score:
                best = choice._replace(update=number * config.updates + choice.update)
                weights = {name: tensor.clone() for name, tensor in agent.net.state_dict().items()}
    finally:
        envs.close()
    assert best is not None
    assert shown is not None
    agent.net.load_state_dict(weights)
    agent.set_reference_policy()
    return best._replace(curve=tuple(curve)), shown


class _Teacher:
    """An expert, and what it remembers of the episodes under way, from round to round."""

    def __init__(self, expert: Policy) -> None:
        self._expert, self._memory = expert, None

    def ask(self, collector: Collector) -> np.ndarray:
        """Return what it would do in the environments as they stand. Shape (N, ...)."""
        asked, self._memory = self._expert.predict(
            collector.observations, self._memory, collector.starts, deterministic=True
        )
        return asked


def _ask(
    agent: PPO,
    teacher: _Teacher,
    collector: Collector,
    config: DAggerConfig,
    share: float,
    rng: np.random.Generator,
) -> Shown:
    """Return situations and what the expert would do there; it acts in ``share`` of episodes."""
    leads = rng.random(collector.num_envs) < share
    wanted, executed, steps = [], [], []
    with one_thread():
        for _ in range(math.ceil(config.round_steps / collector.num_envs)):
            check_stop()
            leads = np.where(collector.starts, rng.random(collector.num_envs) < share, leads)
            asked = teacher.ask(collector)
            own, _ = agent.predict(collector.observations, deterministic=True)
            action = np.where(leads if own.ndim == 1 else leads[:, None], asked, own)
            steps.append(collector.step(action))
            wanted.append(asked)
            executed.append(action)
    valid = np.concatenate([step.valid for step in steps])
    obs, reward, next_obs, terminated, done = (
        np.concatenate([getattr(step, name) for step in steps])[valid]
        for name in ("obs", "reward", "next_obs", "terminated", "done")
    )
    action, asked = (np.concatenate(each)[valid] for each in (executed, wanted))
    return Shown(obs, action, asked, reward, next_obs, terminated, done)
