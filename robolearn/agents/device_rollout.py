"""Acting on a device, for agents that learn from rollouts."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from robolearn.agents.experience import Experience
from robolearn.data.rollout import Rollout
from robolearn.device.collector import DeviceCollector
from robolearn.nn.actor_critic import ActorCritic

Call: TypeAlias = Callable[..., Any]
"""Calls a function, its first argument, with the network that acts and with the other arguments,
tensors with a row for each environment; so are the results."""


class Trace(NamedTuple):
    """T steps of N environments, as they were made."""

    obs: Tensor
    """What was acted on, and the observation after the last step. Shape (T + 1, N, D)."""
    start: Tensor
    """The observation is the first of an episode. Shape (T + 1, N), bool."""
    action: Tensor
    """Of the policy. Shape (T, N, ...)."""
    reward: Tensor
    """Shape (T, N)."""
    terminated: Tensor
    """Shape (T, N), bool."""
    done: Tensor
    """Shape (T, N), bool."""
    reached: Tensor
    """What each step led to, before any reset. Shape (T, N, D)."""
    latent: Tensor
    """What the network made of ``obs``. Shape (T + 1, N, width)."""


@torch.no_grad()
def act_on_device(
    call: Call, collector: DeviceCollector, latent: Tensor, noise: Tensor
) -> tuple[Trace, Tensor]:
    """Act for some steps and return them, without waiting for the device.

    Args:
        call: Calls functions of the network that acts.
        collector: Of N environments.
        latent: What the net made of the observations before, in the end of the latest. (N, width).
        noise: What actions are drawn with, T steps of it. Shape (T, N, ...).

    Returns:
        What happened, and the latents before that, shape (N, width).
    """
    before = latent.clone()
    starts, latents, actions, steps = [], [], [], []
    for step_noise in noise.unbind():
        start = collector.starts.clone()
        obs = collector.obs.clone()  # a network without a normaliser hands on what it sees
        seen = (obs, latents[-1] if latents else before, start)
        latent_now, action, executed = call(_decide, *seen, step_noise)
        steps.append(collector.step(executed))
        starts.append(start)
        latents.append(latent_now)
        actions.append(action)
    latent.copy_(latents[-1])
    last = call(ActorCritic.perceive, collector.obs, latent, collector.starts)
    fields = (torch.stack(each) for each in zip(*steps, strict=True))
    obs, reward, reached, terminated, done, _ = fields
    trace = Trace(
        obs=torch.cat([obs, collector.obs[None]]),
        start=torch.stack([*starts, collector.starts]),
        action=torch.stack(actions),
        reward=reward,
        terminated=terminated,
        done=done,
        reached=reached,
        latent=torch.stack([*latents, last]),
    )
    return trace, before


def _decide(
    net: ActorCritic, obs: Tensor, before: Tensor, start: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the latents of N observations, the policy's actions, and what is to be done."""
    latent = net.perceive(obs, before, start)
    action = net.head.sample(net.policy(latent), noise)
    return latent, action, net.head.executed(action)


@torch.no_grad()
def experienced(net: ActorCritic, trace: Trace, before: Tensor) -> Experience:
    """Return what a network saw while it acted, with every observation reached as a final one.

    Args:
        net: Acted.
        trace: T steps of N environments.
        before: The latents before them. Shape (N, width).
    """
    rollout = Rollout(
        obs=trace.obs,
        start=trace.start,
        action=trace.action,
        reward=trace.reward,
        terminated=trace.terminated,
        done=trace.done,
        valid=None,
        final_obs=trace.reached.flatten(0, 1),
    )
    latent = trace.latent[:-1].flatten(0, 1)
    going_on = torch.zeros(len(latent), dtype=torch.bool, device=latent.device)
    final = net.perceive(rollout.final_obs, latent, going_on)
    return Experience(rollout, trace.latent, final, before)
