"""Distillation: a small agent that does what a large one does."""

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from robolearn.agents.deep_q import random_actions
from robolearn.agents.dqn import DQN
from robolearn.agents.ppo import PPO
from robolearn.collect.collector import Collector
from robolearn.config import check_ranges
from robolearn.errors import RobolearnError
from robolearn.imitation.fitting import fit
from robolearn.networks.actor_critic import (
    ActorCritic,
    Distribution,
    GaussianDistribution,
    MultiCategoricalDistribution,
)
from robolearn.networks.q_network import QNetwork
from robolearn.runs.stopping import check_stop
from robolearn.spaces import action_width, to_env_action
from robolearn_envs.names import did_you_mean

Head: TypeAlias = Distribution
LOSSES = ("divergence", "regression")
_WHIMS = 0.05
"""Part of a Q-learner's actions that are random while it is watched."""


@dataclass(frozen=True, kw_only=True)
class DistillConfig:
    """Settings of distillation. A step means one environment step."""

    hidden: tuple[int, ...] = (32, 16)
    """Widths of the student's hidden layers."""
    features: int = 16
    """Width the student encodes an image to."""
    loss: Literal["divergence", "regression"] = "divergence"
    """What is to become small: the divergence of the teacher's actions from the student's, or the
    squared error of the network's outputs, of a Q-learner its Q."""
    temperature: float = 1.0
    """More than 1 tells more of unlikely actions, less makes the best one more important. Of
    Q-learners, in units of reward."""
    rounds: int = 4
    """Times that steps are made and learned from; all steps are kept."""
    steps: int = 6_000
    """Steps in each round."""
    student_share: float = 0.5
    """Part of the environments in which the student acts, from the second round on."""
    updates: int = 1_500
    """Gradient steps in each round."""
    batch: int = 256
    """Steps in a gradient step."""
    distill_rate: float = 3e-3
    """Adam's learning rate at the start of each round; it falls to 0."""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense."""
        counts = ("hidden", "features", "rounds", "steps", "updates", "batch")
        ranges = {name: (1, math.inf) for name in counts}
        parts = {"student_share": (0, 1), "distill_rate": (0, math.inf)}
        check_ranges(self, {**ranges, **parts, "temperature": (1e-6, math.inf)})
        if self.loss not in LOSSES:
            raise RobolearnError(did_you_mean("loss", self.loss, LOSSES))


def categorical_kl(taught: Tensor, told: Tensor, temperature: float) -> Tensor:
    """Return KL(softmax(taught / T), softmax(told / T)) in nats (Hinton et al., 2015, sec. 2).

    Without their factor T^2, which only matters beside other losses. Of Q this is policy
    distillation (Rusu et al., 2016, eq. 3), but that the student's are divided by T as well.

    Args:
        taught: The teacher's logits. Shape (..., A).
        told: The student's. Shape (..., A).
        temperature: T.

    Returns:
        Shape (...).
    """
    log_taught = (taught / temperature).log_softmax(dim=-1)
    log_told = (told / temperature).log_softmax(dim=-1)
    return (log_taught.exp() * (log_taught - log_told)).sum(dim=-1)


def gaussian_kl(
    taught: tuple[Tensor, Tensor], told: tuple[Tensor, Tensor], temperature: float
) -> Tensor:
    """Return KL of independent normals in nats, both densities to the power 1 / T as softmax's.

    That is, of normals with variances T sigma^2:
    log(sigma_s / sigma_t) + (T sigma_t^2 + (mu_t - mu_s)^2) / (2 T sigma_s^2) - 1/2.

    Args:
        taught: The teacher's means and logarithms of deviations. Shapes (..., A).
        told: The student's. Shapes (..., A).
        temperature: T.

    Returns:
        Shape (...).
    """
    (mean, log_std), (other_mean, other_log_std) = taught, told
    ratio = log_std - other_log_std
    distance = (mean - other_mean).square() * torch.exp(-2 * other_log_std) / temperature
    return (0.5 * (torch.exp(2 * ratio) + distance - 1) - ratio).sum(dim=-1)


def policy_kl(
    teacher: Head, teacher_output: Tensor, student: Head, student_output: Tensor, temperature: float
) -> Tensor:
    """Return the divergence of a teacher's actions from a student's in nats.

    Squashing, being the same map for both, changes nothing of it.

    Args:
        teacher: Makes actions of ``teacher_output``.
        teacher_output: The teacher's outputs. Shape (..., width).
        student: Makes actions of ``student_output``.
        student_output: The student's outputs. Shape (..., width).
        temperature: Of both.

    Returns:
        Shape (...).
    """
    if isinstance(teacher, GaussianDistribution) and isinstance(student, GaussianDistribution):
        return gaussian_kl(
            teacher._moments(teacher_output), student._moments(student_output), temperature
        )
    if isinstance(teacher, MultiCategoricalDistribution):
        return teacher.kl_divergence(teacher_output / temperature, student_output / temperature)
    return categorical_kl(teacher_output, student_output, temperature)


def regression(taught: Tensor, told: Tensor) -> Tensor:
    """Return half the squared error, summed over the last dimension. (..., width) to (...)."""
    return 0.5 * (taught - told).square().sum(dim=-1)


class Model(NamedTuple):
    """What there is of an agent for acting and for being taught."""

    net: ActorCritic | QNetwork
    output: Callable[[Tensor], Tensor]
    """Of the policy, or Q. Shape (N, width) for observations (N, D)."""
    act: Callable[[Tensor, torch.Generator], Tensor]
    """What the environment is to do, of outputs. Shape (N,) or (N, A)."""


Distilled = TypeVar("Distilled", PPO, DQN)


def model_of(net: ActorCritic | QNetwork, actions: int) -> Model:
    """Return how a network acts: a policy as it does in training, Q nearly always by the best.

    Args:
        net: Of an agent.
        actions: How many discrete ones there are; continuous policies do not ask.
    """
    if isinstance(net, ActorCritic):

        def sampled(output: Tensor, rng: torch.Generator) -> Tensor:
            noise = net.head.draw_noise(len(output), generator=rng)
            return net.head.executed(net.head.sample(output, noise))

        return Model(net, lambda obs: net.policy(net.encoder(obs)), sampled)

    def whimsical(q: Tensor, rng: torch.Generator) -> Tensor:
        fell, random_action = random_actions(len(q), actions=actions, epsilon=_WHIMS, rng=rng)
        return torch.where(fell, random_action, q.argmax(dim=-1))

    return Model(net, net.q, whimsical)


def network_of(agent: PPO | DQN) -> ActorCritic | QNetwork:
    """Return the network an agent acts by."""
    return agent.net if isinstance(agent, PPO) else agent.online


def acting_size(agent: PPO | DQN) -> int:
    """Return how many numbers decide on an agent's actions: no critics, no target networks."""
    net = network_of(agent)
    modules: list[nn.Module] = [net]
    if isinstance(net, ActorCritic):
        modules = [net.encoder, net.policy, net.head, *([net.memory] if net.memory else [])]
    return sum(p.numel() for module in modules for p in module.parameters())


