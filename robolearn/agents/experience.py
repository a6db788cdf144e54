"""What on-policy agents saw while acting, and what there is to learn from it."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from robolearn.data.rollout import Rollout
from robolearn.nn.actor_critic import ActorCritic


class Experience(NamedTuple):
    """A rollout, and what the networks made of its observations while acting."""

    rollout: Rollout
    latent: Tensor
    """Of the observations. Shape (T + 1, N, width)."""
    final_latent: Tensor
    """Of the K final observations. Shape (K, width)."""
    before: Tensor
    """The latents before the first step. Shape (N, width)."""


class Lesson(NamedTuple):
    """What there is to learn from B steps, or from T steps of N environments."""

    action: Tensor
    advantage: Tensor
    value: Tensor
    """Before the update, normalised as targets are."""
    target: Tensor
    """What the value should have been, normalised."""
    log_prob: Tensor
    """Of the action when it was drawn."""
    cloned: Tensor
    """What the policy put out that learning began with, and is to stay near; of width 0 if none."""


def minibatches(
    net: ActorCritic,
    experience: Experience,
    obs: Tensor,
    lesson: Lesson,
    size: int,
    rng: torch.Generator,
) -> Iterator[tuple[Tensor, Lesson]]:
    """Yield each valid step of a rollout once, in shuffled minibatches.

    With a memory a minibatch is the whole sequences of some environments, through which it is
    remembered anew from what the rollout began with; else it is single steps.

    Args:
        net: Sees the observations, with gradients.
        experience: The rollout.
        obs: Its observations, prepared for ``net.perception``. Shape (T, N, D).
        lesson: Fields (T, N, ...).
        size: Steps in a minibatch; with a memory the nearest to it, of one environment at least.
        rng: Shuffles.

    Yields:
        Latents, shape (B, width), and what to learn there.
    """
    rollout = experience.rollout
    steps, count = rollout.done.shape
    if net.memory is None:
        flat, fields = obs.flatten(0, 1), [field.flatten(0, 1) for field in lesson]
        valid = None if rollout.valid is None else rollout.valid.flatten()
        for rows in _shuffled(steps * count, valid, size, rng):
            yield net.perception.features(flat[rows]), Lesson(*(field[rows] for field in fields))
        return
    stepped = None if rollout.valid is None else rollout.valid.any(dim=0)  # others were only reset
    for envs in _shuffled(count, stepped, max(1, round(size / steps)), rng):
        features, start = net.perception.features(obs[:, envs]), rollout.start[:steps, envs]
        latent = net.memory.sequence(features, experience.before[envs], start)
        valid = None if rollout.valid is None else rollout.valid[:, envs]
        part = rollout._replace(valid=valid)
        yield part.counted(latent), Lesson(*(part.counted(field[:, envs]) for field in lesson))


def _shuffled(
    count: int, valid: Tensor | None, size: int, rng: torch.Generator
) -> tuple[Tensor, ...]:
    """Return the valid ones of 0 ... count - 1 in random order, in parts of ``size``."""
    if valid is None:
        return torch.randperm(count, generator=rng, device=rng.device).split(size)
    indices = valid.nonzero().squeeze(1)
    order = torch.randperm(len(indices), generator=rng, device=rng.device)
    return indices[order].split(size)
