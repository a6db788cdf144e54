"""Behavioral cloning: a policy that does in each situation what the expert did there."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robolearn.agents.ppo import PPO
from robolearn.config import check_ranges
from robolearn.environments import EnvConfig
from robolearn.errors import RobolearnError
from robolearn.evaluation import evaluate
from robolearn.imitation.demos.episodes import Shown
from robolearn.imitation.fitting import TRIALS, Choice, choose, fit
from robolearn.networks.actor_critic import ActorCritic, GaussianDistribution
from robolearn.spaces import from_env_action

Penalty = Callable[[Tensor], Tensor]
"""Of policy outputs for some rows and whatever else it holds; added to the loss. Shape ()."""


@dataclass(frozen=True, kw_only=True)
class CloneConfig:
    """Settings of behavioral cloning."""

    updates: int = 2_000
    """Gradient steps."""
    batch: int = 4_096
    """Steps of demonstrations in each: of few demonstrations all, which errs least."""
    clone_rate: float = 1e-3
    """Adam's learning rate at the start; it falls to 0."""
    try_every: int = 100
    """Gradient steps between two trials of the policy in the environment."""
    try_episodes: int = 25
    """Episodes of a trial; the policy that does best in one is kept."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("updates", "batch", "try_every", "try_episodes")
        ranges = {name: (1, math.inf) for name in counts}
        check_ranges(self, {**ranges, "clone_rate": (0, math.inf)})


def cloning_loss(net: ActorCritic, output: Tensor, action: Tensor) -> Tensor:
    """Return how badly a policy tells an expert's actions.

    Minus their mean log-likelihood; of continuous actions half the squared error, which is the
    same for a fixed deviation of 1, up to a constant: a learned one would fall to nothing.

    Args:
        net: Its head makes actions of outputs.
        output: Of the policy. Shape (B, width).
        action: The expert's, as policies have them. Shape (B,) int64 or (B, A).
    """
    if not isinstance(net.head, GaussianDistribution):
        return -net.head.log_prob(output, action).mean()
    told = net.head.executed(net.head.mode(output))
    return 0.5 * (told - action).square().sum(dim=-1).mean()


def clone(
    agent: PPO, shown: Shown, config: CloneConfig, seed: int, *, where: EnvConfig | None = None
) -> Choice:
    """Let an agent's policy do what demonstrations show; the one that does best in trials is kept.

    Its normalizer learns the moments of what was observed, its critic nothing.

    Args:
        agent: Made for the demonstrations' environment, with no memory.
        shown: The demonstrations.
        config: Settings.
        seed: Shuffles the demonstrations.
        where: Where it is tried; None for its own environment, on layouts for validation.

    Raises:
        RobolearnError: An agent with a memory, or nowhere to try it.
        DivergedError: A loss or gradient is not finite.
    """
    if agent.net.memory is not None:
        raise RobolearnError(
            "Cloning needs an agent without a GRU, got gru_hidden_size="
            f"{agent.config.gru_hidden_size}."
        )
    where = where or agent.envs.config
    if where is None:
        raise RobolearnError("Say where the clone is to be tried: its environments have no name.")
    trial = where.held_out("val")
    obs, action = tensors(agent, shown)
    agent.net.encoder.update_normalization(obs, even_frozen=True)

    def loss(rows: Tensor) -> Tensor:
        output = agent.net.policy(agent.net.encoder(obs[rows]))
        return cloning_loss(agent.net, output, action[rows])

    steps = fit(
        agent.net,
        loss,
        len(obs),
        updates=config.updates,
        batch=config.batch,
        learning_rate=config.clone_rate,
        rng=torch.Generator(agent.device).manual_seed(seed),
    )
    choice = choose(
        agent.net,
        steps,
        lambda: evaluate(agent, trial, episodes=config.try_episodes, seed=TRIALS).mean,
        every=config.try_every,
    )
    agent.set_reference_policy()
    return choice


def tensors(agent: PPO, shown: Shown) -> tuple[Tensor, Tensor]:
    """Return what was observed, shape (S, D), and what the expert wanted, as policies have it."""
    wanted = from_env_action(agent.envs.action_space, shown.wanted)  # type: ignore[arg-type]
    return torch.from_numpy(shown.obs).to(agent.device), torch.from_numpy(wanted).to(agent.device)