def new_student(teacher: Distilled, config: DistillConfig, seed: int) -> Distilled:
    """Return a small agent that knows nothing, where the teacher learned.

    Raises:
        RobolearnError: A teacher with a memory, which a student without one cannot follow.
    """
    changes: dict[str, Any] = {"hidden_sizes": config.hidden, "cnn_features_dim": config.features}
    if isinstance(teacher, PPO):
        if teacher.config.gru_hidden_size:
            raise RobolearnError(
                f"A teacher must have no GRU, got gru_hidden_size={teacher.config.gru_hidden_size}."
            )
        changes |= {"adapter": "none", "freeze_encoder": False}
    small: Any = replace(teacher.config, **changes)
    envs = teacher.envs.config or teacher.envs
    return type(teacher)(envs, small, seed=seed, device=str(teacher.device))


def distill(teacher: Distilled, config: DistillConfig, *, seed: int = 0) -> Distilled:
    """Return a small agent that does what the teacher does, and can go on learning.

    In the first round the teacher acts; from the second on the student does in some of the
    environments, and the teacher says what it would have done there (Ross et al., 2011). The
    student of a Q-learner tells Q up to what its loss cannot see: a divergence does not see a
    constant that is added to all actions of a state. A PPO's student has no critic yet.

    Args:
        teacher: Without a memory; stays as it is.
        config: Settings.
        seed: Of the student, its environments, and all that is drawn.

    Raises:
        RobolearnError: A teacher with a memory.
        DivergedError: A loss or gradient is not finite.
    """
    student = new_student(teacher, config, seed)
    rng = torch.Generator(student.device).manual_seed(seed)
    space: Any = student.envs.action_space
    learner, master = (
        model_of(net, action_width(space))
        for net in (deepcopy(network_of(student)), network_of(teacher))
    )
    _begin_alike(learner.net, master.net)
    seen: list[Tensor] = []
    told: list[Tensor] = []
    for k in range(config.rounds):  # a copy learns: the student's optimizer holds its weights
        share = config.student_share if k else 0.0
        obs, taught = watch(student, master, learner, config.steps, share, rng)
        seen.append(obs)
        told.append(taught)
        _study(learner, master, torch.cat(seen), torch.cat(told), config, rng)
    for module in student.parts().modules.values():
        module.load_state_dict(learner.net.state_dict())
    student.close()
    return student


def _begin_alike(student: ActorCritic | QNetwork, teacher: ActorCritic | QNetwork) -> None:
    """Give a student what does not depend on its size: moments, deviations, atoms."""
    student.encoder.observations.load_state_dict(teacher.encoder.observations.state_dict())
    if isinstance(student, ActorCritic) and isinstance(teacher, ActorCritic):
        student.head.load_state_dict(teacher.head.state_dict())
    if isinstance(student, QNetwork) and isinstance(teacher, QNetwork):
        student.returns.load_state_dict(teacher.returns.state_dict())


@torch.no_grad()
def watch(
    student: PPO | DQN,
    master: Model,
    learner: Model,
    steps: int,
    share: float,
    rng: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Let a teacher and a student act side by side, and the teacher say what it would do.

    Args:
        student: Has the environments.
        master: The teacher.
        learner: The student as it is taught.
        steps: Of all environments together, at least.
        share: Part of the environments, the first ones, in which the student acts.
        rng: Draws actions.

    Returns:
        Observations, shape (S, D), and the teacher's outputs for them, shape (S, width).
    """
    collector = student.collector
    if not isinstance(collector, Collector):
        raise RobolearnError("Distilling acts on the host: use engine='analytic' or 'mujoco'.")
    space: Any = student.envs.action_space
    count = collector.num_envs
    by_learner = torch.arange(count, device=student.device) < round(share * count)
    seen, told = [], []
    for _ in range(math.ceil(steps / count)):
        check_stop()
        obs = torch.from_numpy(collector.obs).to(student.device)
        taught = master.output(obs)
        action = master.act(taught, rng)
        if share:
            own = learner.act(learner.output(obs), rng)
            action = torch.where(by_learner if own.ndim == 1 else by_learner[:, None], own, action)
        collector.step(to_env_action(space, action.cpu().numpy()))
        seen.append(obs)
        told.append(taught)
    return torch.cat(seen), torch.cat(told)


def _study(
    learner: Model,
    master: Model,
    obs: Tensor,
    taught: Tensor,
    config: DistillConfig,
    rng: torch.Generator,
) -> None:
    """Let the student learn what the teacher told of observations, (S, D) and (S, width)."""
    student, teacher = learner.net, master.net

    def loss(rows: Tensor) -> Tensor:
        told = learner.output(obs[rows])
        if config.loss == "regression":
            return regression(taught[rows], told).mean()
        if isinstance(student, ActorCritic) and isinstance(teacher, ActorCritic):
            divergence = policy_kl(
                teacher.head, taught[rows], student.head, told, config.temperature
            )
            return divergence.mean()
        return categorical_kl(taught[rows], told, config.temperature).mean()

    steps = fit(
        student,
        loss,
        len(obs),
        updates=config.updates,
        batch=config.batch,
        learning_rate=config.distill_rate,
        rng=rng,
    )
    for _ in steps:
        pass
